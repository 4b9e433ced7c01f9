"""Ranks: what the processes of a data-parallel trainer hand to each other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Raised:
    """What a rank raised, on its way to the others. One that cannot be pickled travels as its text."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # noqa: BLE001 - whatever its class does when it is pickled
            return _Raised, (RuntimeError(f"{type(self.error).__name__}: {self.error}"),)
        return _Raised, (self.error,)


def _outcome(make: Callable[[], Any]) -> Any:
    """What ``make`` makes, or what it raises."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - raised in every rank, once all of them know
        return _Raised(error)


def _value(outcome: Any, rank: int) -> Any:
    if isinstance(outcome, _Raised):
        outcome.error.add_note(f"in rank {rank} of the trainer")
        raise outcome.error
    return outcome


class Ranks:
    """One process alone."""

    def from_first(self, make: Callable[[], _T]) -> _T:
        """What ``make`` makes in rank 0, in every rank; what it raises there is raised in every rank."""
        return make()

    def to_first(self, make: Callable[[], _T]) -> list[_T] | None:
        """What ``make`` makes in each rank, in rank 0, None in the others; what it raises anywhere is raised in all."""
        return [make()]


class TorchRanks(Ranks):
    """The processes of ``torch.distributed``'s default group; one process alone where that is not initialised."""

    def from_first(self, make: Callable[[], _T]) -> _T:
        distributed = self._distributed()
        if distributed is None:
            return make()
        made: list[Any] = [_outcome(make) if distributed.get_rank() == 0 else None]
        distributed.broadcast_object_list(made, src=0)
        return _value(made[0], 0)

    def to_first(self, make: Callable[[], _T]) -> list[_T] | None:
        distributed = self._distributed()
        if distributed is None:
            return [make()]
        world, first = distributed.get_world_size(), distributed.get_rank() == 0
        outcome = _outcome(make)
        # Every rank must know whether all can go on, and only the first one what they have.
        errors: list[Any] = [None] * world
        distributed.all_gather_object(errors, outcome if isinstance(outcome, _Raised) else None)
        for rank, error in enumerate(errors):
            if error is not None:
                _value(outcome if rank == distributed.get_rank() else error, rank)
        parts: Any = [None] * world if first else None
        distributed.gather_object(outcome, parts, dst=0)
        return parts

    @staticmethod
    def _distributed() -> Any:
        import torch.distributed as distributed

        return distributed if distributed.is_available() and distributed.is_initialized() else None

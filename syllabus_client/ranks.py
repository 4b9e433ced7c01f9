"""Ranks: what the processes of a data-parallel trainer hand to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Ranks:
    """One process alone."""

    def from_first(self, make: Callable[[], _T]) -> _T:
        """What ``make`` makes in rank 0, in every rank."""
        return make()

    def to_first(self, part: _T) -> list[_T] | None:
        """The parts of all ranks in rank 0, None in the others."""
        return [part]


class TorchRanks(Ranks):
    """The processes of ``torch.distributed``'s default group; one process alone where that is not initialised."""

    def from_first(self, make: Callable[[], _T]) -> _T:
        distributed = self._distributed()
        if distributed is None:
            return make()
        made: list[Any] = [make() if distributed.get_rank() == 0 else None]
        distributed.broadcast_object_list(made, src=0)
        return made[0]

    def to_first(self, part: _T) -> list[_T] | None:
        distributed = self._distributed()
        if distributed is None:
            return [part]
        parts: Any = [None] * distributed.get_world_size() if distributed.get_rank() == 0 else None
        distributed.gather_object(part, parts, dst=0)
        return parts

    @staticmethod
    def _distributed() -> Any:
        import torch.distributed as distributed

        return distributed if distributed.is_available() and distributed.is_initialized() else None

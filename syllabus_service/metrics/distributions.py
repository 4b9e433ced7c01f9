"""How spread out each curriculum's distribution is, looked at now and then: a look costs its thread O(N)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.engine_interface import ServedCurriculum
from syllabus_service.errors import FailedPrecondition, RequestError

_log = structlog.get_logger(__name__)

_SHORTEST_SECONDS = 15.0
_REST = 1000  # a look is followed by a rest of this many times its length


@dataclass(frozen=True)
class Spread:
    """A distribution, as of the last look."""

    entropy: float
    """In nats."""
    effective_num_tasks: float
    """exp(entropy)."""


@dataclass
class _Watched:
    spread: Spread | None = None
    next_look: float = 0.0
    has_none: bool = False


class DistributionWatch:
    """Looks at distributions, one after the other, each at most every 15 s and for at most 0.1% of the time.

    Used from one event loop.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None

    def spreads(self, curricula: Iterable[ServedCurriculum]) -> dict[str, Spread]:
        """What is known by name, without waiting; begins to look where the last look is too long ago."""
        served = {curriculum.name: curriculum for curriculum in curricula}
        self._watched = {name: self._watched.get(name) or _Watched() for name in served}
        now = self._clock()
        due = [served[name] for name, each in self._watched.items() if not each.has_none and now >= each.next_look]
        if due and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_at_all(due))
        return {name: each.spread for name, each in self._watched.items() if each.spread is not None}

    async def settled(self) -> None:
        """Wait for the looks under way."""
        if self._looking is not None:
            await self._looking

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_at_all(self, due: Iterable[ServedCurriculum]) -> None:
        for curriculum in due:
            watched = self._watched.get(curriculum.name)
            if watched is None:
                continue
            started = self._clock()
            try:
                answer = await curriculum.ask(pb.GetDistributionRequest(curriculum=curriculum.name, top_n=1))
            except FailedPrecondition:  # its space is not enumerable, or too large to be told
                watched.has_none, watched.spread = True, None
            except RequestError as refusal:
                _log.debug("distribution_not_seen", curriculum=curriculum.name, error=str(refusal))
            else:
                watched.spread = Spread(answer.entropy, answer.effective_num_tasks)  # type: ignore[attr-defined]
            now = self._clock()
            watched.next_look = now + max(_SHORTEST_SECONDS, _REST * (now - started))

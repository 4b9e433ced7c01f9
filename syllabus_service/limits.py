"""The bounds of the service: beyond them a sender is refused or slowed, never silently dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from syllabus_client.wire import curriculum_pb2 as pb


@dataclass(frozen=True)
class Limits:
    """Bounds, with defaults for one server of a few cores."""

    max_message_bytes: int = 64 * 1024 * 1024
    """Largest message in either direction, in bytes."""
    max_tasks_per_request: int = 65_536
    """Most tasks that one request may draw."""
    max_rows_per_batch: int = 65_536
    """Most episodes, progress reports, steps or releases in one batch."""
    max_unacknowledged_batches: int = 32
    """Most batches of one session without a reply, and most replies kept for being asked again."""
    max_open_assignments: int = 262_144
    """Most assignments that one session may hold."""
    max_sessions: int = 16_384
    """Most sessions of one curriculum that are remembered."""
    max_curricula: int = 1_024
    """Most curricula."""
    max_agent_bytes: int = 32 * 1024 * 1024
    """Largest agent, in bytes."""
    max_metrics: int = 64
    """Most named metrics, agents or arrays in one message."""
    max_requests_per_second: float = 10_000.0
    """Most RPCs per second of one token, or of one host where there are no tokens; a second's worth may come at once.
    Opening a stream is one RPC; what it carries is slowed by flow control instead."""
    session_retention_seconds: float = 3600.0
    """How long a session is remembered after its lease ran out, so that what it resends is still recognised."""

    def to_proto(self) -> pb.Limits:
        """The bounds that a client must know."""
        return pb.Limits(
            max_message_bytes=self.max_message_bytes,
            max_tasks_per_request=self.max_tasks_per_request,
            max_rows_per_batch=self.max_rows_per_batch,
            max_unacknowledged_batches=self.max_unacknowledged_batches,
            max_open_assignments=self.max_open_assignments,
        )


class RateLimiter:
    """A token bucket per name: a second's worth at once, and then as many per second. O(1) amortised, bounded memory.

    What is kept of a name is one number: the time at which its bucket will be full again. A bucket that is full is as
    good as a new one, so it need not be kept.

    Args:
        per_second: how many.
        clock: seconds, monotonic.
        burst: how many at once; None: a second's worth.
        max_names: most names that are kept; beyond them, those that have been silent longest begin anew.
    """

    def __init__(
        self, per_second: float, clock: Callable[[], float], *, burst: float | None = None, max_names: int = 65_536
    ) -> None:
        self._cost = 1.0 / per_second
        self._burst = max(1.0, per_second if burst is None else burst) * self._cost
        self._clock = clock
        self._max_names = max_names
        self._full_at: dict[str, float] = {}

    def take(self, name: str) -> bool:
        """Take one from a name's bucket; returns whether there was one."""
        now = self._clock()
        full_at = max(now, self._full_at.get(name, now)) + self._cost
        if full_at - now > self._burst:
            return False
        if len(self._full_at) >= self._max_names and name not in self._full_at:
            self._make_room(now)
        self._full_at[name] = full_at
        return True

    def _make_room(self, now: float) -> None:
        kept = sorted((at, name) for name, at in self._full_at.items() if at > now)[-(self._max_names // 2) :]
        self._full_at = {name: at for at, name in kept}

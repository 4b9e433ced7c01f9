"""How many tasks to hold ready: as few as cover the time that a refill takes."""

from __future__ import annotations

import math
from typing import Literal

_RATE_WINDOW = 0.25  # seconds over which the rate of use is averaged
_ROUND_TRIP_WEIGHT = 0.2  # of the newest round trip in their average
_STARVED = 1.5  # by how much more is held once somebody had to wait
_SPARE = 0.25  # of ``max_latency``: for how much longer than a refill takes held tasks last, next to a round trip


class Prefetch:
    """Says how many tasks should be ready or on their way.

    A task that is drawn early is a stale task, so an environment holds one. That covers episodes longer than a refill.
    With shorter ones, of rate r (tasks used per second, averaged over a quarter of a second), r (l + s) tasks are held:
    l seconds pass until a refill is asked for (``max_latency``: it travels with the reports that wait that long), and
    it is asked for s seconds before the last task is used. s is two average round trips, one of which it takes, and a
    quarter of l, since threads are late. A task is (l / 2 + s) old, on average, when it is used. A starved session uses
    as many tasks as it is given, so its target grows with every refill until nobody waits; as episodes grow longer it
    falls again.

    Deterministic: the time comes with each call.

    Args:
        prefetch: ``"adaptive"``, or a fixed number per environment.
        max_prefetch: bound per environment.
        max_latency: seconds that reports wait for others.
    """

    def __init__(self, prefetch: Literal["adaptive"] | int, max_prefetch: int, max_latency: float) -> None:
        self._prefetch = prefetch
        self._max_prefetch = max_prefetch
        self._max_latency = max_latency
        self._round_trip: float | None = None  # seconds from a batch to its reply, averaged
        self._lead = 2 * max_latency  # seconds; a round trip is not known yet
        self._rate = 0.0
        self._rate_at = 0.0

    def used(self, count: int, now: float) -> None:
        """``count`` tasks were used since this was said last."""
        elapsed = now - self._rate_at
        if elapsed > 0.0:
            forgotten = -math.expm1(-elapsed / _RATE_WINDOW)
            self._rate += forgotten * (count / elapsed - self._rate)
            self._rate_at = now
        else:
            self._rate += count / _RATE_WINDOW

    def starved(self) -> None:
        """Somebody had to wait for a task: they are used faster than was thought, since who waits uses none."""
        self._rate *= _STARVED

    def answered(self, round_trip: float) -> None:
        """A batch was answered, ``round_trip`` seconds after it was sent."""
        if self._round_trip is None:
            self._round_trip = round_trip
        else:
            self._round_trip += _ROUND_TRIP_WEIGHT * (round_trip - self._round_trip)
        self._lead = 2 * self._round_trip + _SPARE * self._max_latency

    def rate(self, now: float) -> float:
        """Tasks used per second: an exponentially weighted average."""
        age = now - self._rate_at
        return self._rate if age <= 0.0 else self._rate * math.exp(-age / _RATE_WINDOW)

    def low_mark(self, environments: int, now: float) -> float:
        """With how many tasks a refill is to be asked for at once; at most half of the target.

        With these, or fewer, somebody might wait before a refill has come that is asked for later.
        """
        return min(self.rate(now) * self._lead, self.target(environments, now) / 2)

    def target(self, environments: int, now: float) -> int:
        """How many tasks should be ready or on their way."""
        if self._prefetch != "adaptive":
            return self._prefetch * environments
        wanted = math.ceil(self.rate(now) * (self._max_latency + self._lead))
        return min(max(environments, wanted), self._max_prefetch * environments)

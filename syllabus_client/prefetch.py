"""How many tasks to hold ready: as few as cover the time that a refill takes."""

from __future__ import annotations

import math
from typing import Literal

_RATE_WINDOW = 0.25  # seconds over which the rate of use is averaged
_ROUND_TRIP_WEIGHT = 0.2  # of the newest round trip in their average
_STARVED = 1.5  # by how much more is held once somebody had to wait
_SAFETY = 2.0  # held tasks per task used while a refill is under way; more than 1, so that a starved session catches up


class Prefetch:
    """Says how many tasks should be ready or on their way.

    A task that is drawn early is a stale task, so an environment holds one. That covers episodes longer than a refill.
    With shorter ones, of rate r (tasks used per second, averaged over a quarter of a second) and with a refill that
    takes c seconds (the time that reports wait for others, plus an average round trip), 2 r c tasks are held. A starved
    session uses as many tasks as it is given, so its target grows with every refill until nobody waits; as episodes
    grow longer it falls again.

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
        self._refill_time = 2 * max_latency  # seconds; a round trip is not known yet
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
        self._refill_time = self._max_latency + self._round_trip

    def rate(self, now: float) -> float:
        """Tasks used per second: an exponentially weighted average."""
        age = now - self._rate_at
        return self._rate if age <= 0.0 else self._rate * math.exp(-age / _RATE_WINDOW)

    def used_during_refill(self, now: float) -> float:
        """How many tasks are expected to be used until a refill that is due now, or soon, has come."""
        return self.rate(now) * self._refill_time

    def target(self, environments: int, now: float) -> int:
        """How many tasks should be ready or on their way."""
        if self._prefetch != "adaptive":
            return self._prefetch * environments
        wanted = math.ceil(_SAFETY * self.used_during_refill(now))
        return min(max(environments, wanted), self._max_prefetch * environments)

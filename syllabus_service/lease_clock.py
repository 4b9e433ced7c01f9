"""The time that leases are measured in: it stands still while the service cannot hear its sessions."""

from __future__ import annotations


class LeaseClock:
    """Follows a clock, but by at most ``max_step`` seconds at a time.

    Read once per tick, it runs with the clock as long as the service does. When the service was stopped, or waited for
    its store, or the clock jumped, it goes on by one step: what its sessions said meanwhile is heard before their
    leases run out. A clock that goes back does not move it.

    Example:
        >>> clock = LeaseClock(now=100.0, max_step=2.0)
        >>> clock.advance(101.0), clock.advance(3700.0), clock.advance(3701.0)
        (1.0, 3.0, 4.0)
    """

    def __init__(self, now: float, max_step: float) -> None:
        self._last = now
        self._max_step = max_step
        self.time = 0.0
        """Seconds since the clock was made, as far as leases are concerned."""

    def advance(self, now: float) -> float:
        """The lease time at ``now``, in seconds."""
        self.time += min(max(now - self._last, 0.0), self._max_step)
        self._last = now
        return self.time

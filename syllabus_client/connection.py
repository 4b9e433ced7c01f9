"""A session's connection: what is known of it, when to open the next one, and when to give one up."""

from __future__ import annotations

import enum
import random

from syllabus_client.settings import SessionSettings

_HEARTBEAT_MAX = 10.0  # seconds


class Connection(enum.Enum):
    """What is known of the connection."""

    DOWN = "down"
    OPENING = "opening"
    OPEN = "open"


class ConnectionState:
    """Connects again after growing pauses, keeps a silent session alive, and notices a service that stopped answering.

    Deterministic but for jitter: the time, in seconds, comes with each call.

    Args:
        settings: backoff and ``stall_timeout``.
        rng: for jitter in reconnects.
    """

    def __init__(self, settings: SessionSettings, rng: random.Random) -> None:
        self.state = Connection.DOWN
        self.must_reconnect = False
        """Whether the stream is to be ended, and reported as down."""
        self.connect_at = 0.0
        """When to open the next stream."""
        self._settings = settings
        self._rng = rng
        self._attempts = 0
        self._heartbeat_interval = _HEARTBEAT_MAX
        self._last_sent = 0.0
        self._owed_since: float | None = None

    def opening(self, now: float) -> None:
        """A stream was opened; its first message is owed an answer."""
        self.state = Connection.OPENING
        self.must_reconnect = False
        self._owed_since = self._last_sent = now

    def opened(self, lease: float) -> None:
        """The handshake is done. ``lease``: seconds that the session may stay silent, or 0 where that is not said."""
        self.state = Connection.OPEN
        self._heartbeat_interval = min(_HEARTBEAT_MAX, lease / 4) if lease > 0 else _HEARTBEAT_MAX

    def went_down(self) -> None:
        """The stream has ended."""
        self.state = Connection.DOWN
        self._owed_since = None
        self.must_reconnect = False

    def back_off(self, now: float) -> None:
        """It failed: pause before the next one, longer each time until ``answered``."""
        settings = self._settings
        delay = min(settings.backoff_max, settings.backoff_initial * settings.backoff_multiplier**self._attempts)
        self._attempts = min(self._attempts + 1, 64)
        self.connect_at = now + delay * (1.0 - 0.5 * self._rng.random())

    def answered(self) -> None:
        """The service is at work: the next failure is a first one."""
        self._attempts = 0

    def owe(self, owed: bool, now: float) -> None:
        """Whether, from now on, an answer is owed."""
        self._owed_since = now if owed else None

    def sent(self, now: float) -> None:
        """Something was sent, and will be answered."""
        self._last_sent = now
        if self._owed_since is None:
            self._owed_since = now

    def heartbeat_is_due(self, now: float) -> bool:
        """Whether the session was silent for so long that it has to say something."""
        return now >= self._last_sent + self._heartbeat_interval

    def check_stall(self, now: float) -> None:
        """Give the stream up where an answer is owed for too long."""
        if self._owed_since is not None and now >= self._owed_since + self._settings.stall_timeout:
            self.must_reconnect = True

    def wakeups(self) -> list[float]:
        """When ``check_stall`` or ``heartbeat_is_due`` may say another thing."""
        times = []
        if self._owed_since is not None:
            times.append(self._owed_since + self._settings.stall_timeout)
        if self.state is Connection.OPEN:
            times.append(self._last_sent + self._heartbeat_interval)
        return times

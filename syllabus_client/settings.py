"""How a session behaves: one frozen value, every field with its unit and default."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

OnUnavailable = Literal["wait", "raise", "repeat_last"]


@dataclass(frozen=True)
class SessionSettings:
    """Settings of a ``Session``. Raises ValueError, naming the field, for a value out of its range."""

    max_latency: float = 0.2
    """Seconds that a report may wait for others to be sent with it, at least 0; where the batch before is not answered
    by then, it waits for that. A batch costs 2 to 3 ms of CPU, both sides together. Where episodes are shorter than
    this, tasks are drawn earlier: they are three quarters of it old when they are used, and two round trips. Nobody who
    waits for a task waits for this."""

    max_rows: int = 2048
    """Most rows (episodes, progress reports, steps, releases) in one batch; the service's limit also holds."""

    max_bytes: int = 1_048_576
    """Most bytes of columns in one batch, about; the service's limit also holds."""

    max_unacknowledged: int = 8
    """Most batches without a reply; the service's limit also holds. At it, reports wait in this process."""

    max_pending_rows: int = 1_000_000
    """Rows that may wait to be sent. From here on ``next_task`` waits; at twice as many, reports raise
    BufferFullError."""

    prefetch: Literal["adaptive"] | int = "adaptive"
    """Tasks to hold ready, per environment. ``"adaptive"``: one, and more only where episodes are shorter than a round
    trip. 0: draw at the reset, so that tasks are always fresh and each reset waits for a round trip."""

    max_prefetch: int = 1024
    """Most tasks that adaptive prefetch holds per environment, at least 1."""

    timeout: float = 30.0
    """Seconds after which every wait ends with an error."""

    exit_timeout: float = 5.0
    """Seconds that the end of the process may be held up by delivering what is pending."""

    on_unavailable: OnUnavailable = "wait"
    """What ``next_task`` does when the service is away and no task is left. ``"wait"``: wait, at most ``timeout``.
    ``"raise"``: raise ServiceUnavailableError at once. ``"repeat_last"``: give the last task again, without an
    assignment."""

    backoff_initial: float = 0.05
    """Seconds until the first reconnect."""

    backoff_max: float = 5.0
    """Seconds until a reconnect, at most."""

    backoff_multiplier: float = 2.0
    """Growth of that time per failed attempt, at least 1. Each wait is shortened by a random share of up to a half."""

    stall_timeout: float = 20.0
    """Seconds without an answer that is owed after which a connection is given up and opened again."""

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_bytes", "max_unacknowledged", "max_pending_rows", "max_prefetch"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("timeout", "backoff_initial", "backoff_max", "stall_timeout"):
            self._require(name, getattr(self, name) > 0, "more than 0 seconds")
        for name in ("max_latency", "exit_timeout"):
            self._require(name, getattr(self, name) >= 0, "at least 0 seconds")
        self._require("backoff_multiplier", self.backoff_multiplier >= 1, "at least 1")
        self._require("on_unavailable", self.on_unavailable in get_args(OnUnavailable), str(get_args(OnUnavailable)))
        adaptive = self.prefetch == "adaptive"
        self._require(
            "prefetch",
            adaptive or (isinstance(self.prefetch, int) and self.prefetch >= 0),
            '"adaptive" or an int of at least 0',
        )

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name}: expected {expected}, got {getattr(self, name)!r}")

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all settings."""
        return tuple(each.name for each in fields(cls))

"""How a session fares: its counters, as users see them and as they are sent along."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import duration_pb2

from syllabus_client.wire import curriculum_pb2 as pb


@dataclass(frozen=True)
class SessionStatistics:
    """Counters of a session since it began in this process."""

    tasks_used: int = 0
    """Tasks taken by a reset or a change of task."""
    prefetch_misses: int = 0
    """How many of these takes had to wait."""
    reset_wait: float = 0.0
    """Sum of these waits, in seconds."""
    reset_wait_max: float = 0.0
    """Longest of them, in seconds."""
    task_age: float = 0.0
    """Sum of the times from a task's arrival to its use, in seconds."""
    task_age_max: float = 0.0
    """Longest of them, in seconds."""
    batches_sent: int = 0
    """Batches, without those sent again."""
    batches_answered: int = 0
    """Batches that are in the service's journal."""
    batches_resent: int = 0
    """Batches sent again after a lost connection."""
    batches_refused: int = 0
    """Batches that the service found invalid."""
    reconnects: int = 0
    """Connections after the first."""
    sessions_lost: int = 0
    """Times that the service no longer knew this session, or its curriculum was another one."""
    tasks_repeated: int = 0
    """Tasks given again because the service was away."""
    episodes_invalid: int = 0
    """Episodes that were not sent because they are not valid."""
    rows_reported: int = 0
    """Episodes, progress reports, steps and releases reported, valid ones."""
    rows_answered: int = 0
    """Those of them in answered batches; rejected ones included."""
    rows_undelivered: int = 0
    """Those of them that were given up."""
    rows_rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows that the service did not count, by reason."""
    curriculum_errors: int = 0
    """Batches whose update or draw raised in the curriculum."""
    short_replies: int = 0
    """Replies with fewer tasks than asked for."""


class Recorder:
    """The counters while they count."""

    def __init__(self) -> None:
        self.total: dict[str, Any] = {
            each.name: 0 for each in dataclasses.fields(SessionStatistics) if each.name != "rows_rejected"
        }
        self.rejected: Counter[str] = Counter()
        self._sent = dict(self.total)
        self._interval_wait_max = 0.0
        self._interval_age_max = 0.0

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        self.total[name] += count

    def used(self, count: int, ages: float, age_max: float) -> None:
        """Tasks were used, of these ages in seconds: their sum and the oldest."""
        total = self.total
        total["tasks_used"] += count
        total["task_age"] += ages
        if age_max > self._interval_age_max:
            self._interval_age_max = age_max
            total["task_age_max"] = max(total["task_age_max"], age_max)

    def waited(self, seconds: float) -> None:
        """A take had to wait."""
        total = self.total
        total["prefetch_misses"] += 1
        total["reset_wait"] += seconds
        total["reset_wait_max"] = max(total["reset_wait_max"], seconds)
        self._interval_wait_max = max(self._interval_wait_max, seconds)

    def snapshot(self) -> SessionStatistics:
        """The counters now."""
        return SessionStatistics(**self.total, rows_rejected=dict(self.rejected))

    def interval(self) -> pb.ClientStatistics | None:
        """What has changed since the last call, or None."""
        names = ("tasks_used", "prefetch_misses", "batches_resent", "tasks_repeated", "episodes_invalid")
        changes: dict[str, Any] = {name: self.total[name] - self._sent[name] for name in names}
        if not any(changes.values()):
            return None
        message = pb.ClientStatistics(**changes)
        _set(message.reset_wait, self.total["reset_wait"] - self._sent["reset_wait"])
        _set(message.task_age, self.total["task_age"] - self._sent["task_age"])
        _set(message.reset_wait_max, self._interval_wait_max)
        _set(message.task_age_max, self._interval_age_max)
        self._sent = dict(self.total)
        self._interval_wait_max = self._interval_age_max = 0.0
        return message


def _set(duration: duration_pb2.Duration, seconds: float) -> None:
    duration.FromNanoseconds(round(seconds * 1e9))

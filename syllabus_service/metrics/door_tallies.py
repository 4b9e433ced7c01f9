"""What a front door counts: RPCs, the decoding of requests, and how clients say they fare. Plain numbers, one loop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from google.protobuf import duration_pb2

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.metrics.histogram import Histogram

RPC_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Of the time of a unary RPC, in seconds."""

_MAX_COUNT = 1_000_000_000  # what no client means to say
_MAX_SECONDS = 1e9
_MAX_SUM_SECONDS = 3e11  # what a Duration can hold
_WINDOW_SECONDS = 60.0


class WindowMaximum:
    """The largest value of the last one to two minutes; 0 where there was none. O(1)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._before = self._now = 0.0

    def observe(self, value: float) -> None:
        """Take a value."""
        self._roll()
        self._now = max(self._now, value)

    @property
    def value(self) -> float:
        """The maximum."""
        self._roll()
        return max(self._before, self._now)

    def _roll(self) -> None:
        passed = self._clock() - self._since
        if passed >= _WINDOW_SECONDS:
            self._before = self._now if passed < 2 * _WINDOW_SECONDS else 0.0
            self._now = 0.0
            self._since += passed - passed % _WINDOW_SECONDS


class ClientTallies:
    """How the clients of one curriculum fare, as they say, all added up.

    What a client says may be anything: a message with a value that no client could mean is left out as a whole and
    counted. So the sums grow by bounded steps, and there is nothing per session.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tasks_used = 0
        """Tasks used by a reset or a change of task."""
        self.prefetch_misses = 0
        """How many of them had to be waited for."""
        self.batches_resent = 0
        """Batches sent again after a reconnect."""
        self.tasks_repeated = 0
        """Tasks run again because no new one could be had."""
        self.episodes_invalid = 0
        """Episodes that were not sent because they were not valid."""
        self.reset_wait = 0.0
        """Sum of the waits, in seconds."""
        self.task_age = 0.0
        """Sum of the times from a task's arrival to its use, in seconds."""
        self.reset_wait_max = WindowMaximum(clock)
        """Longest wait, in seconds."""
        self.task_age_max = WindowMaximum(clock)
        """Oldest task, in seconds."""
        self.refused = 0
        """Messages that were left out."""

    def add(self, message: pb.ClientStatistics) -> None:
        """Add what a client says of itself since its last batch."""
        used, misses = message.tasks_used, message.prefetch_misses
        resent, repeated, invalid = message.batches_resent, message.tasks_repeated, message.episodes_invalid
        age, age_max = _seconds(message.task_age), _seconds(message.task_age_max)
        wait, wait_max = _seconds(message.reset_wait), _seconds(message.reset_wait_max)
        counts_are_sane = used <= _MAX_COUNT >= misses and resent <= _MAX_COUNT >= repeated and invalid <= _MAX_COUNT
        times_are_sane = (
            0 <= wait <= _MAX_SECONDS
            and 0 <= wait_max <= _MAX_SECONDS
            and 0 <= age <= _MAX_SECONDS
            and 0 <= age_max <= _MAX_SECONDS
        )
        if not (counts_are_sane and times_are_sane):
            self.refused += 1
            return
        self.tasks_used += used
        self.prefetch_misses += misses
        self.batches_resent += resent
        self.tasks_repeated += repeated
        self.episodes_invalid += invalid
        self.reset_wait = min(self.reset_wait + wait, _MAX_SUM_SECONDS)
        self.task_age = min(self.task_age + age, _MAX_SUM_SECONDS)
        if wait_max:
            self.reset_wait_max.observe(wait_max)
        if age_max:
            self.task_age_max.observe(age_max)

    def to_message(self) -> pb.ClientStatistics:
        """All of it, as clients say it."""
        message = pb.ClientStatistics(
            tasks_used=self.tasks_used,
            prefetch_misses=self.prefetch_misses,
            batches_resent=self.batches_resent,
            tasks_repeated=self.tasks_repeated,
            episodes_invalid=self.episodes_invalid,
        )
        message.reset_wait.FromNanoseconds(round(self.reset_wait * 1e9))
        message.reset_wait_max.FromNanoseconds(round(self.reset_wait_max.value * 1e9))
        message.task_age.FromNanoseconds(round(self.task_age * 1e9))
        message.task_age_max.FromNanoseconds(round(self.task_age_max.value * 1e9))
        return message


class CurriculumDoorTallies:
    """What a front door counts of one curriculum."""

    def __init__(self) -> None:
        self.decode_seconds = 0.0
        """Time that turning metrics batches into columns took."""
        self.open_streams = 0
        """Metrics streams that are open now."""
        self.clients = ClientTallies()
        """How its clients fare."""


class DoorTallies:
    """What a front door counts. There is one for each method and status, and for each curriculum that is served."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        """RPCs that have ended, by method and status."""
        self.seconds: dict[str, Histogram] = {}
        """How long unary RPCs took, by method."""
        self.parse_seconds = 0.0
        """Time that turning bytes into messages took."""
        self.serialize_seconds = 0.0
        """Time that turning messages into bytes took."""
        self._curricula: dict[str, CurriculumDoorTallies] = {}

    def end(self, method: str, status: str, seconds: float | None = None) -> None:
        """Count an RPC that has ended; ``seconds``: how long it took, for a unary one."""
        self.ended[method, status] += 1
        if seconds is not None:
            histogram = self.seconds.get(method)
            if histogram is None:
                histogram = self.seconds[method] = Histogram(RPC_BOUNDS)
            histogram.observe(seconds)

    def of(self, curriculum: str) -> CurriculumDoorTallies:
        """The part of a curriculum that is served."""
        found = self._curricula.get(curriculum)
        if found is None:
            found = self._curricula[curriculum] = CurriculumDoorTallies()
        return found

    def keep_only(self, curricula: Iterable[str]) -> None:
        """Forget curricula that are served no longer."""
        known = set(curricula)
        for gone in [name for name in self._curricula if name not in known]:
            del self._curricula[gone]


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos * 1e-9

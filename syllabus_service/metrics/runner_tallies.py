"""What a curriculum's runner counts: micro-batches, their stages, the queue, snapshots. Plain numbers, no locks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from syllabus_service.metrics.histogram import Histogram

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Of the number of commands in a micro-batch."""
STAGE_BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
"""Of the time of a stage of a micro-batch, in seconds."""
SNAPSHOT_BOUNDS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0)
"""Of the time of a snapshot, in seconds."""

_clock = time.perf_counter


@dataclass(frozen=True)
class StateCounts:
    """What a curriculum's state counts, since it was created unless said otherwise."""

    num_sessions: int = 0
    """Sessions that hold a lease now."""
    num_open_assignments: int = 0
    """Assignments that are open now."""
    num_assignments: int = 0
    """Tasks handed out."""
    num_abandoned: int = 0
    """Assignments abandoned or released."""
    num_episodes: int = 0
    """Episodes counted."""
    num_steps: int = 0
    """Steps of these episodes."""
    num_rejected: int = 0
    """Rows that were not counted."""
    num_curriculum_errors: int = 0
    """Updates that the curriculum refused with an error."""
    task_age_sum: int = 0
    """Ages of tasks when their episodes were reported, in commands since they were drawn, added up."""
    task_age_count: int = 0
    """How many ages those are."""


@dataclass(frozen=True)
class Readings:
    """What a curriculum counts, at one moment, wherever its runner is."""

    committed: int
    """Commands in the journal."""
    num_queued: int
    """Commands that wait or are being applied."""
    oldest_seconds: float
    """For how long the oldest of them has been without an answer."""
    batch_sizes: Histogram
    """Commands in each micro-batch."""
    apply_seconds: Histogram
    """See ``RunnerTallies``."""
    journal_seconds: Histogram
    """See ``RunnerTallies``."""
    answer_seconds: Histogram
    """See ``RunnerTallies``."""
    snapshot_seconds: Histogram
    """Of writing a snapshot."""
    snapshot_failures: int
    """Snapshots that could not be written."""
    is_kept: bool
    """Whether there is a store, so that a restart goes on from the last snapshot."""
    snapshots_given_up: bool
    """Whether none is tried any more, because the curriculum cannot be saved."""
    snapshot_time: float
    """When the last snapshot was written, in seconds since 1970; 0 before the first."""
    snapshot_position: int
    """Its position, or that of the snapshot that the curriculum was recovered from."""
    snapshot_bytes: int
    """Its size."""
    state: StateCounts
    """What the state counts."""


class RunnerTallies:
    """What a runner counts. ``queued`` and ``answered`` belong to the loop, ``snapshot`` to the writer of snapshots,
    the others to the curriculum's thread.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self.batch_sizes = Histogram(BATCH_BOUNDS)
        """Commands in each micro-batch."""
        self.apply_seconds = Histogram(STAGE_BOUNDS)
        """From a micro-batch's beginning until the state has it."""
        self.journal_seconds = Histogram(STAGE_BOUNDS)
        """From then until it is durable, retries included."""
        self.answer_seconds = Histogram(STAGE_BOUNDS)
        """From then until the event loop has its answers."""
        self.snapshot_seconds = Histogram(SNAPSHOT_BOUNDS)
        """Of writing a snapshot, beside the curriculum's thread."""
        self.snapshot_failures = 0
        """Snapshots that could not be written."""
        self.is_kept = False
        """Whether there is a store, so that a restart goes on from the last snapshot."""
        self.snapshots_given_up = False
        """Whether none is tried any more, because the curriculum cannot be saved."""
        self.snapshot_time = 0.0
        """When the last snapshot was written, in seconds since 1970; 0 before the first."""
        self.snapshot_position = 0
        """Its position, or that of the snapshot that the curriculum was recovered from."""
        self.snapshot_bytes = 0
        """Its size."""
        self.state = StateCounts()
        """What the state counts, as of the last look at the leases."""
        self._queued_since: deque[float] = deque()

    # In the loop

    def queued(self) -> None:
        """A command has been queued."""
        self._queued_since.append(_clock())

    def answered(self, count: int, since: float) -> None:
        """The ``count`` oldest commands were answered; they were durable, or refused, ``since``."""
        for _ in range(min(count, len(self._queued_since))):
            self._queued_since.popleft()
        self.answer_seconds.observe(_clock() - since)

    @property
    def num_queued(self) -> int:
        """Commands that wait or are being applied."""
        return len(self._queued_since)

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest command has been without an answer; 0 where there is none."""
        try:
            return _clock() - self._queued_since[0]
        except IndexError:
            return 0.0

    def read(self, committed: int) -> Readings:
        """All of it, while ``committed`` commands are in the journal. The histograms go on counting. O(1)."""
        return Readings(
            committed,
            self.num_queued,
            self.oldest_seconds,
            self.batch_sizes,
            self.apply_seconds,
            self.journal_seconds,
            self.answer_seconds,
            self.snapshot_seconds,
            self.snapshot_failures,
            self.is_kept,
            self.snapshots_given_up,
            self.snapshot_time,
            self.snapshot_position,
            self.snapshot_bytes,
            self.state,
        )

    # In the curriculum's thread

    def batch(self, size: int, started: float, applied: float) -> None:
        """A micro-batch is durable that was begun at ``started``, and applied at ``applied``."""
        self.batch_sizes.observe(size)
        self.apply_seconds.observe(applied - started)
        self.journal_seconds.observe(_clock() - applied)

    # Where snapshots are written

    def snapshot(self, position: int, size: int, started: float) -> None:
        """A snapshot was written that was begun at ``started``."""
        self.snapshot_seconds.observe(_clock() - started)
        self.snapshot_position, self.snapshot_bytes = position, size
        self.snapshot_time = self._wall_clock()

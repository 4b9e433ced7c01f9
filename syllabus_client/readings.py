"""What a curriculum says of itself: distributions, statistics and summaries, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf import duration_pb2

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import from_tensor


@dataclass(frozen=True)
class Distribution:
    """A distribution over tasks, or its most probable part."""

    tasks: np.ndarray | None
    """int64 (n,): task ids, most probable first; None for the whole distribution, in the order of ids."""
    probabilities: np.ndarray
    """float64 (n,)."""
    entropy: float
    """Of the whole distribution, in nats."""
    effective_num_tasks: float
    """exp(entropy): how many equally likely tasks would have this entropy."""
    position: int
    """Commands applied."""

    @classmethod
    def from_proto(cls, message: pb.GetDistributionResponse) -> Distribution:
        """Read a message."""
        tasks = from_tensor(message.task, "task") if message.HasField("task") else None
        probabilities = from_tensor(message.probability, "probability")
        return cls(tasks, probabilities, message.entropy, message.effective_num_tasks, message.position)


@dataclass(frozen=True)
class EpisodeStatistics:
    """Statistics of episodes, in columns. A mean or deviation over no episode is NaN."""

    tasks: np.ndarray
    """int64 (n,): task ids; without rows in totals."""
    num_episodes: np.ndarray
    """int64 (n,)."""
    return_mean: np.ndarray
    """float64 (n,)."""
    return_std: np.ndarray
    """float64 (n,): population standard deviation."""
    length_mean: np.ndarray
    """float64 (n,): in steps."""
    length_std: np.ndarray
    """float64 (n,): population standard deviation, in steps."""
    success_rate: np.ndarray
    """float64 (n,): share of episodes with progress 1."""

    @classmethod
    def from_proto(cls, message: pb.EpisodeStatistics) -> EpisodeStatistics:
        """Read a message."""
        tasks = from_tensor(message.task, "task") if message.HasField("task") else np.zeros(0, np.int64)

        def column(name: str) -> np.ndarray:
            return from_tensor(getattr(message, name), name) if message.HasField(name) else np.zeros(0)

        names = ("num_episodes", "return_mean", "return_std", "length_mean", "length_std", "success_rate")
        return cls(tasks, *(column(name) for name in names))


@dataclass(frozen=True)
class CurriculumStatistics:
    """Statistics of a curriculum's episodes so far."""

    tasks: EpisodeStatistics
    """Per task; without rows where the space is not enumerable."""
    total: EpisodeStatistics
    """Over all episodes: one row."""
    position: int
    """Commands applied."""


@dataclass(frozen=True)
class ClientReports:
    """How the clients of a curriculum fare, as they told the service that was asked, since its process started."""

    tasks_used: int
    """Tasks used by a reset or a change of task."""
    prefetch_misses: int
    """How many of them had to be waited for."""
    reset_wait: float
    """Sum of these waits, in seconds."""
    reset_wait_max: float
    """Longest wait of the last one to two minutes, in seconds."""
    task_age: float
    """Sum of the times from a task's arrival to its use, in seconds."""

    @property
    def mean_reset_wait(self) -> float:
        """Seconds that a reset waited for its task, on average; NaN before the first."""
        return self._per_task(self.reset_wait)

    @property
    def prefetch_miss_rate(self) -> float:
        """Share of tasks that had to be waited for; NaN before the first."""
        return self._per_task(self.prefetch_misses)

    @property
    def mean_task_age(self) -> float:
        """Seconds that a task lay ready before it was used, on average; NaN before the first."""
        return self._per_task(self.task_age)

    def _per_task(self, value: float) -> float:
        return value / self.tasks_used if self.tasks_used else float("nan")

    @classmethod
    def from_proto(cls, message: pb.ClientStatistics) -> ClientReports:
        """Read a message."""
        return cls(
            message.tasks_used,
            message.prefetch_misses,
            _seconds(message.reset_wait),
            _seconds(message.reset_wait_max),
            _seconds(message.task_age),
        )


@dataclass(frozen=True)
class CurriculumSummary:
    """How a curriculum stands."""

    position: int
    """Commands applied."""
    num_episodes: int
    """Episodes counted."""
    num_steps: int
    """Steps of these episodes."""
    num_assignments: int
    """Tasks handed out."""
    num_abandoned: int
    """Assignments abandoned or released."""
    num_open_assignments: int
    """Assignments that are open."""
    num_sessions: int
    """Sessions that hold a lease."""
    num_rejected: int
    """Rows that were rejected."""
    mean_task_age: float
    """Mean age of a task when its episode was reported, in commands since it was drawn."""
    num_curriculum_errors: int
    """Updates that the curriculum refused with an error."""
    last_curriculum_error: str
    """The last of them, or empty."""
    distribution: Distribution | None
    """The most probable tasks; None where the space is not enumerable."""
    total: EpisodeStatistics
    """Over all episodes: one row."""
    clients: ClientReports
    """How its clients fare."""

    @classmethod
    def from_proto(cls, message: pb.WatchCurriculumResponse) -> CurriculumSummary:
        """Read a message."""
        distribution = Distribution.from_proto(message.distribution) if message.HasField("distribution") else None
        return cls(
            distribution=distribution,
            total=EpisodeStatistics.from_proto(message.total),
            clients=ClientReports.from_proto(message.clients),
            **{name: getattr(message, name) for name in _PLAIN},
        )


_PLAIN = tuple(
    name for name in CurriculumSummary.__dataclass_fields__ if name not in ("distribution", "total", "clients")
)


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos * 1e-9

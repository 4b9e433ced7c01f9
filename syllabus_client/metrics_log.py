"""Metrics of a curriculum to TensorBoard, Weights & Biases, or a dict."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from syllabus_client.readings import CurriculumStatistics, CurriculumSummary
from syllabus_client.task_spaces import TaskSpace

_log = logging.getLogger("syllabus_client")

_MOST_TOP_TASKS = 1000  # that a summary tells


@runtime_checkable
class ScalarWriter(Protocol):
    """TensorBoard's ``SummaryWriter``, whoever made it."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any:
        """Write one number."""


@runtime_checkable
class RecordLogger(Protocol):
    """The logger of Stable Baselines 3, which writes what was recorded when the library dumps it."""

    def record(self, key: str, value: Any) -> Any:
        """Keep one number for the next dump."""

    def dump(self, step: int = 0) -> Any:
        """Write what was recorded."""


@runtime_checkable
class MappingLogger(Protocol):
    """A run of Weights & Biases, its module, or what takes ``log`` as they do."""

    def log(self, data: dict[str, Any], step: int | None = None) -> Any:
        """Write numbers by name."""


class Source(Protocol):
    """A curriculum that can be asked: ``CurriculumClient``."""

    @property
    def task_space(self) -> TaskSpace: ...

    def summary(self, top_n: int = 0) -> CurriculumSummary: ...

    def distribution(self) -> np.ndarray: ...

    def statistics(self, tasks: Sequence[Any] | None = None) -> CurriculumStatistics: ...


class MetricsLog:
    """Writes how a curriculum stands, and never raises: a metric that cannot be logged must not end a training run."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def write(
        self,
        source: Source,
        writer: Any,
        step: int | None,
        *,
        log_n_tasks: int,
        tasks: Sequence[Any] | None,
        prefix: str,
    ) -> dict[str, float]:
        """See ``CurriculumClient.log_metrics``."""
        try:
            write = _writing(writer)
            everything = log_n_tasks < 0 or tasks is not None
            summary = source.summary(0 if everything else min(log_n_tasks, _MOST_TOP_TASKS))
            metrics = {**_of_curriculum(summary), **_of_tasks(source, summary, everything, tasks)}
            metrics = {f"{prefix}/{name}": value for name, value in metrics.items() if value == value}
            write(metrics, step)
        except Exception as error:  # noqa: BLE001 - said in the log, once for each reason
            self._say_once(f"could not log metrics of curriculum: {type(error).__name__}: {error}")
            return {}
        return metrics

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)


def _of_curriculum(summary: CurriculumSummary) -> dict[str, float]:
    """Numbers by name; NaN where there is none yet."""
    metrics: dict[str, float] = {
        "episodes": summary.num_episodes,
        "steps": summary.num_steps,
        "assignments": summary.num_assignments,
        "abandoned": summary.num_abandoned,
        "rejected": summary.num_rejected,
        "curriculum_errors": summary.num_curriculum_errors,
        "sessions": summary.num_sessions,
        "task_age": summary.mean_task_age,
        "task_age_seconds": summary.clients.mean_task_age,
        "reset_wait": summary.clients.mean_reset_wait,
        "reset_wait_max": summary.clients.reset_wait_max,
        "prefetch_miss_rate": summary.clients.prefetch_miss_rate,
    }
    if summary.distribution is not None:
        metrics["entropy"] = summary.distribution.entropy
        metrics["effective_num_tasks"] = summary.distribution.effective_num_tasks
    for name in ("return_mean", "length_mean", "success_rate"):
        column = getattr(summary.total, name)
        if len(column):
            metrics[name] = float(column[0])
    return metrics


def _of_tasks(
    source: Source, summary: CurriculumSummary, everything: bool, tasks: Sequence[Any] | None
) -> dict[str, float]:
    """Probability, episodes, success rate and mean return of the most probable tasks, of all, or of the given ones."""
    space = source.task_space
    if space.num_tasks is None:
        return {}
    ids = None if tasks is None else space.to_index(space.encode_many(tasks))
    told = summary.distribution
    columns: dict[str, np.ndarray] = {}
    if told is not None:
        probabilities = told.probabilities
        if everything:
            probabilities = source.distribution()
            ids = np.arange(len(probabilities)) if ids is None else ids
            probabilities = probabilities[ids]
        else:
            ids = told.tasks
        columns["probability"] = probabilities
    if ids is None or len(ids) == 0:
        return {}
    statistics = source.statistics(space.decode_many(space.from_index(ids))).tasks
    columns |= {
        "task_episodes": statistics.num_episodes,
        "task_success_rate": statistics.success_rate,
        "task_return_mean": statistics.return_mean,
    }
    names = [space.task_name(encoded) for encoded in space.from_index(ids)]
    return {
        f"{column}/{name}": float(value)
        for column, values in columns.items()
        for name, value in zip(names, values, strict=True)
    }


def _writing(writer: Any) -> Callable[[dict[str, float], int | None], None]:
    """How to write numbers to ``writer``. Raises TypeError, saying what is expected, for what cannot be written to."""
    if isinstance(writer, ScalarWriter):

        def add_scalars(metrics: dict[str, float], step: int | None) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)

        return add_scalars
    if isinstance(writer, RecordLogger):

        def record(metrics: dict[str, float], step: int | None) -> None:
            for name, value in metrics.items():
                writer.record(name, value)

        return record
    if isinstance(writer, MutableMapping):
        return lambda metrics, step: writer.update(metrics if step is None else {**metrics, "step": step})
    if isinstance(writer, MappingLogger):

        def log_mapping(metrics: dict[str, float], step: int | None) -> None:
            if step is None:
                writer.log(metrics)
            else:
                writer.log(metrics, step=step)

        return log_mapping
    raise TypeError(
        "writer: expected a SummaryWriter (add_scalar), a wandb run or module (log), a logger of Stable Baselines 3 "
        f"(record) or a dict, got {type(writer).__name__}"
    )

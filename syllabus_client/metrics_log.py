"""Metrics of a curriculum to TensorBoard, Weights & Biases, or a dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Protocol, runtime_checkable

from syllabus_client.readings import CurriculumSummary


@runtime_checkable
class ScalarWriter(Protocol):
    """TensorBoard's ``SummaryWriter``, whoever made it."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any:
        """Write one number."""


@runtime_checkable
class MappingLogger(Protocol):
    """A run of Weights & Biases, its module, or what takes ``log`` as they do."""

    def log(self, data: dict[str, Any], step: int | None = None) -> Any:
        """Write numbers by name."""


def metrics_of(
    summary: CurriculumSummary, probabilities: Mapping[str, float], *, prefix: str = "curriculum"
) -> dict[str, float]:
    """Numbers by name: distribution, episodes, and the probabilities of tasks by their names. NaNs are left out."""
    metrics: dict[str, float] = {
        "episodes": summary.num_episodes,
        "steps": summary.num_steps,
        "assignments": summary.num_assignments,
        "abandoned": summary.num_abandoned,
        "rejected": summary.num_rejected,
        "curriculum_errors": summary.num_curriculum_errors,
        "sessions": summary.num_sessions,
        "task_age": summary.mean_task_age,
    }
    if summary.distribution is not None:
        metrics["entropy"] = summary.distribution.entropy
        metrics["effective_num_tasks"] = summary.distribution.effective_num_tasks
    for name in ("return_mean", "length_mean", "success_rate"):
        column = getattr(summary.total, name)
        if len(column):
            metrics[name] = float(column[0])
    metrics |= {f"probability/{task}": probability for task, probability in probabilities.items()}
    return {f"{prefix}/{name}": value for name, value in metrics.items() if value == value}


def writing(writer: Any) -> Callable[[dict[str, float], int | None], None]:
    """How to write numbers to ``writer``. Raises TypeError, saying what is expected, for what cannot be written to."""
    if isinstance(writer, ScalarWriter):

        def add_scalars(metrics: dict[str, float], step: int | None) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)

        return add_scalars
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
        "writer: expected a SummaryWriter (add_scalar), a wandb run or module (log) or a dict, got "
        f"{type(writer).__name__}"
    )

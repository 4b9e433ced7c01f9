"""A task that moves in a straight line from one value to another, over steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from syllabus_client.task_spaces import BoxTaskSpace, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch


class SimulatedAnnealing(Curriculum):
    """Linear interpolation over steps. After Syllabus' SimulatedAnnealing.

    After s steps of reported episodes every element i of the task is ``(1 - f) start_i + f end_i``, with
    ``f = min(s, T_i) / T_i``; all draws at that time give that task. An integer space gets the nearest integers.

    Cost: O(size of a task) for each draw, O(1) for an update.

    Args:
        task_space: a BoxTaskSpace, of any shape.
        start_values, end_values: tasks of the space; what has fewer dimensions is broadcast.
        total_steps: T, at least 1: one number, or one for each element (it is broadcast, too).
        seed, random_start_tasks: see ``Curriculum``. Steps of the warm-up count.

    Attributes:
        current_step: s.
    """

    state_fields = ("current_step",)

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        start_values: ArrayLike,
        end_values: ArrayLike,
        total_steps: ArrayLike,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if not isinstance(task_space, BoxTaskSpace):
            raise TypeError(f"task_space: expected a BoxTaskSpace, got {type(task_space).__name__}")
        self._box = task_space
        self._start = _element_wise("start_values", start_values, task_space.encoded_shape)
        self._end = _element_wise("end_values", end_values, task_space.encoded_shape)
        for name, values in (("start_values", self._start), ("end_values", self._end)):
            if not task_space.contains(values):
                raise ValueError(f"{name}: {values.tolist()} is not in {task_space!r}")
        self._total = _element_wise("total_steps", total_steps, task_space.encoded_shape)
        if not (self._total >= 1).all() or not np.isfinite(self._total).all():
            raise ValueError(f"total_steps: expected numbers of at least 1, got {self._total.tolist()}")
        self.current_step = 0

    def _draw(self, k: int) -> Draw:
        share = np.minimum(self.current_step, self._total) / self._total
        task = (1.0 - share) * self._start + share * self._end
        return Draw(np.repeat(self._box.nearest(task)[np.newaxis], k, axis=0))

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self.current_step += int(length)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)
        self.current_step += int(batch.lengths.sum())


def _element_wise(field: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """``values`` as float64 of a shape. Raises ValueError naming the field."""
    try:
        own: np.ndarray = np.broadcast_to(np.asarray(values, dtype=np.float64), shape).copy()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field}: expected numbers that broadcast to {shape}, got {values!r}") from error
    return own

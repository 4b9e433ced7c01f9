"""One task, for ever."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch


class Constant(Curriculum):
    """Always the same task: to try an integration, to train without a curriculum, or as a stage.

    Cost: O(k) for k draws, O(1) for an update, whatever N.

    Args:
        task_space: any.
        default_task: the task, decoded: as the environment takes it.
        seed, random_start_tasks: see ``Curriculum``.

    Raises ValueError where ``default_task`` is not in the space.
    """

    state_fields = ()

    def __init__(
        self, task_space: TaskSpace, default_task: Any, *, seed: int | None = None, random_start_tasks: int = 0
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        try:
            self._task = task_space.encode_many([default_task])
        except TaskNotInSpaceError as error:
            raise ValueError(f"default_task: {error}") from error

    def _draw(self, k: int) -> Draw:
        return Draw(np.repeat(self._task, k, axis=0), np.ones(k))

    def _distribution(self) -> np.ndarray:
        distribution = np.zeros(self.num_tasks)
        distribution[self.task_space.to_index(self._task)] = 1.0
        return distribution

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)

"""Curricula that show a host's behaviour: one that notes every call, and one that raises."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula import Curriculum


class Notebook(Curriculum):
    """Hands out 0, 1, 2, ... modulo N, and notes what it is told, in order."""

    state_fields = ("next_task", "calls")

    def __init__(self, task_space: TaskSpace, *, seed: int | None = None) -> None:
        super().__init__(task_space, seed=seed)
        self.next_task = 0
        self.calls: list[list[Any]] = []

    def _draw(self, k: int) -> np.ndarray:
        tasks = (self.next_task + np.arange(k)) % self.num_tasks
        self.next_task += k
        return tasks

    def _distribution(self) -> np.ndarray:
        return np.full(self.num_tasks, 1 / self.num_tasks)

    def on_sampled(self, tasks: np.ndarray) -> None:
        self.calls.append(["sampled", tasks.tolist()])

    def on_abandoned(self, tasks: np.ndarray) -> None:
        self.calls.append(["abandoned", tasks.tolist()])

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self.calls.append(["episode", int(task), episode_return])

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        self.calls.append(["progress", int(task), progress])

    def custom_update(self, **metrics: Any) -> None:
        self.calls.append(["custom", sorted(metrics)])


class Fragile(Notebook):
    """Raises when an episode's return is negative, and on custom updates named ``bad``."""

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        if episode_return < 0:
            raise RuntimeError(f"no use for {episode_return}")
        super().update_on_episode(episode_return, length, task, progress, env_id)

    def custom_update(self, **metrics: Any) -> None:
        if "bad" in metrics:
            raise ValueError("bad: expected something else")
        super().custom_update(**metrics)

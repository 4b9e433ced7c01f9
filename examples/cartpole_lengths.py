"""CartPole with a pole of another length in each episode: the smallest environment with tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_client import TaskWrapper

LENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0)  #: half lengths of the pole in metres, of which CartPole-v1 has 0.5


class PoleLength(TaskWrapper[np.ndarray, int]):
    """CartPole whose task is half the length of its pole, in metres; CartPole-v1 has 0.5."""

    def change_task(self, new_task: float) -> None:
        self.unwrapped.length = new_task
        self.unwrapped.polemass_length = self.unwrapped.masspole * new_task
        super().change_task(new_task)

    def _task_completion(self, observation: Any, reward: Any, terminated: bool, truncated: bool, info: Any) -> float:
        return float(truncated)  # stood until the time limit

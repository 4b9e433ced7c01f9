"""A callback for Stable Baselines 3's on-policy algorithms: logs a curriculum, and tells it each rollout."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from syllabus_client import CurriculumClient


class CurriculumCallback(BaseCallback):
    """Sends rewards and values of each rollout to the curriculum, and records its metrics with the model's own.

    ``PrioritizedLevelReplay`` learns from the rollouts; a curriculum that learns from episodes needs only the metrics.
    Stable Baselines 3 resets an environment in the step that ends its episode, and hands out that step's info: so the
    task in it is the one that the step belongs to.

    Args:
        curriculum: the learner's handle.
    """

    def __init__(self, curriculum: CurriculumClient) -> None:
        super().__init__()
        self.curriculum = curriculum

    def _on_rollout_start(self) -> None:
        self._tasks: list[list[Any]] = []
        self._dones: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self._tasks.append([info["task"] for info in self.locals["infos"]])
        self._dones.append(self.locals["dones"])
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        self.curriculum.custom_update(
            tasks=np.array(self._tasks),
            dones=np.array(self._dones),
            rewards=buffer.rewards,
            values=buffer.values,
            next_value=self.locals["values"].flatten(),
        )
        self.curriculum.log_metrics(self.logger)

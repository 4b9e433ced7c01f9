"""Crafter's worlds as tasks: a task is the seed that a world is generated from."""

from __future__ import annotations

from typing import Any

import crafter
import gymnasium as gym
import numpy as np

from syllabus_client import TaskEnv


class CrafterWorld(TaskEnv[np.ndarray, int]):
    """Crafter (Hafner, arXiv 2109.06780), behind gymnasium's interface, with the world as its task.

    Crafter numbers its episodes and generates a world from its seed and that number; here each episode is the first of
    its seed, so that a task is always the same world. Task completion is the share of the 22 achievements that the
    episode has unlocked.

    Args:
        length: steps after which an episode is truncated.

    Example:
        >>> env = CrafterWorld()
        >>> observation, _ = env.reset(new_task=3)
        >>> observation.shape
        (64, 64, 3)
    """

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def __init__(self, length: int = 10_000) -> None:
        self._length = length
        self._crafter = crafter.Env(length=length, seed=0)
        self.action_space = gym.spaces.Discrete(self._crafter.action_space.n)
        self.task = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: int | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Generate the world of ``new_task``, or the same one again."""
        super().reset(seed=seed, options=options, new_task=new_task)
        self._crafter = crafter.Env(length=self._length, seed=int(self.task))
        return self._crafter.reset(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, done, info = self._crafter.step(action)
        achievements = info["achievements"]
        info["task_completion"] = sum(count > 0 for count in achievements.values()) / len(achievements)
        died = info["discount"] == 0.0
        return observation, float(reward), died, bool(done) and not died, info

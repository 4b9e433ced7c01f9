"""The CartPole family of the demo, vectorised: each environment with a pole and a motor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from examples.cartpole_family import FORCES, LENGTHS, START, set_task

_MIDDLE = np.log([LENGTHS, FORCES]).mean(axis=1)
_SPREAD = np.log([LENGTHS, FORCES]).std(axis=1)


class VectorCartPoleFamily(gym.vector.VectorWrapper):
    """gymnasium's vectorised CartPole, with the task (half length in metres, force in newtons) of each environment.

    The logarithms of both are the last two observations, brought to mean 0 and deviation 1 over the family. CartPole
    resets an environment in the step after its episode's end: then the task that was set ahead takes effect. A task is
    completed, ``task_completion`` 1, when the pole has stood until the time limit.
    """

    def __init__(self, num_envs: int) -> None:
        super().__init__(gym.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point"))
        low, high = self.env.single_observation_space.low, self.env.single_observation_space.high
        self.single_observation_space = gym.spaces.Box(
            np.append(low, [-np.inf] * 2), np.append(high, [np.inf] * 2), dtype=np.float32
        )
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self._tasks = np.tile(np.exp(_MIDDLE), (num_envs, 1))
        self._next_tasks = self._tasks.copy()
        self._over = np.zeros(num_envs, dtype=bool)

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[tuple[float, float]]) -> None:
        """Set the tasks of the next episodes of ``mask``."""
        self._next_tasks[mask] = tasks

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options={"low": -START, "high": START, **(options or {})})
        self._over = np.zeros_like(self._over)
        self._change(np.ones_like(self._over))
        return self._seen(observations), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if self._over.any():
            self._change(self._over)
        self._over = terminated | truncated
        infos["task_completion"] = truncated.astype(np.float64)
        return self._seen(observations), rewards, terminated, truncated, infos

    def _change(self, mask: np.ndarray) -> None:
        self._tasks = np.where(mask[:, np.newaxis], self._next_tasks, self._tasks)
        set_task(self.unwrapped, *self._tasks.T)

    def _seen(self, observations: np.ndarray) -> np.ndarray:
        features = (np.log(self._tasks) - _MIDDLE) / _SPREAD
        return np.concatenate([observations, features], axis=1).astype(np.float32)

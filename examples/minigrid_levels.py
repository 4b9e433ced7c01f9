"""MiniGrid's levels as tasks: a task is the seed that a level is generated from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 - registers its environments
import numpy as np
from minigrid.wrappers import ImgObsWrapper

from syllabus_client import TaskWrapper


class MiniGridLevel(TaskWrapper[Any, int]):
    """A MiniGrid environment whose task is a level: the same seed is the same walls, keys, goal and start.

    Without a task, a reset is MiniGrid's own: the next level of its generator, or that of ``seed``. Task completion is
    1 in the step that reaches the goal.

    Example:
        >>> env = MiniGridLevel(gym.make("MiniGrid-FourRooms-v0"))
        >>> _, info = env.reset(new_task=7)
        >>> info["task"]
        7
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: int | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Generate the level of ``new_task``, if one is given."""
        if new_task is not None:
            seed = int(new_task)
        return super().reset(seed=seed, options=options, new_task=new_task)

    def _task_completion(
        self, observation: Any, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> float:
        return float(terminated and reward > 0)


class FlatView(gym.ObservationWrapper[np.ndarray, int, Any]):
    """What the agent sees, 7 x 7 cells of object, colour and state, as float32 (147,) in [0, 1]."""

    def __init__(self, env: gym.Env[Any, int]) -> None:
        super().__init__(ImgObsWrapper(env))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (7 * 7 * 3,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation.reshape(-1).astype(np.float32) / 10.0

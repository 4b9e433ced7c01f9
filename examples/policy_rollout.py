"""A whole episode as one step: the action is a policy, the reward its return."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from examples.cartpole_family import FORCES, LENGTHS
from examples.linear_policy import NUM_PARAMETERS, gains


class PolicyRollout(gym.Wrapper[np.ndarray, np.ndarray, np.ndarray, int]):
    """Runs the policy that it is given for one episode of the environment underneath, whose reset gets the task's id.

    This is how random search uses workers: parameters go out, a return comes back, and a step costs no message. A step
    never ends an episode, so that a vector environment never resets by itself. The observation is the task that was
    run, as the places of its length and its force; the info has the episode's ``steps``.
    """

    def __init__(self, env: gym.Env[np.ndarray, int]) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (NUM_PARAMETERS,), np.float64)
        self.observation_space = gym.spaces.MultiDiscrete([len(LENGTHS), len(FORCES)])
        self._seed: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Keep the seed for the first episode. No task is taken."""
        self._seed = seed
        return np.zeros(2, dtype=np.int64), {"steps": 0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, info = self.env.reset(seed=self._seed)
        self._seed = None
        task = int(info["task"])
        controller = gains(action, task)
        episode_return, steps, done = 0.0, 0, False
        while not done:
            observation, reward, terminated, truncated, _ = self.env.step(int(observation @ controller > 0))
            episode_return += float(reward)
            steps += 1
            done = terminated or truncated
        places = np.array(divmod(task, len(FORCES)), dtype=np.int64)
        return places, episode_return, False, False, {"steps": steps}

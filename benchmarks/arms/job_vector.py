"""The arm of environments per process: a vector environment under VectorSyncWrapper, the service embedded."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from benchmarks.arms.episodes import WARM_UP_SECONDS
from benchmarks.harness import Run, Window, arm_main, rss_bytes
from syllabus_client import DiscreteTaskSpace, VectorSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create


class ShortVectorEpisodes(gym.vector.VectorEnv):
    """Environments that do nothing, vectorised by hand; their episodes end in turn, not all at once."""

    def __init__(self, num_envs: int, length: int) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (num_envs, 1))
        self.single_action_space = gym.spaces.Discrete(2)
        self.action_space = gym.spaces.MultiDiscrete([2] * num_envs)
        self._length = length
        self._steps = np.zeros(num_envs, np.int64)
        self._observation = np.zeros((num_envs, 1), np.float32)
        self._ones, self._none = np.ones(num_envs), np.zeros(num_envs, bool)

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[Any]) -> None:
        """What the wrapper tells; these environments are the same in all tasks."""

    def reset(self, *, seed: Any = None, options: dict | None = None):
        self._steps = np.arange(self.num_envs) % self._length
        return self._observation, {}

    def step(self, actions: Any):
        self._steps += 1
        over = self._steps == self._length
        self._steps[self._steps > self._length] = 0  # the step after an end is the reset
        return self._observation, self._ones, over, self._none, {}


def run(environments: int, seconds: float, length: int = 5, tasks: int = 1_000) -> Run:
    """Step all environments together; a wait is what a whole step takes."""
    curriculum, queue, _ = make_multiprocessing_curriculum(
        create("domain_randomization", DiscreteTaskSpace(tasks), seed=0)
    )
    envs = VectorSyncWrapper(ShortVectorEpisodes(environments, length), queue)
    actions = np.zeros(environments, np.int64)
    envs.reset()

    def play(until: float) -> tuple[int, list[float]]:
        episodes, took = 0, []
        while (before := time.monotonic()) < until:
            episodes += int(envs.step(actions)[2].sum())
            took.append(time.monotonic() - before)
        return episodes, took

    warm_up, _ = play(time.monotonic() + WARM_UP_SECONDS)
    with Window() as window:
        episodes, took = play(time.monotonic() + seconds)
    own, service = rss_bytes(os.getpid()), rss_bytes(curriculum.service_pid)
    envs.close()
    counted = curriculum.summary().num_episodes
    curriculum.close()
    if counted != warm_up + episodes:
        raise RuntimeError(f"{warm_up + episodes} episodes were played, and {counted} counted")
    return Run(
        {
            "episodes_per_s": episodes / window.noise.seconds,
            "wait_p50_us": float(np.percentile(took, 50)) * 1e6,
            "wait_p99_us": float(np.percentile(took, 99)) * 1e6,
            "cpu_us_per_episode": window.noise.cpu_seconds / max(1, episodes) * 1e6,
            "client_rss_mib": own / 2**20,
            "service_rss_mib": service / 2**20,
        },
        window.noise,
    )


if __name__ == "__main__":
    arm_main(run)

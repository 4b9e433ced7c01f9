"""Quick environments that keep a ledger of what they ran."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from syllabus_client.wrappers import TaskEnv


class Run(NamedTuple):
    """One episode, as the environment saw it."""

    task: Any
    episode_return: float
    length: int


class LedgerEnv(TaskEnv[int, int]):
    """Task t takes t % 3 + 1 steps and pays t + 0.5 for each; every episode that ends goes into the ledger.

    Args:
        ends: "terminated", "truncated", "both", or "never".
        nan_task: a task that pays NaN.
        rejects: a task for which the environment runs task 0 instead.
    """

    observation_space = gym.spaces.Discrete(1000)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, ends: str = "terminated", *, nan_task: int | None = None, rejects: int | None = None) -> None:
        self.ends = ends
        self.nan_task = nan_task
        self.rejects = rejects
        self.ledger: list[Run] = []
        self.calls: list[dict[str, Any]] = []

    def change_task(self, new_task: int) -> None:
        super().change_task(0 if new_task == self.rejects else new_task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, new_task: Any = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed, new_task=new_task)
        self.calls.append({"seed": seed, "options": options, "new_task": new_task})
        self.steps = 0
        self.paid = 0.0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = float("nan") if self.task == self.nan_task else self.task + 0.5
        self.paid += reward
        needed = self.task % 3 + 1
        over = self.steps >= needed and self.ends != "never"
        if self.steps == needed and over:
            self.ledger.append(Run(self.task, self.paid, self.steps))
        info: dict[str, Any] = {"task_completion": min(1.0, self.steps / needed)}
        if over:
            info["episode_metrics"] = {"score": 10.0 * self.task}
        return (
            self.steps,
            reward,
            over and self.ends in ("terminated", "both"),
            over and self.ends != "terminated",
            info,
        )


class VectorLedgerEnv(gym.vector.VectorEnv):
    """n LedgerEnvs vectorised by hand: task t takes t % 3 + 1 steps and pays t + 0.5 for each."""

    def __init__(self, num_envs: int, mode: gym.vector.AutoresetMode, *, rejects: int = -1) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = gym.spaces.Box(0, np.inf, (1,), np.float64)
        self.observation_space = gym.spaces.Box(0, np.inf, (num_envs, 1), np.float64)
        self.single_action_space = gym.spaces.Discrete(2)
        self.action_space = gym.spaces.MultiDiscrete([2] * num_envs)
        self.mode = mode
        self.rejects = rejects
        self.next_tasks = np.full(num_envs, -1)
        self.tasks = np.full(num_envs, -1)
        self.steps = np.zeros(num_envs, dtype=np.int64)
        self.over = np.zeros(num_envs, dtype=bool)
        self.ledger: list[Run] = []

    def set_tasks(self, mask: np.ndarray, tasks: Any) -> None:
        self.next_tasks[mask] = [0 if task == self.rejects else task for task in tasks]

    def running_tasks(self, mask: np.ndarray) -> list[int]:
        return self.tasks[mask].tolist()

    def _reset(self, mask: np.ndarray) -> None:
        self.tasks[mask] = self.next_tasks[mask]
        self.next_tasks[mask] = -1  # a task serves one reset
        assert (self.tasks[mask] >= 0).all()
        self.steps[mask] = 0
        self.over[mask] = False

    def _observe(self) -> np.ndarray:
        return self.steps[:, np.newaxis].astype(np.float64)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        everyone = np.ones(self.num_envs, dtype=bool)
        self._reset(everyone if options is None else options.get("reset_mask", everyone))
        return self._observe(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        resetting = self.over.copy() if self.mode == gym.vector.AutoresetMode.NEXT_STEP else np.zeros_like(self.over)
        if resetting.any():
            self._reset(resetting)
        self.steps[~resetting] += 1
        rewards = np.where(resetting, 0.0, self.tasks + 0.5)
        needed = self.tasks % 3 + 1
        ended = ~resetting & (self.steps == needed)
        infos: dict[str, Any] = {
            "task_completion": np.minimum(1.0, self.steps / needed),
            "_task_completion": ~resetting,
        }
        infos["episode_metrics"] = {"score": 10.0 * self.tasks, "_score": ended.copy()}
        for row in np.flatnonzero(ended):
            task = int(self.tasks[row])
            self.ledger.append(Run(task, (task + 0.5) * int(needed[row]), int(needed[row])))
        self.over |= ended
        observations = self._observe()
        if self.mode == gym.vector.AutoresetMode.SAME_STEP and ended.any():
            infos = {"final_info": infos, "final_obs": list(observations)}
            self._reset(ended)
            observations = self._observe()
        return observations, rewards, ended, np.zeros_like(ended), infos

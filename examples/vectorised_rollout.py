"""One rollout of a vector environment that resets in the step after an episode's end, as EnvPool's do."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from examples.cleanrl_ppo import Agent


class Collector:
    """Steps a vector environment with an agent, rollout by rollout.

    Args:
        envs: resets an environment in the step after its episode's end; ``RecordEpisodeStatistics`` is outermost.
        agent: acts.
        seed: of the first reset.

    Attributes:
        episode_returns: of all episodes that ended, as RecordEpisodeStatistics tells them.
    """

    def __init__(self, envs: gym.vector.VectorEnv, agent: Agent, seed: int | None = None) -> None:
        self.episode_returns: list[float] = []
        self._envs = envs
        self._agent = agent
        self._observation, self._infos = envs.reset(seed=seed)
        self._done = np.zeros(envs.num_envs, dtype=bool)

    def collect(self, num_steps: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Step T times.

        Returns:
            Tensors (T, A, ...) by name, among them ``dones``: nothing follows this step; ``valid``: this step did more
            than to reset; and ``tasks``, where the environment's info has any: the encoded task of the step's episode.
            And the values (A,) of what follows the last step.
        """
        rows: list[dict[str, Any]] = []
        for _ in range(num_steps):
            observations = torch.as_tensor(self._observation)
            with torch.no_grad():
                policy, values = self._agent.policy(observations), self._agent.value(observations)
                actions = policy.sample()
            row = {"observations": observations, "actions": actions, "values": values}
            row |= {"log_probs": policy.log_prob(actions), "valid": torch.as_tensor(~self._done)}
            if "task" in self._infos:
                row["tasks"] = torch.as_tensor(self._infos["task"])
            self._observation, rewards, terminated, truncated, self._infos = self._envs.step(actions.numpy())
            self._done = terminated | truncated
            row |= {"rewards": torch.as_tensor(rewards).float(), "dones": torch.as_tensor(self._done)}
            rows.append(row)
            if "episode" in self._infos:
                self.episode_returns += self._infos["episode"]["r"][self._infos["_episode"]].tolist()
        with torch.no_grad():
            next_value = self._agent.value(torch.as_tensor(self._observation))
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, next_value

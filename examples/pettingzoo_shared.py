"""PettingZoo's Pursuit, in which all agents play the task of one curriculum, and share one policy.

    .venv-libraries/bin/python -m examples.pettingzoo_shared

A task is the number of evaders that four pursuers have to catch. REINFORCE (Williams, 1992), with what each pursuer
gets from each step on, less the mean over the pursuers and steps of an episode.
"""

from __future__ import annotations

from typing import Any

import pettingzoo
import torch
from torch import nn
from torch.distributions import Categorical

from syllabus_client import (
    DiscreteTaskSpace,
    PettingZooSyncWrapper,
    PettingZooTaskWrapper,
    make_multiprocessing_curriculum,
)
from syllabus_service.curricula import create

EVADERS = (1, 2, 4, 8)
GAMMA = 0.95


class Pursuit(PettingZooTaskWrapper[str, Any, int]):
    """Pursuit on 10 by 10 squares, of as many evaders as the task says; complete when all are caught."""

    def __init__(self) -> None:
        super().__init__(self._make(EVADERS[0]))

    @staticmethod
    def _make(evaders: int) -> Any:
        return pettingzoo.make(
            "parallel",
            "sisl/pursuit-v5",
            n_pursuers=4,
            n_evaders=evaders,
            x_size=10,
            y_size=10,
            max_cycles=40,
            surround=False,
            n_catch=1,
        )

    def change_task(self, new_task: int) -> None:
        self.env.close()
        self.env = self._make(new_task)
        self.task = new_task

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, terminations, truncations, infos = super().step(actions)
        for agent, info in infos.items():
            info["task_completion"] = float(terminations[agent])
        return observations, rewards, terminations, truncations, infos


def main(episodes: int = 60, seed: int = 1) -> list[float]:
    """Train; return the summed reward of each episode."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # for networks as small as these
    params = {"curriculum": {"algorithm": "online_learning_progress"}, "possible_agents": Pursuit().possible_agents}
    curriculum, task_queue, _ = make_multiprocessing_curriculum(
        create("multi_agent_shared", DiscreteTaskSpace(EVADERS), params, seed=seed)
    )
    env = PettingZooSyncWrapper(Pursuit(), task_queue)
    policy = nn.Sequential(nn.Flatten(), nn.Linear(7 * 7 * 3, 64), nn.Tanh(), nn.Linear(64, 5))
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.003)
    sums = []
    for episode in range(episodes):
        observations, _ = env.reset(seed=seed + episode)
        steps = []
        while env.agents:
            agents = list(env.agents)
            chosen = Categorical(logits=policy(torch.stack([torch.as_tensor(observations[each]) for each in agents])))
            actions = chosen.sample()
            observations, rewards, *_ = env.step(dict(zip(agents, actions.tolist(), strict=True)))
            steps.append((chosen.log_prob(actions), torch.tensor([rewards[each] for each in agents])))
        gains = [steps[-1][1]]
        for _, reward in reversed(steps[:-1]):
            gains.append(reward + GAMMA * gains[-1])
        gained = torch.stack(gains[::-1])
        loss = -((gained - gained.mean()) * torch.stack([log_prob for log_prob, _ in steps])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(float(sum(reward.sum() for _, reward in steps)))
        if episode % 20 == 19:
            print(f"episode {episode + 1}: {sum(sums[-20:]) / 20:.1f} over the last 20")
    env.close()
    statistics = curriculum.statistics()
    tasks = statistics.tasks
    for task, count, mean in zip(tasks.tasks, tasks.num_episodes, tasks.return_mean, strict=True):
        print(f"{EVADERS[task]} evaders: {count} episodes, mean return {mean:.3f}")
    print("episodes:", len(sums), "counted:", statistics.total.num_episodes[0])
    curriculum.close()
    return sums


if __name__ == "__main__":
    main()

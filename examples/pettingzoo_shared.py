"""PettingZoo's Pursuit, in which all agents play the task of one curriculum, and share one policy.

    .venv-libraries/bin/python -m examples.pettingzoo_shared

REINFORCE (Williams, 1992), with what each pursuer gets from each step on, less the mean over the pursuers and steps of
an episode.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.distributions import Categorical

from examples.pettingzoo_pursuit import EVADERS, Pursuit
from syllabus_client import DiscreteTaskSpace, PettingZooSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create

GAMMA = 0.95


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> list[float]:
    """Train; return the summed reward of each episode."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # for networks as small as these
    progress = {"curriculum": {"algorithm": "online_learning_progress"}, "possible_agents": Pursuit().possible_agents}
    shared = create("multi_agent_shared", DiscreteTaskSpace(EVADERS), progress, seed=args.seed)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(shared)
    env = PettingZooSyncWrapper(Pursuit(), task_queue)
    policy = nn.Sequential(nn.Flatten(), nn.Linear(7 * 7 * 3, 64), nn.Tanh(), nn.Linear(64, 5))
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.003)
    sums = []
    for episode in range(args.episodes):
        observations, _ = env.reset(seed=args.seed + episode)
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
    curriculum.close()
    return sums


if __name__ == "__main__":
    main(parse())

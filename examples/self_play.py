"""Fictitious self-play in PettingZoo's rock, paper, scissors: the opponents are tasks, stored by the service.

    .venv-libraries/bin/python -m examples.self_play

A learner plays against all that it has been so far, uniformly, and is stored as a new opponent every few games. Rock,
paper, scissors is an AEC environment; PettingZoo's own conversion makes a parallel one of it. An agent is its
``state_dict``, as bytes of safetensors: nothing that is loaded from the service is ever unpickled.
"""

from __future__ import annotations

import argparse
from typing import Any

import pettingzoo
import torch
from pettingzoo.utils import aec_to_parallel
from safetensors.torch import load, save
from torch import nn
from torch.distributions import Categorical

from syllabus_client import (
    CurriculumClient,
    DiscreteTaskSpace,
    PettingZooSyncWrapper,
    PettingZooTaskWrapper,
    make_multiprocessing_curriculum,
)
from syllabus_service.curricula import create

OPPONENTS = 100  # ids of opponents, of which the newest are kept
MOVES = 3


class Policy(nn.Module):
    """The opponent's last move (n,), 3 at first, to logits (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Embedding(MOVES + 1, MOVES)
        nn.init.zeros_(self.logits.weight)

    def forward(self, last_moves: torch.Tensor) -> torch.Tensor:
        return self.logits(last_moves)

    def act(self, last_move: Any) -> Categorical:
        """The distribution of the next move."""
        return Categorical(logits=self(torch.as_tensor(int(last_move))))


class AgainstOpponent(PettingZooTaskWrapper[str, Any, int]):
    """Leaves one player to the learner; the other is the opponent whose id is the task."""

    def __init__(self, env: Any, curriculum: CurriculumClient) -> None:
        super().__init__(env)
        self.learner, self._opponent = self.possible_agents
        self._curriculum = curriculum
        self._policy = Policy()
        self._observation: Any = None

    @property
    def agents(self) -> list[str]:
        """The learner, while the game lasts."""
        return [self.learner] if self.learner in self.env.agents else []

    def change_task(self, new_task: int) -> None:
        # Asked for at each game, as ids are used again once there are more agents than ids.
        self._policy.load_state_dict(load(self._curriculum.get_agent(new_task)))
        self.task = new_task

    def reset(self, seed: Any = None, options: Any = None, new_task: Any = None) -> Any:
        observations, infos = super().reset(seed, options, new_task)
        self._observation = observations[self._opponent]
        return self._mine(observations), self._mine(infos)

    def step(self, actions: dict[str, int]) -> Any:
        with torch.no_grad():
            reply = int(self._policy.act(self._observation).sample())
        observations, *others = self.env.step({**actions, self._opponent: reply})
        self._observation = observations.get(self._opponent)
        return self._mine(observations), *map(self._mine, others)

    def _mine(self, columns: dict[str, Any]) -> dict[str, Any]:
        return {self.learner: columns[self.learner]}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """How long to play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--stages", type=int, default=10, help="after each of which the learner is stored as an opponent"
    )
    parser.add_argument("--games", type=int, default=40, help="of a stage")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Play; return the mean return of each stage's last games, and the return of each game."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # for networks as small as these
    curriculum, task_queue, _ = make_multiprocessing_curriculum(
        create("fictitious_self_play", DiscreteTaskSpace(OPPONENTS), seed=args.seed)
    )
    policy = Policy()
    with torch.no_grad():
        policy.logits.weight[:, 0] = 2.0  # the first agent mostly plays rock
    env = PettingZooSyncWrapper(
        AgainstOpponent(aec_to_parallel(pettingzoo.make("aec", "classic/rps-v2")), curriculum), task_queue
    )
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1)
    means, returns = [], []
    for stage in range(args.stages):
        curriculum.add_agent(save(policy.state_dict()))
        for _ in range(args.games):
            observations, _ = env.reset()
            losses, total = [], 0.0
            while env.agents:
                [(learner, seen)] = observations.items()
                move = policy.act(seen)
                action = move.sample()
                observations, rewards, *_ = env.step({learner: int(action)})
                losses.append(-rewards[learner] * move.log_prob(action) - 0.01 * move.entropy())
                total += rewards[learner]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            optimizer.step()
            returns.append(total)
        means.append(sum(returns[-args.games // 2 :]) / (args.games // 2))
        print(f"stage {stage}: {stage + 1} opponents, mean return {means[-1]:+.1f} of {len(losses)} rounds")
    env.close()
    statistics = curriculum.statistics()
    count, mean = statistics.total.num_episodes[0], statistics.total.return_mean[0]
    print("games:", len(returns), "counted:", count)
    print("summed returns:", sum(returns), "counted:", count * mean)
    print("opponents that were met:", len(statistics.tasks.tasks))
    curriculum.close()
    return means, returns


if __name__ == "__main__":
    main(parse())

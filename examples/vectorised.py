"""A thousand environments in one process: PPO on EnvPool's CartPole, whose cart must stand where the task says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import envpool
import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from examples.cleanrl_ppo import Agent, learn
from examples.vectorised_rollout import Collector
from syllabus_client import DiscreteTaskSpace, VectorSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create

PLACES = np.linspace(-2.0, 2.0, 9).round(2).tolist()  # metres from the middle of the track, which ends at 2.4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Hyperparameters, of PPO those that ``examples.cleanrl_ppo`` explains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--num-envs", type=int, default=1024)
    parser.add_argument("--num-steps", type=int, default=32)
    parser.add_argument("--total-timesteps", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    ppo = parser.add_argument_group("PPO")
    ppo.add_argument("--learning-rate", type=float, default=2e-3)
    ppo.add_argument("--gamma", type=float, default=0.99)
    ppo.add_argument("--gae-lambda", type=float, default=0.95)
    ppo.add_argument("--num-minibatches", type=int, default=8)
    ppo.add_argument("--update-epochs", type=int, default=4)
    ppo.add_argument("--clip-coef", type=float, default=0.2)
    ppo.add_argument("--ent-coef", type=float, default=0.0)
    ppo.add_argument("--vf-coef", type=float, default=0.5)
    ppo.add_argument("--max-grad-norm", type=float, default=0.5)
    return parser.parse_args(arguments)


class StandAt(gym.vector.VectorWrapper):
    """A vectorised CartPole whose task is the place where the cart should stand, in metres.

    What a pool runs in C++ takes no task at its resets; a goal needs none there. The place is the fifth observation,
    and a step pays 1 at it, less the further away the cart is, and 0 from 1 m on. EnvPool resets an environment in the
    step after its episode's end: from that step on the task that was set ahead applies.
    """

    def __init__(self, env: gym.vector.VectorEnv) -> None:
        super().__init__(env)
        low, high = env.single_observation_space.low, env.single_observation_space.high
        self.single_observation_space = gym.spaces.Box(np.append(low, -2.4), np.append(high, 2.4), dtype=np.float32)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, env.num_envs)
        self._places, self._next_places = np.zeros(env.num_envs), np.zeros(env.num_envs)
        self._over = np.zeros(env.num_envs, dtype=bool)

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[float]) -> None:
        """Set the places of the next episodes of ``mask``."""
        self._next_places[mask] = tasks

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        self._places, self._over = self._next_places.copy(), np.zeros_like(self._over)
        return self._seen(observations), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        observations, _, terminated, truncated, infos = self.env.step(actions)
        self._places = np.where(self._over, self._next_places, self._places)
        rewards = np.where(self._over, 0.0, np.maximum(0.0, 1.0 - np.abs(observations[:, 0] - self._places)))
        self._over = terminated | truncated
        return self._seen(observations), rewards, terminated, truncated, infos

    def _seen(self, observations: np.ndarray) -> np.ndarray:
        return np.column_stack([observations, self._places]).astype(np.float32)


def main(args: argparse.Namespace) -> list[float]:
    """Train; the return of each episode, as gymnasium's RecordEpisodeStatistics tells it."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # networks this small are slower on several
    places = create("prioritized_level_replay", DiscreteTaskSpace(PLACES), {"gamma": args.gamma}, seed=args.seed)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(places)
    envs = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=args.num_envs, seed=args.seed)
    envs = StandAt(envs)
    envs = VectorSyncWrapper(envs, task_queue)
    envs = RecordEpisodeStatistics(envs)
    agent = Agent(envs.single_observation_space.shape[0], 2)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    collector = Collector(envs, agent)
    for iteration in range(1, args.total_timesteps // (args.num_steps * args.num_envs) + 1):
        rollout, next_value = collector.collect(args.num_steps)
        learn(agent, optimizer, rollout, next_value, args)
        rollout = {name: rollout[name] for name in ("tasks", "rewards", "values", "dones")}
        curriculum.custom_update(**rollout, next_value=next_value)
        steps = iteration * args.num_steps * args.num_envs
        recent = np.mean(collector.episode_returns[-1000:])
        print(f"step {steps}: {len(collector.episode_returns)} episodes, mean return {recent:.1f}")
    envs.close()
    return collector.episode_returns


if __name__ == "__main__":
    main(parse())

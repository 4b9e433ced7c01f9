"""IMPALA as TorchBeast builds it: actor processes that write rollouts into shared buffers, and a V-trace learner."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import multiprocessing, nn
from torch.nn import functional

from examples.cartpole_lengths import LENGTHS, PoleLength
from syllabus_client import DiscreteTaskSpace, MultiProcessingSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create

Tensors = dict[str, torch.Tensor]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Hyperparameters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--total-steps", type=int, default=200_000)
    parser.add_argument("--num-actors", type=int, default=4)
    parser.add_argument("--num-buffers", type=int, default=16)
    parser.add_argument("--unroll-length", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8, help="in rollouts")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--discounting", type=float, default=0.99)
    parser.add_argument("--entropy-cost", type=float, default=0.005)
    parser.add_argument("--baseline-cost", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


class Net(nn.Module):
    """A policy and its value, (..., 4) to (..., 2) and (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy, self.baseline = nn.Linear(64, 2), nn.Linear(64, 1)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        core = self.core(observations)
        return self.policy(core), self.baseline(core).squeeze(-1)


def create_buffers(num_buffers: int, unroll_length: int) -> list[Tensors]:
    """Rollouts in shared memory. Row t has an observation, what led to it, and what the actor did then."""
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "observation": ((4,), torch.float32),
        "reward": ((), torch.float32),
        "done": ((), torch.bool),
        "episode_return": ((), torch.float32),
        "action": ((), torch.int64),
        "policy_logits": ((2,), torch.float32),
    }
    return [
        {
            name: torch.zeros((unroll_length + 1, *shape), dtype=kind).share_memory_()
            for name, (shape, kind) in kinds.items()
        }
        for _ in range(num_buffers)
    ]


def act(
    number: int, make_env: Callable[[], gym.Env], model: Net, buffers: list[Tensors], free: Any, full: Any, seed: int
) -> None:
    """An actor: fills the buffers that it takes from ``free`` until it takes None."""
    torch.manual_seed(seed * 1000 + number)
    torch.set_num_threads(1)
    env = make_env()
    observation, _ = env.reset(seed=seed * 1000 + number)
    row: dict[str, Any] = {"reward": 0.0, "done": False, "episode_return": 0.0}
    episode_return = 0.0
    while (index := free.get()) is not None:
        for t in range(len(buffers[index]["done"])):
            if t > 0 or "action" not in row:  # row 0 of a rollout is the last of the one before
                if t > 0:
                    observation, reward, terminated, truncated, _ = env.step(int(row["action"]))
                    episode_return += float(reward)
                    row = {"reward": reward, "done": terminated or truncated, "episode_return": episode_return}
                    if row["done"]:
                        observation, _ = env.reset()
                        episode_return = 0.0
                row["observation"] = torch.as_tensor(observation)
                with torch.no_grad():
                    row["policy_logits"], _ = model(row["observation"])
                row["action"] = torch.distributions.Categorical(logits=row["policy_logits"]).sample()
            for name, value in row.items():
                buffers[index][name][t] = value
        full.put(index)
    env.close()


def vtrace(
    log_rhos: torch.Tensor, discounts: torch.Tensor, rewards: torch.Tensor, values: torch.Tensor, last: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """V-trace targets and policy gradient advantages (Espeholt et al., arXiv 1802.01561, section 4), both (T, B).

    With rho_s = min(1, pi/mu) and c_s = rho_s, and v_T = V(x_T) = ``last``:
    v_s = V(x_s) + rho_s (r_s + gamma_s V(x_s+1) - V(x_s)) + gamma_s c_s (v_s+1 - V(x_s+1)), which is remark 1;
    the advantage is rho_s (r_s + gamma_s v_s+1 - V(x_s)), section 4.2.
    """
    rhos = log_rhos.exp().clamp(max=1.0)
    following = torch.cat([values[1:], last[None]])
    deltas = rhos * (rewards + discounts * following - values)
    surplus, excess = torch.zeros_like(last), []
    for t in reversed(range(len(rewards))):
        surplus = deltas[t] + discounts[t] * rhos[t] * surplus
        excess.append(surplus)
    targets = values + torch.stack(excess[::-1])
    following_targets = torch.cat([targets[1:], last[None]])
    return targets, rhos * (rewards + discounts * following_targets - values)


def learn(model: Net, optimizer: torch.optim.Optimizer, batch: Tensors, args: argparse.Namespace) -> None:
    """One step of the learner on rollouts (T + 1, B, ...)."""
    logits, baselines = model(batch["observation"])
    policy, actions = torch.distributions.Categorical(logits=logits[:-1]), batch["action"][:-1]
    log_probs = policy.log_prob(actions)
    with torch.no_grad():
        behaviour = torch.distributions.Categorical(logits=batch["policy_logits"][:-1])
        discounts = args.discounting * (~batch["done"][1:]).float()
        log_rhos = log_probs - behaviour.log_prob(actions)
        targets, advantages = vtrace(log_rhos, discounts, batch["reward"][1:], baselines[:-1], baselines[-1])
    policy_loss = -(log_probs * advantages).mean()
    baseline_loss = 0.5 * functional.mse_loss(baselines[:-1], targets)
    loss = policy_loss + args.baseline_cost * baseline_loss - args.entropy_cost * policy.entropy().mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main(args: argparse.Namespace) -> list[float]:
    """Train; the return of each episode, as the actors wrote it into the buffers."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    lengths = create("online_learning_progress", DiscreteTaskSpace(LENGTHS), seed=args.seed)
    curriculum, task_queue, update_queue = make_multiprocessing_curriculum(lengths)

    def make_env() -> gym.Env:
        env = gym.make("CartPole-v1")
        env = MultiProcessingSyncWrapper(PoleLength(env), task_queue, update_queue)
        return env

    context = multiprocessing.get_context("fork")
    model, actor_model = Net(), Net().share_memory()
    actor_model.load_state_dict(model.state_dict())
    buffers = create_buffers(args.num_buffers, args.unroll_length)
    free, full = context.SimpleQueue(), context.SimpleQueue()
    actors = [
        context.Process(target=act, args=(number, make_env, actor_model, buffers, free, full, args.seed))
        for number in range(args.num_actors)
    ]
    for actor in actors:
        actor.start()
    for index in range(args.num_buffers):
        free.put(index)

    optimizer = torch.optim.RMSprop(model.parameters(), lr=args.learning_rate, alpha=0.99, eps=0.01)
    episode_returns: list[float] = []
    per_batch = args.unroll_length * args.batch_size
    for learned in range(1, args.total_steps // per_batch + 1):
        taken = [full.get() for _ in range(args.batch_size)]
        batch = {name: torch.stack([buffers[index][name] for index in taken], dim=1) for name in buffers[0]}
        for index in taken:
            free.put(index)
        episode_returns += batch["episode_return"][1:][batch["done"][1:]].tolist()
        learn(model, optimizer, batch, args)
        actor_model.load_state_dict(model.state_dict())
        if learned % 50 == 0:
            print(f"step {learned * per_batch}: mean return {np.mean(episode_returns[-100:]):.1f}")
            print(curriculum.log_metrics({}))
    for _ in actors:
        free.put(None)
    for actor in actors:
        actor.join()
    while not full.empty():  # what was still on its way to the learner
        rollout = buffers[full.get()]
        episode_returns += rollout["episode_return"][1:][rollout["done"][1:]].tolist()
    curriculum.close()
    return episode_returns


if __name__ == "__main__":
    main(parse())

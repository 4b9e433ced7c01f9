"""PPO in one file, as CleanRL writes it, on MiniGrid levels that prioritized level replay chooses."""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical
from torch.utils.tensorboard import SummaryWriter

from examples.minigrid_levels import FlatView, MiniGridLevel
from syllabus_client import DiscreteTaskSpace, MultiProcessingSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula.prioritized_level_replay import PrioritizedLevelReplay as PLR


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Hyperparameters. With the defaults, one seed of two learned to reach the default environment's goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--env-id", default="MiniGrid-SimpleCrossingS9N1-v0")
    parser.add_argument("--total-timesteps", type=int, default=200_000)
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--num-steps", type=int, default=128, help="of each environment in a rollout")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--update-epochs", type=int, default=4)
    parser.add_argument("--clip-coef", type=float, default=0.2)
    parser.add_argument("--ent-coef", type=float, default=0.01)
    parser.add_argument("--vf-coef", type=float, default=0.5)
    parser.add_argument("--max-grad-norm", type=float, default=0.5)
    parser.add_argument("--autoreset", choices=("same_step", "next_step"), default="same_step")
    parser.add_argument("--async-envs", action="store_true", help="each environment in a process of its own")
    parser.add_argument("--log-dir", default="runs/cleanrl_ppo")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


class Agent(nn.Module):
    """An actor and a critic, each a perceptron with two hidden layers of 64 units."""

    def __init__(self, num_inputs: int, num_actions: int) -> None:
        super().__init__()
        self.actor = self._perceptron(num_inputs, num_actions, 0.01)
        self.critic = self._perceptron(num_inputs, 1, 1.0)

    @staticmethod
    def _perceptron(num_inputs: int, num_outputs: int, gain: float) -> nn.Sequential:
        layers = [nn.Linear(num_inputs, 64), nn.Linear(64, 64), nn.Linear(64, num_outputs)]
        for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
            nn.init.orthogonal_(layer.weight, scale)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

    def value(self, observations: torch.Tensor) -> torch.Tensor:
        return self.critic(observations).squeeze(-1)

    def policy(self, observations: torch.Tensor) -> Categorical:
        return Categorical(logits=self.actor(observations))


def advantages_of(rewards, values, dones, next_value, gamma, gae_lambda):  # type: ignore[no-untyped-def]
    """Generalised advantage estimates, (T, A); ``dones`` says after which steps nothing follows."""
    advantages = torch.zeros_like(rewards)
    following, last = next_value, torch.zeros_like(next_value)
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - dones[t]
        delta = rewards[t] + gamma * following * goes_on - values[t]
        advantages[t] = last = delta + gamma * gae_lambda * goes_on * last
        following = values[t]
    return advantages


def learn(agent, optimizer, rollout, next_value, args):  # type: ignore[no-untyped-def]
    """PPO's update from a rollout: tensors (T, A, ...) by name, and the values (A,) of what follows the last step."""
    columns = {name: rollout[name] for name in ("observations", "actions", "log_probs")}
    returned = (rollout["rewards"], rollout["values"], rollout["dones"].float(), next_value)
    columns["advantages"] = advantages_of(*returned, args.gamma, args.gae_lambda)
    columns["returns"] = columns["advantages"] + rollout["values"]
    batch = {name: column[rollout["valid"]] for name, column in columns.items()}
    size = len(batch["actions"])
    for _ in range(args.update_epochs):
        for rows in torch.randperm(size).chunk(args.num_minibatches):
            policy = agent.policy(batch["observations"][rows])
            ratio = (policy.log_prob(batch["actions"][rows]) - batch["log_probs"][rows]).exp()
            advantages = batch["advantages"][rows]
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
            policy_loss = -torch.min(ratio * advantages, clipped * advantages).mean()
            value_loss = 0.5 * (agent.value(batch["observations"][rows]) - batch["returns"][rows]).square().mean()
            loss = policy_loss + args.vf_coef * value_loss - args.ent_coef * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


def main(args: argparse.Namespace) -> list[float]:
    """Train; the return of each episode, as gymnasium's RecordEpisodeStatistics tells it."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # networks this small are slower on several
    writer = SummaryWriter(args.log_dir)
    curriculum, *queue = make_multiprocessing_curriculum(PLR(DiscreteTaskSpace(200), gamma=args.gamma, seed=args.seed))

    def make_env() -> gym.Env:
        env = gym.wrappers.RecordEpisodeStatistics(FlatView(gym.make(args.env_id)))
        env = MultiProcessingSyncWrapper(MiniGridLevel(env), *queue)
        return env

    vectorize = AsyncVectorEnv if args.async_envs else SyncVectorEnv
    envs = vectorize([make_env] * args.num_envs, autoreset_mode=AutoresetMode[args.autoreset.upper()])
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.n)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    observations = torch.zeros((*shape, *envs.single_observation_space.shape))
    actions, valid = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    log_probs, values, rewards, dones = (torch.zeros(shape) for _ in range(4))
    tasks = np.zeros(shape, dtype=np.int64)

    episode_returns: list[float] = []
    observation, infos = envs.reset(seed=args.seed)
    done = np.zeros(args.num_envs, dtype=bool)
    for iteration in range(1, args.total_timesteps // (args.num_steps * args.num_envs) + 1):
        for step in range(args.num_steps):
            # In NEXT_STEP mode the step after an episode's end only resets: nothing is to be learnt from it.
            valid[step] = torch.as_tensor(~done if args.autoreset == "next_step" else np.ones_like(done))
            observations[step] = torch.as_tensor(observation)
            tasks[step] = infos["task"]
            with torch.no_grad():
                policy = agent.policy(observations[step])
                values[step] = agent.value(observations[step])
                actions[step] = policy.sample()
                log_probs[step] = policy.log_prob(actions[step])
            observation, reward, terminated, truncated, infos = envs.step(actions[step].numpy())
            done = terminated | truncated
            rewards[step], dones[step] = torch.as_tensor(reward), torch.as_tensor(done)
            finished = infos.get("final_info", infos)
            if "episode" in finished:
                for episode_return in finished["episode"]["r"][finished["_episode"]]:
                    episode_returns.append(float(episode_return))
        with torch.no_grad():
            next_value = agent.value(torch.as_tensor(observation))
        rollout = {"observations": observations, "actions": actions, "log_probs": log_probs, "valid": valid}
        rollout |= {"values": values, "rewards": rewards, "dones": dones}
        learn(agent, optimizer, rollout, next_value, args)

        global_step = iteration * args.num_steps * args.num_envs
        writer.add_scalar("charts/episodic_return", np.mean(episode_returns[-100:]), global_step)
        curriculum.custom_update(tasks=tasks, rewards=rewards, values=values, next_value=next_value, dones=dones)
        curriculum.log_metrics(writer, global_step)
        print(f"step {global_step}: mean return of the last 100 episodes {np.mean(episode_returns[-100:]):.3f}")
    envs.close()
    writer.close()
    return episode_returns


if __name__ == "__main__":
    main(parse())

"""Stable Baselines 3's PPO on environments in processes of their own, whose tasks prioritized level replay chooses."""

from __future__ import annotations

import argparse

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor

from examples.cartpole_lengths import LENGTHS, PoleLength
from examples.stable_baselines3_callback import CurriculumCallback
from syllabus_client import DiscreteTaskSpace, GymnasiumSyncWrapper, make_multiprocessing_curriculum
from syllabus_service.curricula import create


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--total-timesteps", type=int, default=50_000)
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--num-steps", type=int, default=256, help="of each environment in a rollout")
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--start-method", choices=("fork", "forkserver", "spawn", "none"), default="forkserver")
    parser.add_argument("--log-dir", default="runs/stable_baselines3_ppo", help="TensorBoard's, and VecMonitor's file")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    """Train."""
    torch.set_num_threads(1)  # networks this small are slower on several
    lengths = create("prioritized_level_replay", DiscreteTaskSpace(LENGTHS), {"gamma": args.gamma}, seed=args.seed)
    curriculum, task_queue, _ = make_multiprocessing_curriculum(lengths)

    def make_env() -> gym.Env:
        env = gym.make("CartPole-v1")
        env = GymnasiumSyncWrapper(PoleLength(env), task_queue)
        return env

    if args.start_method == "none":
        vec_env = DummyVecEnv([make_env] * args.num_envs)
    else:
        vec_env = SubprocVecEnv([make_env] * args.num_envs, start_method=args.start_method)
    vec_env = VecMonitor(vec_env, args.log_dir)
    options = {
        "n_steps": args.num_steps,
        "gamma": args.gamma,
        "tensorboard_log": args.log_dir,
        "seed": args.seed,
        "device": "cpu",
    }
    model = PPO("MlpPolicy", vec_env, verbose=1, **options)
    model.learn(args.total_timesteps, callback=CurriculumCallback(curriculum))
    model.logger.close()
    vec_env.close()
    curriculum.close()


if __name__ == "__main__":
    main(parse())

"""RLlib's PPO on a family of CartPoles, under a curriculum that runs in an actor of the same Ray cluster.

    .ci/with-loopback-only .venv-ray/bin/python -m examples.rllib_ppo

(In a network namespace of its own, because Ray listens on every interface.)
"""

from __future__ import annotations

import argparse

from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from examples.cartpole_family import make_cartpole, task_space
from syllabus_client import RaySyncWrapper, make_ray_curriculum
from syllabus_service.curricula import create


def make_config() -> PPOConfig:
    """The algorithm's settings."""
    register_env("CartPoleFamily", lambda config: RaySyncWrapper(make_cartpole()))
    return (
        PPOConfig()
        .environment("CartPoleFamily")
        .env_runners(num_env_runners=2)
        .training(lr=0.001, train_batch_size_per_learner=1000, num_epochs=6)
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--iterations", type=int, default=5)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    """Train, and print how it goes."""
    curriculum = make_ray_curriculum(create("online_learning_progress", task_space(), seed=1))
    algo = make_config().build_algo()
    for _ in range(args.iterations):
        results = algo.train()
        print(results["training_iteration"], results["env_runners"]["episode_return_mean"])
        curriculum.log_metrics(results, step=results["training_iteration"])
    algo.stop()
    print(results["env_runners"]["num_episodes_lifetime"], "episodes;", curriculum.summary().num_episodes, "counted")
    curriculum.close()


if __name__ == "__main__":
    main(parse())

"""RLlib with prioritized level replay: env runners score the levels, and checkpoints hold the curriculum, too.

    .ci/with-loopback-only .venv-ray/bin/python -m examples.rllib_level_replay

Trains, saves, trains on, and goes back: the policy and the curriculum return to where they were together.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import numpy as np
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.registry import register_env

from examples.cartpole_family import make_cartpole, task_space
from syllabus_client import CurriculumClient, RaySyncWrapper, make_ray_curriculum
from syllabus_client.ray import RayCurriculumHandle
from syllabus_service.curricula import create

PLR = {"strategy": "policy_entropy"}  #: What an env runner has of the policy: logits, and no values.


def find_curriculum() -> CurriculumClient:
    """A client of the cluster's curriculum, in any of its processes."""
    target, name, token = RayCurriculumHandle().resolve()
    return CurriculumClient(target, curriculum=name, token=token)


class LevelReplay(RLlibCallback):
    """Tells the curriculum what only the policy knows: here, how sure it was of its actions.

    An env runner's environments take turns with the parts of their episodes in what it has sampled; each of them is an
    environment of its own to the curriculum, which goes on with an episode where its next part comes. Those that only
    evaluate have no task, and tell nothing.
    """

    def __init__(self) -> None:
        self._curriculum: CurriculumClient | None = None
        self._places: dict[str, int] = {}  # of the episodes under way, among the env runner's environments

    def on_episode_created(self, *, episode: Any, env_index: int, **kwargs: Any) -> None:
        """In an env runner, before an episode's reset."""
        self._places[episode.id_] = env_index

    def on_sample_end(self, *, env_runner: Any, samples: list[Any], **kwargs: Any) -> None:
        """In an env runner, with the episodes, whole and in part, that it has just sampled."""
        if env_runner.config.in_evaluation:
            return
        if self._curriculum is None:
            self._curriculum = find_curriculum()
        parts: dict[int, list[Any]] = {}
        for episode in samples:
            if len(episode):
                parts.setdefault(self._places[episode.id_], []).append(episode)
        for place, episodes in parts.items():
            self._tell(episodes, env_runner.worker_index * env_runner.num_envs + place)
        under_way = {episode.id_ for episode in samples if not episode.is_done}
        self._places = {each: place for each, place in self._places.items() if each in under_way}

    def _tell(self, episodes: list[Any], env_id: int) -> None:
        """Tell parts of an environment's episodes, one after the other."""
        lengths = [len(episode) for episode in episodes]
        ends = np.zeros(sum(lengths), dtype=bool)
        ends[np.cumsum(lengths) - 1] = [episode.is_done for episode in episodes]
        self._curriculum.custom_update(  # a rollout of one environment: each array is (steps, 1, ...)
            tasks=np.repeat([episode.get_infos(-1)["task"] for episode in episodes], lengths, axis=0)[:, np.newaxis],
            dones=ends[:, np.newaxis],
            logits=np.concatenate([episode.get_extra_model_outputs("action_dist_inputs") for episode in episodes])[
                :, np.newaxis
            ],
            env_ids=[env_id],
        )

    def on_train_result(self, *, result: dict[str, Any], **kwargs: Any) -> None:
        """In the driver, after an iteration: the curriculum's metrics, with RLlib's own."""
        if self._curriculum is None:
            self._curriculum = find_curriculum()
        self._curriculum.log_metrics(result, step=result["training_iteration"])


class PPOWithCurriculum(PPO):
    """PPO whose checkpoints hold the curriculum, too."""

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_state(*args, **kwargs), "curriculum": find_curriculum().save_checkpoint()}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if "curriculum" in state:  # a part of the algorithm may be restored alone
            find_curriculum().restore_checkpoint(state["curriculum"])


def make_config() -> PPOConfig:
    """The algorithm's settings."""
    register_env(
        "CartPoleFamily",  # that of an evaluation has no curriculum: its episodes would be counted
        lambda config: make_cartpole() if config.get("evaluates") else RaySyncWrapper(make_cartpole()),
    )
    return (
        PPOConfig(algo_class=PPOWithCurriculum)
        .environment("CartPoleFamily")
        .env_runners(num_env_runners=2)
        .training(lr=0.001, train_batch_size_per_learner=1000, num_epochs=6)
        .callbacks(LevelReplay)
        .evaluation(evaluation_config={"env_config": {"evaluates": True}})
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--iterations", type=int, default=4, help="half of them before the checkpoint")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    """Train, save, train on, restore."""
    curriculum = make_ray_curriculum(create("prioritized_level_replay", task_space(), PLR, seed=1))
    algo = make_config().build_algo()
    with tempfile.TemporaryDirectory() as directory:
        for iteration in range(1, args.iterations + 1):
            results = algo.train()
            print(iteration, results["env_runners"]["episode_return_mean"], curriculum.summary().num_episodes)
            if iteration == max(1, args.iterations // 2):
                algo.save_to_path(directory)
        algo.restore_from_path(directory)
        print("back at", algo.training_iteration, curriculum.summary().num_episodes)
    algo.stop()
    curriculum.close()


if __name__ == "__main__":
    main(parse())

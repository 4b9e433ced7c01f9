"""RLlib trains under a curriculum: its episodes are the service's, through a kill of the service and a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.cartpole_family import make_cartpole, task_space
from syllabus_client import CurriculumClient, GymnasiumSyncWrapper, MultiDiscreteTaskSpace, make_ray_curriculum
from syllabus_service.curricula import create
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

EASY = MultiDiscreteTaskSpace([(0.5, 1.0, 2.0), (10.0,)])


def log_return(*, episode: Any, prev_episode_chunks: list[Any], metrics_logger: Any, **_: Any) -> None:
    """RLlib's callback at the end of an episode: the returns of all episodes, of which RLlib has only means."""
    value = episode.get_return() + sum(chunk.get_return() for chunk in prev_episode_chunks)
    metrics_logger.log_value("return_sum", value, reduce="lifetime_sum")


def quick(config: Any) -> Any:
    """Iterations of a few episodes, that learn little."""
    return config.training(train_batch_size_per_learner=400, num_epochs=2)


@contextmanager
def built(config: Any) -> Iterator[Any]:
    """An algorithm that sums its returns."""
    algo = config.callbacks(on_episode_end=log_return).debugging(seed=1).build_algo()
    try:
        yield algo
    finally:
        algo.stop()


def check_ledger(results: dict[str, Any], curriculum: CurriculumClient) -> None:
    """The service counted each of RLlib's episodes once, with its return."""
    mine, theirs = curriculum.statistics().total, results["env_runners"]
    assert mine.num_episodes[0] == theirs["num_episodes_lifetime"] > 0
    assert mine.num_episodes[0] * mine.return_mean[0] == pytest.approx(theirs["return_sum"])


def wait_until_counted(results: dict[str, Any], curriculum: CurriculumClient) -> None:
    """Reports are on their way while an iteration ends."""
    deadline = time.monotonic() + 30.0
    while curriculum.summary().num_episodes < results["env_runners"]["num_episodes_lifetime"]:
        assert time.monotonic() < deadline, "episodes are missing"
        time.sleep(0.05)


def test_ppo_learns_the_tasks_of_the_curriculum_and_all_its_episodes_are_counted_once() -> None:
    from examples.rllib_ppo import make_config

    sums, counts = [0.0], [0.0]
    with closing(make_ray_curriculum(create("online_learning_progress", EASY, seed=1))) as curriculum:
        with built(make_config()) as algo:
            for _ in range(8):
                results = algo.train()
                sums.append(results["env_runners"]["return_sum"])
                counts.append(results["env_runners"]["num_episodes_lifetime"])
        check_ledger(results, curriculum)
        per_task = curriculum.statistics().tasks
    assert set(per_task.tasks) == {0, 1, 2}
    first, last = ((sums[end] - sums[start]) / (counts[end] - counts[start]) for start, end in ((0, 2), (6, 8)))
    assert last > 1.5 * first


def test_a_checkpoint_of_the_algorithm_brings_the_curriculum_back_in_another_service(tmp_path: Path) -> None:
    from examples.rllib_level_replay import PLR, make_config

    config = quick(make_config()).env_runners(num_env_runners=1)
    with closing(make_ray_curriculum(create("prioritized_level_replay", task_space(), PLR, seed=1))) as curriculum:
        with built(config) as algo:
            for _ in range(2):
                results = algo.train()
            wait_until_counted(results, curriculum)
            algo.save_to_path(tmp_path)
        check_ledger(results, curriculum)
        episodes, distribution = curriculum.summary().num_episodes, curriculum.distribution()
        played = curriculum.statistics().tasks.tasks
    # Few levels have been seen, so all draws are of others: those that were played are those that were scored.
    assert np.flatnonzero(distribution == 0.0).tolist() == sorted(played)

    with closing(make_ray_curriculum(create("prioritized_level_replay", task_space(), PLR, seed=2))) as curriculum:
        with built(config) as algo:
            algo.restore_from_path(tmp_path)
            assert algo.training_iteration == 2
            assert curriculum.summary().num_episodes == episodes
            assert curriculum.distribution().tolist() == distribution.tolist()
            results = algo.train()
        assert curriculum.summary().num_episodes > episodes
        check_ledger(results, curriculum)


def test_training_goes_on_through_a_kill_of_the_service_and_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    from ray.tune.registry import register_env

    from examples.rllib_ppo import make_config

    service = ServiceProcess(tmp_path, data_dir=tmp_path / "data", listen="127.0.0.1:0")
    service.start()
    again = ServiceProcess(tmp_path, data_dir=tmp_path / "data", listen=service.target)
    target = service.target
    with closing(again), closing(service), closing(CurriculumClient(target, curriculum="poles")) as curriculum:
        curriculum.create("online_learning_progress", EASY, seed=1)
        register_env("OnService", lambda _: GymnasiumSyncWrapper(make_cartpole(), target, curriculum="poles"))
        with built(quick(make_config()).environment("OnService")) as algo:
            before = algo.train()["env_runners"]["num_episodes_lifetime"]
            killing = threading.Timer(0.5, lambda: (service.kill(), again.start()))
            killing.start()  # in the middle of the next iteration
            for _ in range(2):
                results = algo.train()
            killing.join()
            results = algo.train()
        assert results["env_runners"]["num_episodes_lifetime"] > before
        check_ledger(results, curriculum)

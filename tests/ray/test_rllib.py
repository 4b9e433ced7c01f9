"""RLlib trains under a curriculum: its episodes are the service's, through a kill of the service and a restart."""

from __future__ import annotations

import importlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from examples.cartpole_family import make_cartpole, task_space
from syllabus_client import (
    CurriculumClient,
    GymnasiumSyncWrapper,
    MultiDiscreteTaskSpace,
    SessionSettings,
    make_ray_curriculum,
)
from syllabus_service.curricula import create
from tests.libraries.ledger import check_returns, check_totals
from tests.service_process import ServiceProcess

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

EASY = MultiDiscreteTaskSpace([(0.5, 1.0, 2.0), (10.0,)])


def log_return(*, episode: Any, prev_episode_chunks: list[Any], metrics_logger: Any, **_: Any) -> None:
    """RLlib's callback at the end of an episode: the returns of all episodes, of which RLlib has only means."""
    value = episode.get_return() + sum(chunk.get_return() for chunk in prev_episode_chunks)
    metrics_logger.log_value("return_sum", value, reduce="lifetime_sum")
    metrics_logger.log_value("return_square_sum", value**2, reduce="lifetime_sum")


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


def check_ledger(results: dict[str, Any], curriculum: CurriculumClient, check: Any = check_totals) -> None:
    """The service counted each of RLlib's episodes once, with its return, and has nothing open or refused.

    Called once the algorithm has stopped: its env runners give back what they hold, as they close their environments.
    """
    deadline = time.monotonic() + 30.0
    while curriculum.summary().num_open_assignments and time.monotonic() < deadline:
        time.sleep(0.05)
    theirs = results["env_runners"]
    count, total = int(theirs["num_episodes_lifetime"]), theirs["return_sum"]
    check(curriculum, count, total, (theirs["return_square_sum"] / count - (total / count) ** 2) ** 0.5)


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
            episodes, distribution = curriculum.summary().num_episodes, curriculum.distribution()
        check_ledger(results, curriculum)
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
        check_ledger(results, curriculum, check_returns)


@pytest.mark.parametrize("example", ["rllib_ppo", "rllib_level_replay"])
def test_the_example_runs_as_a_program_does(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"examples.{example}")
    module.main(module.parse(["--iterations", "2"]))
    said = capsys.readouterr().out
    if example == "rllib_ppo":
        theirs, counted = re.findall(r"([\d.]+) episodes; (\d+) counted", said)[0]
        assert float(theirs) == int(counted) > 0
    else:
        of_first, back = re.findall(r"^1 \S+ (\d+)$|^back at 1 (\d+)$", said, re.MULTILINE)
        assert 0 < int(of_first[0]) <= int(back[1])


def episode_of(task: int, logits: float, steps: int, *, over: bool, of: Any = None) -> Any:
    """A part of one of RLlib's episodes, the next one of ``of`` where that is given."""
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode

    episode = SingleAgentEpisode() if of is None else of.cut()
    if of is None:
        episode.add_env_reset(observation=np.zeros(4), infos={"task": task})
    for step in range(steps):
        episode.add_env_step(
            observation=np.zeros(4),
            action=0,
            reward=1.0,
            infos={"task": task},
            terminated=over and step == steps - 1,
            extra_model_outputs={"action_dist_inputs": np.array([logits, 0.0])},
        )
    return episode


def test_parts_of_episodes_of_several_environments_are_told_as_those_of_each() -> None:
    """Two environments of an env runner, whose unfinished episodes lie next to each other in what it has sampled."""
    from examples.rllib_level_replay import LevelReplay

    calls: list[dict[str, Any]] = []
    callback = LevelReplay()
    callback._curriculum = SimpleNamespace(custom_update=lambda **columns: calls.append(columns))  # type: ignore[assignment]
    runner = SimpleNamespace(config=SimpleNamespace(in_evaluation=False), worker_index=2, num_envs=2)
    short, long, next_one = (
        episode_of(5, 1.0, 2, over=True),
        episode_of(6, 2.0, 4, over=False),
        episode_of(7, 3.0, 1, over=False),
    )
    for episode, place in ((short, 0), (long, 1), (next_one, 0)):
        callback.on_episode_created(episode=episode, env_index=place)
    rest = episode_of(6, 2.0, 3, over=True, of=long)
    callback.on_sample_end(env_runner=runner, samples=[each.to_numpy() for each in (short, long, next_one)])
    callback.on_sample_end(env_runner=runner, samples=[rest.to_numpy()])
    told = [(call["env_ids"], call["tasks"][:, 0].tolist(), call["dones"][:, 0].tolist()) for call in calls]
    assert told == [
        ([4], [5, 5, 7], [False, True, False]),
        ([5], [6, 6, 6, 6], [False] * 4),
        ([5], [6, 6, 6], [False, False, True]),
    ]
    assert calls[0]["logits"].shape == (3, 1, 2)
    runner.config.in_evaluation = True
    callback.on_sample_end(env_runner=runner, samples=[episode_of(0, 1.0, 2, over=True).to_numpy()])
    assert len(calls) == 3


def test_several_environments_of_a_runner_and_an_evaluation_leave_the_ledger_and_the_scores_right() -> None:
    from examples.rllib_level_replay import PLR, make_config

    config = quick(make_config()).env_runners(num_env_runners=1, num_envs_per_env_runner=3)
    config = config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=5)
    with closing(make_ray_curriculum(create("prioritized_level_replay", task_space(), PLR, seed=1))) as curriculum:
        with built(config) as algo:
            for _ in range(2):
                results = algo.train()
        assert results["evaluation"]["env_runners"]["num_episodes_lifetime"] >= 5
        check_ledger(results, curriculum)
        # Few levels have been seen, so all draws are of others: those that were played are those that were scored.
        scored = np.flatnonzero(curriculum.distribution() == 0.0)
        assert scored.tolist() == sorted(curriculum.statistics().tasks.tasks)


def test_training_goes_on_through_a_kill_of_the_service_and_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    """Under level replay, whose callback pushes rollouts. An env runner kills the service at a step of its own, with
    episodes behind it that were not acknowledged; they are sent again to the service that is started then."""
    from ray.rllib.algorithms.ppo import PPO
    from ray.tune.registry import register_env

    from examples.rllib_level_replay import PLR, LevelReplay, make_config

    service = ServiceProcess(tmp_path, data_dir=tmp_path / "data", listen="127.0.0.1:0")
    service.start()
    again = ServiceProcess(tmp_path, data_dir=tmp_path / "data", listen=service.target)
    target, pid = service.target, service.pid
    settings = SessionSettings(timeout=100.0)

    class KillsTheService(LevelReplay):
        """Its first env runner does, when it has taken 300 steps."""

        def __init__(self) -> None:
            super().__init__()
            self._curriculum = CurriculumClient(target, curriculum="poles", timeout=100.0)
            self._steps = 0

        def on_episode_step(self, *, env_runner: Any, **kwargs: Any) -> None:
            self._steps += 1
            if self._steps == 300 and env_runner.worker_index == 1:
                os.kill(pid, signal.SIGKILL)

        def on_episode_end(self, **kwargs: Any) -> None:
            log_return(**kwargs)

    def start_again() -> None:
        service.wait(100.0)
        again.start()

    with closing(again), closing(service), closing(CurriculumClient(target, curriculum="poles")) as curriculum:
        curriculum.create("prioritized_level_replay", EASY, PLR, seed=1)
        register_env(
            "OnService", lambda _: GymnasiumSyncWrapper(make_cartpole(), target, curriculum="poles", settings=settings)
        )
        config = quick(make_config()).environment("OnService").callbacks(KillsTheService)
        config.algo_class = PPO
        starting = threading.Thread(target=start_again)
        starting.start()
        algo = config.debugging(seed=1).build_algo()
        try:
            before = algo.train()["env_runners"]["num_episodes_lifetime"]
            for _ in range(3):
                results = algo.train()
            starting.join(100.0)
        finally:
            algo.stop()
        assert not starting.is_alive()
        # Both env runners' sessions, and no new ones, went on with the second process, at the place they had reached.
        reopened = [event["applied_sequence"] for event in again.events("session_opened")]
        assert sum(sequence > 0 for sequence in reopened) >= 2
        assert results["env_runners"]["num_episodes_lifetime"] > before
        check_ledger(results, curriculum)
        assert curriculum.distribution().max() > 1 / 3  # the rollouts have reached level replay

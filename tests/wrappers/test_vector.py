"""VectorSyncWrapper on a real service, in every autoreset mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from syllabus_client.settings import SessionSettings
from syllabus_client.wrappers import (
    MissingVectorTasksError,
    NextTaskWrapper,
    ObservationTooLargeError,
    VectorSyncWrapper,
)
from tests.wrappers.conftest import Recorded
from tests.wrappers.environments import LedgerEnv, Run, VectorLedgerEnv

Record = Callable[..., Recorded]
FRESH = SessionSettings(prefetch=0)  # every task that is drawn is given to an environment
MODES = list(AutoresetMode)


class Bare(VectorEnv):
    """Knows nothing of tasks."""

    num_envs = 2


def sync_env(num_envs: int, mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: NextTaskWrapper(LedgerEnv())] * num_envs, autoreset_mode=mode)


def async_env(num_envs: int, mode: AutoresetMode) -> AsyncVectorEnv:
    return AsyncVectorEnv([lambda: NextTaskWrapper(LedgerEnv())] * num_envs, autoreset_mode=mode)


MAKERS: dict[str, Callable[[int, AutoresetMode], VectorEnv]] = {"by hand": VectorLedgerEnv, "SyncVectorEnv": sync_env}


def drive(env: VectorSyncWrapper, mode: AutoresetMode, num_steps: int) -> list[dict[str, Any]]:
    """Reset, then step; in DISABLED mode reset what has ended after each step."""
    _, infos = env.reset()
    trace = [infos]
    for _ in range(num_steps):
        _, _, terminations, truncations, infos = env.step(np.zeros(env.num_envs, dtype=np.int64))
        trace.append(infos)
        over = terminations | truncations
        if mode == AutoresetMode.DISABLED and over.any():
            _, infos = env.reset(options={"reset_mask": over})
            trace.append(infos)
    return trace


def ledger(env: VectorSyncWrapper) -> list[Run]:
    inner: Any = env.unwrapped
    return inner.ledger if hasattr(inner, "ledger") else [run for each in inner.get_attr("ledger") for run in each]


def reported(columns: dict[str, list]) -> list[Run]:
    return [Run(*each) for each in zip(columns["task"], columns["episode_return"], columns["length"], strict=True)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("maker", MAKERS)
def test_every_episode_is_reported_once_and_every_task_is_accounted_for(
    record: Record, maker: str, mode: AutoresetMode
) -> None:
    service = record(num_tasks=1000)
    env = VectorSyncWrapper(MAKERS[maker](5, mode), service.queue, settings=FRESH)
    drive(env, mode, 30)
    ran = ledger(env)
    env.close()
    columns = service.columns()
    assert len(ran) > 30
    assert sorted(reported(columns)) == sorted(ran)
    assert max(Counter(run.task for run in ran).values()) == 1
    # What was drawn was run to its end, or given back when the environment was closed.
    assert sorted(columns["task"] + columns["abandoned"]) == list(range(columns["num_drawn"]))
    assert columns["progress"] == [1.0] * len(ran)


def test_an_async_vector_env_gets_its_tasks_ahead_of_its_resets(record: Record) -> None:
    service = record(num_tasks=1000, process=True)
    env = VectorSyncWrapper(async_env(2, AutoresetMode.SAME_STEP), service.queue, settings=FRESH)
    drive(env, AutoresetMode.SAME_STEP, 10)
    ran = ledger(env)
    env.close()
    assert len(ran) > 5
    assert sorted(reported(service.columns())) == sorted(ran)


@pytest.mark.parametrize("mode", MODES)
def test_infos_tell_the_task_of_the_episode_that_the_observation_belongs_to(
    record: Record, mode: AutoresetMode
) -> None:
    service = record(num_tasks=1000)
    inner = VectorLedgerEnv(3, mode)
    env = VectorSyncWrapper(inner, service.queue, settings=FRESH)
    _, infos = env.reset()
    for _ in range(8):
        assert infos["task"].tolist() == inner.tasks.tolist()
        assert infos["task_purpose"].tolist() == ["train"] * 3
        _, _, terminations, _, infos = env.step(np.zeros(3, dtype=np.int64))
        if mode == AutoresetMode.DISABLED and terminations.any():
            _, infos = env.reset(options={"reset_mask": terminations})
    env.close()


def test_infos_that_the_caller_keeps_are_not_overwritten(record: Record) -> None:
    env = VectorSyncWrapper(VectorLedgerEnv(3, AutoresetMode.SAME_STEP), record(num_tasks=1000).queue, settings=FRESH)
    _, first = env.reset()
    kept = first["task"].tolist()
    for _ in range(5):
        env.step(np.zeros(3, dtype=np.int64))
    assert first["task"].tolist() == kept
    env.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_reset_in_the_middle_gives_back_the_episodes_that_it_cuts_off(
    record: Record, maker: str, mode: AutoresetMode
) -> None:
    service = record(num_tasks=1000)
    env = VectorSyncWrapper(MAKERS[maker](3, mode), service.queue, settings=FRESH)
    _, infos = env.reset()
    running = infos["task"].tolist()  # the environment of task t needs t % 3 + 1 steps
    env.step(np.zeros(3, dtype=np.int64))  # ends the one of a one-step task, and no other
    mask = np.array([task % 3 == 1 for task in running])
    _, infos = env.reset(options={"reset_mask": mask})
    columns = service.columns()
    assert columns["task"] == [task for task in running if task % 3 == 0]
    assert columns["abandoned"] == [task for task in running if task % 3 == 1]  # at once
    drive(env, mode, 6)
    ran = ledger(env)
    env.close()
    columns = service.columns()
    assert sorted(reported(columns)) == sorted(ran)
    assert sorted(columns["task"] + columns["abandoned"]) == list(range(columns["num_drawn"]))


def test_a_task_that_the_environment_replaces_is_reported_as_what_ran(record: Record) -> None:
    service = record(num_tasks=1000)
    env = VectorSyncWrapper(VectorLedgerEnv(4, AutoresetMode.NEXT_STEP, rejects=2), service.queue, settings=FRESH)
    drive(env, AutoresetMode.NEXT_STEP, 8)
    ran = ledger(env)
    env.close()
    assert sorted(reported(service.columns())) == sorted(ran)
    assert 2 not in [run.task for run in ran]
    assert [run.task for run in ran].count(0) == 2


@pytest.mark.parametrize("mode", MODES)
def test_metrics_travel_with_the_episodes_that_have_them(record: Record, mode: AutoresetMode) -> None:
    service = record(num_tasks=1000)
    env = VectorSyncWrapper(VectorLedgerEnv(3, mode), service.queue, settings=FRESH)
    drive(env, mode, 8)
    env.close()
    columns = service.columns()
    assert columns["metric.score"] == [10.0 * task for task in columns["task"]]


@pytest.mark.parametrize("mode", MODES)
def test_steps_travel_with_the_task_and_the_observation_that_they_led_to(record: Record, mode: AutoresetMode) -> None:
    service = record(num_tasks=1000, steps=True)
    env = VectorSyncWrapper(VectorLedgerEnv(3, mode), service.queue, settings=FRESH, env_id=40)
    drive(env, mode, 8)
    env.close()
    columns = service.columns()
    episodes = {task: length for task, length in zip(columns["task"], columns["length"], strict=True)}
    for task, length in episodes.items():
        rows = [row for row, each in enumerate(columns["step_task"]) if each == task]
        assert [columns["step_observation"][row] for row in rows] == [[1.0 + step] for step in range(length)]
        assert [columns["step_terminated"][row] for row in rows] == [False] * (length - 1) + [True]
        assert [columns["step_reward"][row] for row in rows] == [task + 0.5] * length
    assert set(columns["step_env_id"]) == {40, 41, 42}


class VectorCamera(VectorLedgerEnv):
    """Observes an image of so many kilobytes in each environment."""

    kilobytes = 400  # more than 1 MiB in three of them

    def _observe(self) -> Any:
        images = np.zeros((self.num_envs, self.kilobytes, 1024), np.uint8)
        images[:, 0, 0] = self.steps
        return {"image": images}


def test_the_limit_of_an_observation_is_that_of_each_environment(record: Record) -> None:
    service = record(num_tasks=1000, steps=True)
    env = VectorSyncWrapper(VectorCamera(3, AutoresetMode.NEXT_STEP), service.queue, settings=FRESH)
    env.reset()
    env.step(np.zeros(3, dtype=np.int64))
    env.close()
    told = service.client.custom_update(tell=True)
    assert told["step_observation.image"].shape == (3, 400, 1024)
    assert told["step_observation.image"][:, 0, 0].tolist() == [1, 1, 1]


def test_an_observation_of_one_environment_that_is_too_large_is_an_error(record: Record) -> None:
    service = record(num_tasks=1000, steps=True)
    camera = VectorCamera(2, AutoresetMode.NEXT_STEP)
    camera.kilobytes = 1025
    env = VectorSyncWrapper(camera, service.queue, settings=FRESH)
    env.reset()
    with pytest.raises(ObservationTooLargeError, match="has 1049600 bytes where at most 1048576 travel"):
        env.step(np.zeros(2, dtype=np.int64))
    env.close()


def test_environments_count_on_from_the_first_id(record: Record) -> None:
    service = record(num_tasks=1000)
    env = VectorSyncWrapper(VectorLedgerEnv(3, AutoresetMode.NEXT_STEP), service.queue, env_id=7)
    assert env.env_ids.tolist() == [7, 8, 9]
    drive(env, AutoresetMode.NEXT_STEP, 9)
    env.close()
    assert set(service.columns()["env_id"]) == {7, 8, 9}


def test_a_thousand_environments_in_one_process_are_counted_exactly(record: Record) -> None:
    service = record(num_tasks=100_000)
    env = VectorSyncWrapper(VectorLedgerEnv(1024, AutoresetMode.NEXT_STEP), service.queue)
    drive(env, AutoresetMode.NEXT_STEP, 40)
    ran = ledger(env)
    env.close()
    assert len(ran) > 10_000
    assert sorted(reported(service.columns())) == sorted(ran)


def test_an_environment_that_cannot_be_told_its_tasks_is_refused_with_what_to_do() -> None:
    with pytest.raises(MissingVectorTasksError, match="set_tasks"):
        VectorSyncWrapper(Bare())
    plain = SyncVectorEnv([LedgerEnv])
    with pytest.raises(MissingVectorTasksError, match="NextTaskWrapper"):
        VectorSyncWrapper(plain)
    plain.close()


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0]), np.array([True])])
def test_a_reset_mask_of_another_kind_or_shape_is_refused(mask: Any) -> None:
    env = VectorSyncWrapper(VectorLedgerEnv(2, AutoresetMode.DISABLED), "unix:/nowhere", curriculum="c")
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_what_vectorises_gymnasiums_own_wrappers_can_stand_between(record: Record) -> None:
    service = record(num_tasks=1000)
    inner = gym.wrappers.vector.RecordEpisodeStatistics(VectorLedgerEnv(2, AutoresetMode.NEXT_STEP))
    env = VectorSyncWrapper(inner, service.queue, settings=FRESH)
    drive(env, AutoresetMode.NEXT_STEP, 9)
    ran = ledger(env)
    env.close()
    assert sorted(reported(service.columns())) == sorted(ran)

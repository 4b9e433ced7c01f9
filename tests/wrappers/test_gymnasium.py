"""GymnasiumSyncWrapper on a real service."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import TaskNotInSpaceError
from syllabus_client.wrappers import GymnasiumSyncWrapper, ObservationTooLargeError
from tests.wrappers.conftest import Recorded
from tests.wrappers.environments import LedgerEnv, Run

Record = Callable[..., Recorded]
FRESH = SessionSettings(prefetch=0)  # every task that is drawn is used


def run_episodes(env: gym.Env, count: int) -> None:
    for _ in range(count):
        env.reset()
        while True:
            _, _, terminated, truncated, _ = env.step(0)
            if terminated or truncated:
                break


def reported(columns: dict[str, list]) -> list[Run]:
    return [
        Run(*each)
        for each in zip(
            columns.get("task", []), columns.get("episode_return", []), columns.get("length", []), strict=True
        )
    ]


@pytest.mark.parametrize("ends", ["terminated", "truncated", "both"])
def test_every_episode_is_reported_once_however_it_ends(record: Record, ends: str) -> None:
    service = record(num_tasks=7)
    env = GymnasiumSyncWrapper(LedgerEnv(ends), service.queue, settings=FRESH)
    run_episodes(env, 20)
    env.close()
    columns = service.columns()
    assert reported(columns) == env.unwrapped.ledger  # type: ignore[attr-defined]
    assert [run.task for run in reported(columns)] == [number % 7 for number in range(20)]
    assert columns["num_drawn"] == 20
    assert "abandoned" not in columns


def test_info_tells_the_encoded_task_its_purpose_and_its_assignment(record: Record) -> None:
    service = record(num_tasks=4, evaluate_every=2)
    env = GymnasiumSyncWrapper(LedgerEnv(), service.queue, settings=FRESH)
    _, first = env.reset()
    assert (first["task"], first["task_purpose"]) == (0, "train")
    assert first["assignment_id"] > 0
    assert np.isnan(first["task_probability"])
    assert env.step(0)[4]["task_purpose"] == "train"
    _, second = env.reset()
    assert (second["task"], second["task_purpose"]) == (1, "evaluate")
    info = env.step(0)[4]
    assert (info["task"], info["task_purpose"]) == (1, "evaluate")
    env.close()


def test_seed_and_options_reach_the_environment_beside_the_task(record: Record) -> None:
    env = GymnasiumSyncWrapper(LedgerEnv(), record().queue, settings=FRESH)
    env.reset(seed=5, options={"hard": True})
    assert env.unwrapped.calls == [{"seed": 5, "options": {"hard": True}, "new_task": 0}]  # type: ignore[attr-defined]
    env.close()


def test_an_episode_cut_off_by_reset_or_close_gives_its_assignment_back(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv("never"), service.queue, settings=FRESH)
    for _ in range(3):
        env.reset()
        env.step(0)
    assert service.columns()["abandoned"] == [0, 1]  # at once, and not only when the session ends
    env.close()
    env.close()
    columns = service.columns()
    assert columns["abandoned"] == [0, 1, 2]
    assert "task" not in columns


def test_steps_after_the_end_of_an_episode_count_for_nothing(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv(), service.queue, settings=FRESH)
    run_episodes(env, 1)
    for _ in range(3):
        env.step(0)
    run_episodes(env, 1)
    env.close()
    assert reported(service.columns()) == [Run(0, 0.5, 1), Run(1, 3.0, 2)]


def test_a_task_that_the_environment_replaces_is_reported_as_what_ran(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv(rejects=1), service.queue, settings=FRESH)
    env.reset()
    env.step(0)
    _, info = env.reset()
    assert info["task"] == 0
    env.step(0)
    env.close()
    assert reported(service.columns()) == [Run(0, 0.5, 1), Run(0, 0.5, 1)]


def test_an_environment_that_runs_what_the_curriculum_does_not_have_is_told_so(record: Record) -> None:
    class Elsewhere(LedgerEnv):
        def change_task(self, new_task: int) -> None:
            self.task = "elsewhere"

    service = record()
    env = GymnasiumSyncWrapper(Elsewhere(), service.queue, settings=FRESH)
    with pytest.raises(TaskNotInSpaceError, match=r"elsewhere.*task_attribute=None"):
        env.reset()
    env.close()
    assert service.columns()["abandoned"] == [0]


def test_an_attribute_that_means_something_else_can_be_left_alone(record: Record) -> None:
    class Named(LedgerEnv):
        def change_task(self, new_task: int) -> None:
            self.task = new_task
            self.goal = "walk"

    service = record()
    env = GymnasiumSyncWrapper(Named(), service.queue, settings=FRESH, task_attribute=None)
    run_episodes(env, 2)
    env.close()
    assert [run.task for run in reported(service.columns())] == [0, 1]


def test_a_reset_that_raises_gives_its_assignment_back(record: Record) -> None:
    class Broken(LedgerEnv):
        def reset(self, **kwargs: Any) -> Any:
            if kwargs["new_task"] == 0:
                raise RuntimeError("the simulator is away")
            return super().reset(**kwargs)

    service = record()
    env = GymnasiumSyncWrapper(Broken(), service.queue, settings=FRESH)
    with pytest.raises(RuntimeError, match="simulator"):
        env.reset()
    run_episodes(env, 1)
    env.close()
    columns = service.columns()
    assert columns["abandoned"] == [0]
    assert [run.task for run in reported(columns)] == [1]


def test_progress_is_the_last_task_completion_and_metrics_travel(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv(), service.queue, settings=FRESH)
    run_episodes(env, 3)
    env.close()
    columns = service.columns()
    assert columns["progress"] == [1.0, 1.0, 1.0]
    assert columns["metric.score"] == [0.0, 10.0, 20.0]


def test_an_episode_whose_return_is_not_finite_is_not_counted_and_training_goes_on(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv(nan_task=1), service.queue, settings=FRESH)
    with pytest.warns(RuntimeWarning, match="episode_return"):
        run_episodes(env, 4)
    env.close()
    columns = service.columns()
    assert [run.task for run in reported(columns)] == [0, 2, 3]
    assert columns["abandoned"] == [1]


def test_a_completed_task_is_replaced_in_the_middle_of_an_episode_and_reported_by_itself(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv("never"), service.queue, settings=FRESH, change_task_on_completion=True)
    env.reset()
    tasks = [env.step(0)[4]["task"] for _ in range(3)]
    # Completion is steps / (task % 3 + 1) of the one long episode: each step completes the next task.
    assert tasks == [0, 1, 2]
    env.close()
    columns = service.columns()
    assert reported(columns) == [Run(0, 0.5, 1), Run(1, 1.5, 1), Run(2, 2.5, 1)]
    assert columns["abandoned"] == [3]


def test_environments_have_ids_of_their_own_and_keep_those_that_they_are_given(record: Record) -> None:
    service = record()
    anonymous = [GymnasiumSyncWrapper(LedgerEnv(), service.queue) for _ in range(2)]
    given = GymnasiumSyncWrapper(LedgerEnv(), service.queue, env_id=17)
    twin = copy.deepcopy(anonymous[0])
    ids = [env.env_id for env in (*anonymous, given, twin)]
    assert len(set(ids)) == 4
    assert ids[2] == 17
    for env in (*anonymous, given, twin):
        run_episodes(env, 1)
        env.close()
    assert sorted(service.columns()["env_id"]) == sorted(ids)


def test_a_copy_made_in_the_middle_of_an_episode_holds_no_assignment(record: Record) -> None:
    service = record()
    env = GymnasiumSyncWrapper(LedgerEnv("never"), service.queue, settings=FRESH)
    env.reset()
    twin = pickle.loads(pickle.dumps(env))
    twin.step(0)
    twin.close()
    assert "abandoned" not in service.columns()
    env.close()
    assert service.columns()["abandoned"] == [0]


def test_a_forked_child_leaves_the_parents_episode_alone_and_runs_its_own(record: Record) -> None:
    service = record(process=True)
    env = GymnasiumSyncWrapper(LedgerEnv(), service.queue, settings=FRESH, env_id=None)
    env.reset()
    parent_id = env.env_id
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            env.step(0)  # the end of an episode whose assignment the parent holds
            run_episodes(env, 2)
            env.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    env.step(0)
    env.close()
    columns = service.columns()
    assert sorted(reported(columns)) == [Run(0, 0.5, 1), Run(1, 3.0, 2), Run(2, 7.5, 3)]
    assert columns["env_id"].count(parent_id) == 1
    assert len(set(columns["env_id"])) == 2
    assert "abandoned" not in columns


def test_steps_are_sent_in_order_to_a_curriculum_that_requires_them(record: Record) -> None:
    service = record(steps=True)
    env = GymnasiumSyncWrapper(LedgerEnv(), service.queue, settings=FRESH, env_id=5)
    run_episodes(env, 3)
    env.reset()
    env.close()
    columns = service.columns()
    assert columns["step_task"] == [0, 1, 1, 2, 2, 2]
    assert columns["step_reward"] == [0.5, 1.5, 1.5, 2.5, 2.5, 2.5]
    assert columns["step_terminated"] == [True, False, True, False, False, True]
    assert columns["step_observation"] == [1, 1, 2, 1, 2, 3]
    assert set(columns["step_env_id"]) == {5}
    assert len(reported(columns)) == 3


class Camera(LedgerEnv):
    """Observes an image too large to travel, and a state."""

    def step(self, action: int) -> Any:
        observation, *rest = super().step(action)
        nested = {"state": np.array([observation]), "eyes": ({"left": np.zeros((1024, 1025), np.uint8)}, "text")}
        return nested, *rest


def test_an_observation_too_large_to_travel_is_an_error_that_says_what_to_leave_out(record: Record) -> None:
    service = record(steps=True)
    env = GymnasiumSyncWrapper(Camera(), service.queue, remove_keys=["eyes.1"])
    env.reset()
    with pytest.raises(ObservationTooLargeError, match=r"remove_keys.*observation\.eyes\.0\.left"):
        env.step(0)
    env.close()


def test_removed_keys_of_an_observation_do_not_travel(record: Record) -> None:
    service = record(steps=True)
    env = GymnasiumSyncWrapper(Camera(), service.queue, remove_keys=["eyes"], settings=FRESH)
    run_episodes(env, 1)
    env.close()
    columns = service.columns()
    assert columns["step_observation.state"] == [[1]]
    assert not any("eyes" in name for name in columns)

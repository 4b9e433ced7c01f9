"""The task interface, without a service."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from syllabus_client.wrappers import (
    GymnasiumSyncWrapper,
    NextTaskWrapper,
    NoTaskInResetError,
    ReinitTaskWrapper,
    SubclassTaskWrapper,
    TaskWrapper,
)
from tests.wrappers.environments import LedgerEnv


class Heavy(CartPoleEnv):
    pass


class PassesOn(gym.Wrapper):
    def reset(self, **kwargs: Any) -> Any:
        return self.env.reset(**kwargs)


class Completing(TaskWrapper):
    def _task_completion(self, observation: Any, reward: Any, terminated: bool, truncated: bool, info: Any) -> float:
        return 0.25


def test_a_task_env_keeps_its_task_when_reset_gives_none() -> None:
    env = LedgerEnv()
    env.reset(new_task=4)
    env.reset()
    assert env.task == 4


def test_a_task_wrapper_hands_the_task_to_a_task_env_behind_gymnasiums_wrappers() -> None:
    inner = LedgerEnv()
    env = TaskWrapper(gym.wrappers.TimeLimit(inner, 10))
    _, info = env.reset(new_task=5, seed=3, options={"a": 1})
    assert (inner.task, env.task, info["task"]) == (5, 5, 5)
    assert inner.calls[-1] == {"seed": 3, "options": {"a": 1}, "new_task": None}


def test_a_task_wrapper_tells_what_the_environment_underneath_chose_to_run() -> None:
    env = TaskWrapper(gym.wrappers.TimeLimit(LedgerEnv(rejects=5), 10))
    _, info = env.reset(new_task=5)
    assert info["task"] == 0


def test_a_task_wrapper_tells_the_completion_that_it_defines() -> None:
    env = Completing(LedgerEnv())
    env.reset(new_task=2)
    assert env.step(0)[4]["task_completion"] == 0.25


def test_reinit_makes_one_environment_per_task_and_closes_the_one_before() -> None:
    closed = []

    class Closing(LedgerEnv):
        def close(self) -> None:
            closed.append(self.task)

    def make(task: int) -> LedgerEnv:
        env = Closing()
        env.task = task
        return env

    env = ReinitTaskWrapper(make(-1), make)
    for task in (1, 2):
        env.reset(new_task=task)
        assert env.unwrapped.task == task  # type: ignore[attr-defined]
    env.close()
    assert closed == [-1, 1, 2]


def test_reinit_seeds_new_environments_from_the_one_seed_that_it_was_given() -> None:
    def seeds() -> list[Any]:
        env = ReinitTaskWrapper(LedgerEnv(), lambda task: LedgerEnv())
        env.reset(seed=7, new_task=0)
        given = [env.unwrapped.calls[-1]["seed"]]  # type: ignore[attr-defined]
        for task in (1, 2):
            env.reset(new_task=task)
            given.append(env.unwrapped.calls[-1]["seed"])  # type: ignore[attr-defined]
        return given

    first = seeds()
    assert first[0] == 7
    assert len(set(first)) == 3
    assert seeds() == first


def test_subclass_tasks_are_places_or_names_and_anything_else_is_refused() -> None:
    env = SubclassTaskWrapper(CartPoleEnv(), [CartPoleEnv, Heavy], render_mode="rgb_array")
    env.reset(new_task=1)
    assert type(env.unwrapped) is Heavy
    assert env.unwrapped.render_mode == "rgb_array"
    env.reset(new_task="CartPoleEnv")
    assert (type(env.unwrapped), env.task) == (CartPoleEnv, 0)
    for wrong in (2, -1, "Light"):
        with pytest.raises(ValueError, match="new_task"):
            env.reset(new_task=wrong)


def test_an_environment_whose_reset_takes_no_task_is_refused_with_what_to_do() -> None:
    with pytest.raises(NoTaskInResetError, match=r"CartPole.*TaskEnv.*TaskWrapper"):
        GymnasiumSyncWrapper(gym.make("CartPole-v1"))


def test_a_task_env_hidden_by_a_wrapper_is_refused_with_the_wrapper_that_shows_it() -> None:
    hidden = gym.wrappers.TimeLimit(LedgerEnv(), 10)
    with pytest.raises(NoTaskInResetError, match=r"TimeLimit.*LedgerEnv underneath has change_task: put a TaskWrapper"):
        GymnasiumSyncWrapper(hidden)
    GymnasiumSyncWrapper(TaskWrapper(hidden))


def test_a_reset_that_passes_keywords_on_is_judged_by_the_environment_underneath() -> None:
    GymnasiumSyncWrapper(PassesOn(LedgerEnv()))
    with pytest.raises(NoTaskInResetError, match=r"CartPoleEnv\.reset"):
        GymnasiumSyncWrapper(PassesOn(CartPoleEnv()))


def test_change_on_completion_is_refused_where_the_environment_cannot_change_its_task() -> None:
    class Fixed(CartPoleEnv):
        def reset(self, *, seed: Any = None, options: Any = None, new_task: Any = None) -> Any:
            return super().reset(seed=seed, options=options)

    with pytest.raises(TypeError, match="change_task"):
        GymnasiumSyncWrapper(Fixed(), change_task_on_completion=True)


@pytest.mark.parametrize("env_id", [-1, 2**63])
def test_an_environment_id_out_of_range_is_refused(env_id: int) -> None:
    with pytest.raises(ValueError, match="env_id"):
        GymnasiumSyncWrapper(LedgerEnv(), env_id=env_id)


def test_a_wrapper_that_has_not_connected_survives_pickle() -> None:
    env = pickle.loads(pickle.dumps(GymnasiumSyncWrapper(LedgerEnv(), "unix:/nowhere", curriculum="c", env_id=3)))
    assert isinstance(env.unwrapped, LedgerEnv)


def test_the_spec_of_a_wrapper_makes_it_again_and_holds_no_token() -> None:
    gym.register("syllabus_tests/Ledger-v0", LedgerEnv, disable_env_checker=True, order_enforce=False)
    try:
        env = GymnasiumSyncWrapper(
            gym.make("syllabus_tests/Ledger-v0"), "unix:/nowhere", curriculum="c", token="secret", env_id=3
        )
        assert env.spec is not None
        assert "secret" not in repr(env.spec)
        again = gym.make(env.spec)
        assert isinstance(again, GymnasiumSyncWrapper)
        assert again.spec == env.spec
    finally:
        gym.registry.pop("syllabus_tests/Ledger-v0")


def test_next_task_is_taken_by_every_reset_until_another_is_set() -> None:
    env = NextTaskWrapper(LedgerEnv(rejects=3))
    env.next_task = 2
    env.reset()
    env.reset()
    assert [call["new_task"] for call in env.unwrapped.calls] == [2, 2]  # type: ignore[attr-defined]
    env.next_task = 3
    env.reset()
    assert env.running_task == 0

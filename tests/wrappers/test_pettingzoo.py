"""PettingZooSyncWrapper on a real service."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from pettingzoo import ParallelEnv

from syllabus_client.errors import NotSupportedError
from syllabus_client.settings import SessionSettings
from syllabus_client.wrappers import NoTaskInResetError, PettingZooSyncWrapper, PettingZooTaskWrapper
from tests.wrappers.conftest import Recorded

Record = Callable[..., Recorded]
FRESH = SessionSettings(prefetch=0)


class Relay(ParallelEnv[str, int, int]):
    """Three agents; agent i leaves after i + 1 steps and gets 10 ** i at each of them. "none" never takes part."""

    metadata = {"name": "relay"}  # noqa: RUF012 - as PettingZoo declares it
    possible_agents = ["runner_0", "runner_1", "runner_2", "none"]  # noqa: RUF012

    def __init__(self, *, truncates: bool = False, last: int = 3) -> None:
        self.truncates = truncates
        self.last = last
        self.task: Any = None

    def reset(self, seed: Any = None, options: Any = None, new_task: Any = None) -> Any:
        self.task = new_task
        self.agents = self.possible_agents[:3]
        self.steps = 0
        self.given = (seed, options)
        return {agent: 0 for agent in self.agents}, {agent: {} for agent in self.agents}

    def change_task(self, new_task: Any) -> None:
        self.task = new_task

    def step(self, actions: dict[str, int]) -> Any:
        self.steps += 1
        agents = list(self.agents)
        over = {agent: int(agent[-1]) < self.steps for agent in agents}
        infos: dict[str, dict[str, Any]] = {agent: {"task_completion": 0.0} for agent in agents}
        infos[agents[-1]] = {"task_completion": self.steps / self.last, "episode_metrics": {"score": self.steps}}
        self.agents = [agent for agent in agents if not over[agent]]
        rewards = {agent: 10.0 ** int(agent[-1]) for agent in agents}
        no = dict.fromkeys(agents, False)
        terminations, truncations = (no, over) if self.truncates else (over, no)
        return {agent: self.steps for agent in agents}, rewards, terminations, truncations, infos

    def observation_space(self, agent: str) -> gym.Space:
        return gym.spaces.Discrete(10)

    def action_space(self, agent: str) -> gym.Space:
        return gym.spaces.Discrete(2)


def run_episodes(env: PettingZooSyncWrapper, count: int) -> None:
    for _ in range(count):
        env.reset()
        while env.agents:
            env.step(dict.fromkeys(env.agents, 0))


@pytest.mark.parametrize("truncates", [False, True])
def test_each_agents_return_is_its_own_however_early_the_others_left(record: Record, truncates: bool) -> None:
    service = record()
    env = PettingZooSyncWrapper(Relay(truncates=truncates), service.queue, settings=FRESH)
    run_episodes(env, 2)
    env.close()
    columns = service.columns()
    assert columns["task"] == [0, 1]
    assert columns["agent.runner_0"] == [1.0, 1.0]
    assert columns["agent.runner_1"] == [20.0, 20.0]
    assert columns["agent.runner_2"] == [300.0, 300.0]
    assert "agent.none" not in columns
    assert columns["episode_return"] == [321.0, 321.0]
    assert columns["length"] == [3, 3]
    assert columns["progress"] == [1.0, 1.0]
    assert columns["metric.score"] == [3.0, 3.0]


def test_every_agents_info_tells_the_task(record: Record) -> None:
    env = PettingZooSyncWrapper(Relay(), record(evaluate_every=1).queue, settings=FRESH)
    _, infos = env.reset(seed=3, options={"a": 1})
    assert {agent: (info["task"], info["task_purpose"]) for agent, info in infos.items()} == dict.fromkeys(
        env.agents, (0, "evaluate")
    )
    assert env.unwrapped.given == (3, {"a": 1})  # type: ignore[attr-defined]
    assert env.step(dict.fromkeys(env.agents, 0))[4]["runner_2"]["task"] == 0
    env.close()


def test_an_episode_cut_off_gives_its_assignment_back(record: Record) -> None:
    service = record()
    env = PettingZooSyncWrapper(Relay(), service.queue, settings=FRESH)
    env.reset()
    env.step(dict.fromkeys(env.agents, 0))
    env.reset()
    assert service.columns()["abandoned"] == [0]  # at once
    env.close()
    columns = service.columns()
    assert columns["abandoned"] == [0, 1]
    assert "task" not in columns


def test_a_completed_task_is_replaced_in_the_middle_of_an_episode(record: Record) -> None:
    service = record()
    env = PettingZooSyncWrapper(Relay(last=2), service.queue, settings=FRESH, change_task_on_completion=True)
    run_episodes(env, 1)
    env.close()
    columns = service.columns()
    assert columns["task"] == [0, 1]
    assert columns["length"] == [2, 1]
    assert columns["num_drawn"] == 2
    assert columns["agent.runner_2"] == [200.0, 100.0]


class Taskless(Relay):
    """Its reset takes no task."""

    def reset(self, seed: Any = None, options: Any = None) -> Any:  # type: ignore[override]
        return super().reset(seed, options, new_task=self.task)


def test_an_environment_whose_reset_takes_no_task_is_refused_with_what_to_do() -> None:
    with pytest.raises(NoTaskInResetError, match=r"Taskless\.reset.*PettingZooTaskWrapper"):
        PettingZooSyncWrapper(Taskless())


def test_a_task_wrapper_gives_it_a_task(record: Record) -> None:
    service = record()
    inner = Taskless()
    env = PettingZooSyncWrapper(PettingZooTaskWrapper(inner), service.queue, settings=FRESH)
    run_episodes(env, 2)
    assert inner.task == 1
    env.close()
    assert service.columns()["task"] == [0, 1]


def test_it_survives_pickle_before_use() -> None:
    env = pickle.loads(pickle.dumps(PettingZooSyncWrapper(Relay(), "unix:/nowhere", curriculum="c")))
    assert isinstance(env.unwrapped, Relay)


def test_a_curriculum_that_requires_steps_is_refused_at_the_first_reset(record: Record) -> None:
    service = record(steps=True)
    env = PettingZooSyncWrapper(Relay(), service.queue, settings=FRESH)
    with pytest.raises(NotSupportedError, match="requires step updates, which PettingZooSyncWrapper does not send"):
        env.reset()
    env.close()
    assert "task" not in service.columns()

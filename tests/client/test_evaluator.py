"""The evaluator: every task as often as asked, whatever the environments; the success rates that a curriculum gets."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from syllabus_client.evaluator import Evaluator
from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, TaskNotInSpaceError
from syllabus_client.wrappers import TaskEnv
from syllabus_service.curricula import create


class Reach(TaskEnv):
    """Task i: say 1 for i + 1 steps in a row; the observation is what is left. Notes what it was reset to."""

    observation_space = gym.spaces.Box(0, 100, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    ran: list[tuple[Any, int | None]] = []  # noqa: RUF012 - shared on purpose: what all environments were reset to

    def reset(self, *, seed=None, options=None, new_task=None):
        super().reset(seed=seed)
        self.task = new_task
        self.left = new_task + 1
        self.ran.append((new_task, seed))
        return np.array([self.left], float), {}

    def step(self, action):
        self.left -= 1
        failed = action != 1
        done = self.left == 0 or failed
        return np.array([self.left], float), 1.0, done, False, {"task_completion": float(self.left == 0 and not failed)}


@pytest.fixture(autouse=True)
def _forget_runs():
    Reach.ran.clear()


def only_short(observations: np.ndarray) -> np.ndarray:
    """Gives up where more than 3 steps are left."""
    return (observations[:, 0] <= 3).astype(int)


@pytest.mark.parametrize("num_envs", [1, 3, 16])
def test_each_task_is_run_as_often_as_asked_whatever_the_number_of_environments(num_envs):
    evaluator = Evaluator(
        Reach, only_short, task_space=DiscreteTaskSpace(6), num_envs=num_envs, episodes_per_task=2, seed=5
    )
    found = evaluator.evaluate()
    assert sorted(Reach.ran) == [(task, seed) for task in range(6) for seed in (5, 6)]
    assert found.success_rates.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.length_means.tolist() == [1, 2, 3, 1, 1, 1]
    assert found.return_means.tolist() == [1, 2, 3, 1, 1, 1]


def test_chosen_tasks_are_evaluated_in_the_order_given():
    evaluator = Evaluator(Reach, only_short, task_space=DiscreteTaskSpace(6), num_envs=2)
    found = evaluator.evaluate([5, 0])
    assert found.tasks.tolist() == [5, 0]
    assert found.success_rates.tolist() == [0, 1]
    with pytest.raises(TaskNotInSpaceError):
        evaluator.evaluate([6])


def test_an_episode_ends_after_max_steps():
    evaluator = Evaluator(Reach, lambda x: np.ones(len(x), int), task_space=DiscreteTaskSpace(9), max_steps=4)
    found = evaluator.evaluate()
    assert found.length_means.tolist() == [1, 2, 3, 4, 4, 4, 4, 4, 4]
    assert found.success_rates.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


class Counting:
    """A policy that changes as it acts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.ones(len(observations), int)


def test_known_failure_25_a_copied_policy_leaves_the_live_one_as_it_is_and_follows_it():
    live = Counting()
    evaluator = Evaluator(Reach, live, task_space=DiscreteTaskSpace(3), copy_policy=True)
    evaluator.evaluate()
    assert live.calls == 0
    evaluator.policy = lambda observations: np.zeros(len(observations), int)
    assert evaluator.evaluate().success_rates.tolist() == [0, 0, 0]


def test_success_rates_reach_a_curriculum_as_its_evaluation():
    space = DiscreteTaskSpace(4)
    curriculum = create("learnability", space, {"sampling": "dist", "learnable_prob": 1.0}, seed=0)
    half = Evaluator(Reach, only_short, task_space=space, success_threshold=0.5)
    half.update(curriculum)
    assert curriculum.distribution().sum() == pytest.approx(1.0)
    curriculum.custom_update(success_rates=[0.0, 0.5, 1.0, 0.0])
    assert curriculum.distribution().tolist() == [0, 1, 0, 0]


def test_tasks_that_cannot_be_enumerated_must_be_given():
    evaluator = Evaluator(Reach, only_short, task_space=BoxTaskSpace(np.zeros(1), np.ones(1)))
    with pytest.raises(TypeError, match="not enumerable"):
        evaluator.evaluate()


@pytest.mark.parametrize(
    ("name", "value"), [("num_envs", 0), ("episodes_per_task", 0), ("max_steps", 0), ("success_threshold", 1.5)]
)
def test_a_setting_out_of_its_range_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        Evaluator(Reach, only_short, task_space=DiscreteTaskSpace(2), **{name: value})


def test_an_environment_that_takes_no_task_is_refused_at_once():
    with pytest.raises(TypeError, match="new_task"):
        Evaluator(lambda: gym.make("CartPole-v1"), only_short, task_space=DiscreteTaskSpace(2))

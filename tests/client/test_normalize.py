"""Rewards in units of the deviation of their own task's returns: what Syllabus' ``normalize`` is for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest

from syllabus_client import CurriculumClient, DiscreteTaskSpace
from syllabus_client.task_spaces import BoxTaskSpace, TaskNotInSpaceError
from tests.service_process import ServiceProcess

RETURNS = {"easy": [1.0, 3.0], "hard": [-100.0, 100.0, 300.0], "sure": [5.0, 5.0], "once": [7.0]}


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[CurriculumClient]:
    with CurriculumClient(service.target, curriculum="scales", timeout=20.0) as client:
        client.create("domain_randomization", DiscreteTaskSpace([*RETURNS, "never"]), seed=3)
        tasks = [task for task, returns in RETURNS.items() for _ in returns]
        returns = [value for each in RETURNS.values() for value in each]
        client.report_episodes(tasks, returns, [1] * len(tasks), [0.0] * len(tasks))
        yield client


def test_each_reward_is_divided_by_the_deviation_of_its_own_task(client: CurriculumClient) -> None:
    tasks = ["hard", "easy", "hard", "sure", "once", "never"]
    scaled = client.normalize([4.0, 4.0, -2.0, 4.0, 4.0, 4.0], tasks)
    deviation = np.std(RETURNS["hard"])
    assert scaled == pytest.approx([4.0 / deviation, 4.0, -2.0 / deviation, 400.0, 4.0, 4.0])


def test_returns_are_centred_on_their_tasks_mean_where_asked(client: CurriculumClient) -> None:
    scaled = client.normalize([4.0, 4.0, 7.0, 4.0], ["hard", "easy", "sure", "never"], center=True)
    assert scaled == pytest.approx([(4.0 - 100.0) / np.std(RETURNS["hard"]), 2.0, 200.0, 4.0])


def test_one_task_may_have_many_rewards_and_one_reward_is_a_number(client: CurriculumClient) -> None:
    deviation = np.std(RETURNS["hard"])
    assert client.normalize(deque([1.0, 2.0]), "hard") == pytest.approx([1.0 / deviation, 2.0 / deviation])
    alone = client.normalize(3.0, "hard")
    assert isinstance(alone, float)
    assert alone == pytest.approx(3.0 / deviation)
    assert client.normalize([], []).tolist() == []


def test_what_cannot_be_normalized_is_refused_by_name(client: CurriculumClient, service: ServiceProcess) -> None:
    with pytest.raises(ValueError, match=r"^tasks: expected one"):
        client.normalize([1.0, 2.0, 3.0], ["easy", "hard"])
    with pytest.raises(TaskNotInSpaceError):
        client.normalize([1.0], ["unheard of"])
    with CurriculumClient(service.target, curriculum="box", timeout=20.0) as continuous:
        continuous.create("domain_randomization", BoxTaskSpace(0.0, 1.0))
        with pytest.raises(TypeError):
            continuous.normalize(1.0, np.array([0.5], np.float32))

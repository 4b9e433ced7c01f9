"""What breaks in Syllabus 0.7 and works here: curricula, statistics, logging and imports, by number.

Some lines have their tests, of the same names, beside what they are about. In ``tests/curricula``: 15 and 16 in
``test_learning_progress.py``, 17 in ``test_learnability.py`` and ``test_omni.py``, 19 in ``test_level_replay.py``,
20 in ``test_self_play.py``, 21 in ``test_compositions.py``. And 25 in ``tests/client/test_evaluator.py``.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syllabus_client import CurriculumClient
from syllabus_client.task_spaces import (
    BoxTaskSpace,
    DiscreteTaskSpace,
    MultiDiscreteTaskSpace,
    StratifiedDiscreteTaskSpace,
    TaskSpace,
    TupleTaskSpace,
)
from syllabus_client.wire.codec import from_tensor, to_tensor
from syllabus_service.curricula import EpisodeBatch, create
from syllabus_service.host import CurriculumHost
from syllabus_service.statistics import EpisodeStatistics
from tests.curricula.case import Case
from tests.curricula.cases import CURRICULA
from tests.curricula.streams import bits, random_batch, run
from tests.host.driving import Driver, episodes
from tests.service_process import ServiceProcess

ONE_OF_EACH = list({case.curriculum: case for case in reversed(CURRICULA)}.values())
each_curriculum = pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.curriculum for case in ONE_OF_EACH])


def played(tasks: Any) -> EpisodeBatch:
    """An episode of each encoded task."""
    tasks = np.asarray(tasks)
    n = len(tasks)
    return EpisodeBatch(tasks, np.ones(n), np.ones(n, np.int64), np.zeros(n), np.zeros(n, np.int64))


@each_curriculum
def test_12_the_warm_up_draws_k_tasks_and_ends_when_only_episodes_are_reported(case: Case) -> None:
    if not case.warms_up:
        pytest.skip("it has no warm-up")
    curriculum = case.new(random_start_tasks=5)
    assert len(curriculum.sample(8)) == 8
    assert curriculum.num_episodes < curriculum.random_start_tasks
    curriculum.update_on_episodes(random_batch(case, curriculum, 5, np.random.default_rng(0)))
    assert curriculum.num_episodes == curriculum.random_start_tasks
    assert not curriculum.warming_up


@pytest.mark.parametrize("name", ["domain_randomization", "online_learning_progress"])
def test_13_products_are_task_spaces_like_others(name: str) -> None:
    space = MultiDiscreteTaskSpace([3, 4])
    curriculum = create(name, space, seed=0)
    curriculum.update_on_episodes(played(curriculum.sample(5)))
    assert all(space.contains(task) for task in space.decode_many(curriculum.sample(20)))
    assert curriculum.distribution() == pytest.approx(np.full(12, 1 / 12))


@pytest.mark.parametrize("task", [0, 3])
def test_13_the_distribution_of_a_constant_sums_to_1(task: int) -> None:
    distribution = create("constant", DiscreteTaskSpace(4), {"default_task": task}, 0).distribution()
    assert distribution.tolist() == [float(i == task) for i in range(4)]


def test_14_a_manual_draw_of_more_than_is_queued_hands_out_what_there_is() -> None:
    curriculum = create("manual", DiscreteTaskSpace(9), seed=0)
    curriculum.custom_update(tasks=[4, 7])
    assert curriculum.sample(3).tolist() == [4, 7]
    curriculum.custom_update(tasks=[1])
    assert curriculum.sample(3).tolist() == [1]


def test_14_stages_have_their_own_encoding_and_conditions_may_hold_spaces() -> None:
    space = DiscreteTaskSpace(["a", "b", "c", "d"])
    stages = [{"algorithm": "online_learning_progress", "tasks": ["d", "b"]}, ["c"]]
    curriculum = create("sequential", space, {"stages": stages, "stopping_conditions": ["steps >= 10"]}, seed=0)
    assert set(space.decode_many(curriculum.sample(40))) == {"d", "b"}
    curriculum.update_on_episodes(played(space.encode_many(["d", "b"] * 5)))
    assert space.decode_many(curriculum.sample(2)) == ["c", "c"]


def test_18_strata_need_no_tasks_and_a_tuple_is_a_tuple_whatever_is_inside() -> None:
    strata = StratifiedDiscreteTaskSpace([[0, 1, 2], [3]])
    assert (strata.num_tasks, strata.num_strata) == (4, 2)
    rng = np.random.default_rng(0)
    with_box = TupleTaskSpace([3, BoxTaskSpace(0.0, 1.0)])
    for space, count in ((TupleTaskSpace([3, 4]), 12), (with_box, None)):
        assert all(type(task) is tuple for task in space.decode_many(space.sample(5, rng)))
        assert space.num_tasks == count


@each_curriculum
def test_22_every_curriculum_can_be_saved_and_loaded_and_its_randomness_is_its_own(case: Case) -> None:
    curriculum = case.new(1)
    run(case, curriculum, 3, 20)
    other = case.new(2)
    other.load_state_dict(curriculum.state_dict())
    np.random.seed(0)  # noqa: NPY002 - the global generator is what must not matter
    first = bits(curriculum.draw(6))
    np.random.seed(1)  # noqa: NPY002
    assert bits(other.draw(6)) == first


@each_curriculum
def test_23_episodes_are_recorded_whatever_the_curriculum(case: Case) -> None:
    curriculum = case.new()
    tasks = case.episode_tasks(curriculum, 3, np.random.default_rng(0))
    host = CurriculumHost(curriculum)
    message = episodes([0, 0, 0], [1.0, 2.0, 6.0], lengths=[1, 2, 6], progress=[1.0, 1.0, 0.0])
    message.task.CopyFrom(to_tensor(tasks))
    Driver(host).send(episodes=message)
    total = host.summary().total
    assert from_tensor(total.num_episodes, "num_episodes").tolist() == [3]
    assert from_tensor(total.return_mean, "return_mean").tolist() == [3.0]
    assert from_tensor(total.success_rate, "success_rate") == pytest.approx([2 / 3])


@pytest.mark.parametrize(
    "space", [DiscreteTaskSpace(["a", "b", "c"]), MultiDiscreteTaskSpace([["x", "y"], 3]), BoxTaskSpace(0.0, 1.0)]
)
def test_23_tasks_of_any_type_have_statistics_and_these_are_saved(space: TaskSpace) -> None:
    statistics = EpisodeStatistics(space.num_tasks)
    tasks = space.sample(20, np.random.default_rng(0))
    statistics.add(played(tasks), None if space.num_tasks is None else space.to_index(tasks))
    assert statistics.total.num_episodes.tolist() == [20]
    again = EpisodeStatistics(space.num_tasks)
    again.load_state_dict(statistics.state_dict())
    assert bits(again.state_dict()) == bits(statistics.state_dict())


def test_23_recording_an_episode_does_not_look_at_the_other_tasks() -> None:
    statistics = EpisodeStatistics(1_000_000)
    batch = played([123_456])
    statistics.add(batch, batch.tasks)
    tracemalloc.start()
    try:
        statistics.add(batch, batch.tasks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000  # a look at a million tasks takes a million bytes at least


@pytest.fixture
def client(service: ServiceProcess) -> Any:
    with CurriculumClient(service.target, curriculum="maze", timeout=20.0) as client:
        client.create("domain_randomization", DiscreteTaskSpace(["a", "b", "c", "d"]), seed=3)
        yield client


def test_24_logging_to_what_is_not_there_says_so(client: CurriculumClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert client.log_metrics(None) == {}
    assert "writer: expected a SummaryWriter" in caplog.text


def test_24_log_n_tasks_shortens_the_list_and_not_the_entropy(client: CurriculumClient) -> None:
    metrics = client.log_metrics({}, log_n_tasks=1)
    assert sum("probability/" in name for name in metrics) == 1
    assert metrics["curriculum/entropy"] == pytest.approx(np.log(4))


BLOCKED = ("matplotlib", "scipy", "torch", "ray", "wandb", "pandas", "tensorboard")
IMPORTS = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is not declared")

sys.meta_path.insert(0, Blocked())
import syllabus_client, syllabus_service.curricula, syllabus_service.host, syllabus_service.server
from syllabus_service.curricula.registry import names, resolve
for name in names():
    resolve(name)
for name in syllabus_client.__all__:
    getattr(syllabus_client, name)
assert not set({BLOCKED!r}) & {{name.partition(".")[0] for name in sys.modules}}
"""


def test_26_importing_needs_nothing_that_is_not_declared() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", IMPORTS]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr

"""Constant, domain randomization and its batched forms."""

from __future__ import annotations

import numpy as np
import pytest

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace, MultiDiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create

SPACE = DiscreteTaskSpace(1000)
PRODUCT = MultiDiscreteTaskSpace([2, 3, 2], "tuple")


def finish(curriculum, *lengths):
    for length in lengths:
        curriculum.update_on_episode(0.0, length, 0, 0.0)


def test_a_constant_is_all_of_its_distribution():  # known failures, line 13
    distribution = create("constant", DiscreteTaskSpace(4), {"default_task": 2}).distribution()
    assert distribution.tolist() == [0.0, 0.0, 1.0, 0.0]
    with pytest.raises(InvalidParamsError, match="default_task"):
        create("constant", DiscreteTaskSpace(4), {"default_task": 4})


def test_domain_randomization_knows_products():  # known failures, line 13
    curriculum = create("domain_randomization", PRODUCT, seed=1)
    assert curriculum.distribution().tolist() == [1 / 12] * 12
    assert {tuple(task) for task in curriculum.sample(400).tolist()} == set(np.ndindex(2, 3, 2))


def test_domain_randomization_needs_no_list_of_its_tasks():
    draw = create("domain_randomization", DiscreteTaskSpace(2**60), seed=1).draw(3)
    assert draw.probabilities.tolist() == [2.0**-60] * 3
    assert create("domain_randomization", BoxTaskSpace(0.0, 1.0)).draw(3).probabilities is None


def test_a_batch_of_steps_is_of_one_task():
    curriculum = create("batched_domain_randomization", SPACE, {"batch_size": 100}, seed=1)
    seen = []
    for _ in range(4):
        tasks = set()
        for length in (40, 40, 20):
            tasks |= set(curriculum.sample(3).tolist())
            finish(curriculum, length)
        assert len(tasks) == 1
        seen += tasks
    assert len(set(seen)) == 4


def test_steps_beyond_a_batch_count_for_the_next():
    curriculum = create("batched_domain_randomization", SPACE, {"batch_size": 100}, seed=1)
    first = curriculum.sample(1)
    finish(curriculum, 170)
    second = curriculum.sample(1)
    assert first != second
    finish(curriculum, 29)
    assert curriculum.sample(1) == second
    finish(curriculum, 1)
    assert curriculum.sample(1) != second


def test_the_first_batches_are_uniform_when_asked_for():
    curriculum = create("batched_domain_randomization", SPACE, {"batch_size": 10, "warmup_batches": 2}, seed=1)
    assert len(set(curriculum.sample(50).tolist())) > 40
    finish(curriculum, 19)
    assert len(set(curriculum.sample(50).tolist())) > 40
    finish(curriculum, 1)
    assert len(set(curriculum.sample(50).tolist())) == 1


def test_a_learner_update_brings_another_task():
    curriculum = create("synced_batched_domain_randomization", SPACE, seed=1)
    seen = []
    for _ in range(4):
        tasks = set(curriculum.sample(3).tolist())
        finish(curriculum, 1000)
        tasks |= set(curriculum.sample(3).tolist())
        assert len(tasks) == 1
        seen += tasks
        curriculum.custom_update(update=True)
    assert len(set(seen)) == 4
    curriculum.sample(1)
    before = curriculum.sample(1)
    curriculum.custom_update(update=False)
    assert curriculum.sample(1) == before


def test_a_share_of_the_draws_of_an_update_is_uniform():
    params = {"uniform_chance": 0.25, "warmup_batches": 1}
    curriculum = create("synced_batched_domain_randomization", SPACE, params, seed=1)
    assert len(set(curriculum.sample(50).tolist())) > 40
    curriculum.custom_update(update=True)
    current = curriculum.sample(1)[0]
    share = (curriculum.sample(4000) == curriculum.current_task).mean()
    assert share == pytest.approx(0.75, abs=0.04)
    assert curriculum.distribution().max() == pytest.approx(0.75 + 0.25 / 1000)
    assert current in range(1000)


@pytest.mark.parametrize(
    ("name", "params", "field"),
    [
        ("batched_domain_randomization", {"batch_size": 0}, "batch_size"),
        ("batched_domain_randomization", {}, "batch_size"),
        ("batched_domain_randomization", {"batch_size": 1, "warmup_batches": -1}, "warmup_batches"),
        ("synced_batched_domain_randomization", {"warmup_batches": -1}, "warmup_batches"),
        ("synced_batched_domain_randomization", {"uniform_chance": 1.5}, "uniform_chance"),
        ("constant", {}, "default_task"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name, params, field):
    with pytest.raises(InvalidParamsError, match=field):
        create(name, SPACE, params)


@pytest.mark.parametrize("update", [{}, {"update": 1}, {"update": "yes"}, {"update": True, "more": 1}])
def test_a_learner_update_says_so(update):
    with pytest.raises(ValueError, match="update=True"):
        create("synced_batched_domain_randomization", SPACE).custom_update(**update)

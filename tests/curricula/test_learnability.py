"""Learnability: known failure 17, ties, tasks never evaluated, and learning from episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import InvalidParamsError, create
from syllabus_service.curricula.learnability import Learnability

quick = settings(max_examples=60, deadline=None, derandomize=True)


class LikeATorchTensor:
    """What a deep-learning library's array on the CPU offers to numpy."""

    def __init__(self, values: list[float]) -> None:
        self._values = np.array(values, dtype=np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._values.astype(dtype)


def test_known_failure_17_the_tensors_of_an_evaluator_are_taken() -> None:
    curriculum = Learnability(DiscreteTaskSpace(3), seed=0, topk=1)
    curriculum.custom_update(success_rates=LikeATorchTensor([0.25, 0.5, 1.0]))
    assert curriculum.distribution().tolist() == [0.0, 1.0, 0.0]


def test_known_failure_17_k_larger_than_n_distorts_nothing() -> None:
    curriculum = Learnability(DiscreteTaskSpace(4), seed=0, topk=1000, learnable_prob=0.3)
    curriculum.custom_update(success_rates=[0.0, 0.5, 0.9, 1.0])
    assert curriculum.distribution() == pytest.approx(np.full(4, 0.25), abs=1e-15)


@quick
@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), min_size=1, max_size=12), st.integers(1, 14))
def test_the_topk_are_k_tasks_and_none_left_out_is_more_learnable(rates: list[float], k: int) -> None:
    curriculum = Learnability(DiscreteTaskSpace(len(rates)), seed=0, topk=k)
    curriculum.custom_update(success_rates=rates)
    learnability = curriculum.learnability()
    chosen = curriculum.distribution() > 0
    if not learnability.any():
        assert chosen.all()
        return
    assert chosen.sum() == min(k, len(rates))
    assert np.ptp(curriculum.distribution()[chosen]) <= 1e-15
    left_out = np.flatnonzero(~chosen)
    for i in left_out:
        assert learnability[i] <= learnability[chosen].min()
        if learnability[i] == learnability[chosen].min():  # of equals, those with the lowest index
            assert i > np.flatnonzero(chosen & (learnability == learnability[i])).max()


@pytest.mark.parametrize("sampling", ["topk", "dist"])
def test_before_the_first_evaluation_and_with_nothing_learnable_it_is_uniform(sampling: str) -> None:
    curriculum = Learnability(DiscreteTaskSpace(4), seed=0, topk=2, sampling=sampling)
    assert curriculum.distribution().tolist() == [0.25] * 4
    curriculum.custom_update(success_rates=[0.0, 1.0, 0.0, 1.0])
    assert curriculum.distribution().tolist() == [0.25] * 4


def test_a_task_that_was_never_evaluated_counts_as_most_learnable() -> None:
    curriculum = Learnability(DiscreteTaskSpace(3), seed=0, topk=1)
    curriculum.custom_update(success_rates=[0.4, 0.4], tasks=[0, 1])
    assert curriculum.learnability().tolist() == pytest.approx([0.24, 0.24, 0.25])
    assert curriculum.distribution().tolist() == [0.0, 0.0, 1.0]


def test_only_the_latest_rate_counts() -> None:
    curriculum = Learnability(DiscreteTaskSpace(2), seed=0, sampling="dist")
    curriculum.custom_update(success_rates=[0.5, 0.9])
    curriculum.custom_update(success_rates=[1.0, 0.5])
    assert curriculum.distribution().tolist() == [0.0, 1.0]


def test_it_learns_from_episodes_where_an_interval_is_given() -> None:
    curriculum = Learnability(DiscreteTaskSpace(3), seed=0, sampling="dist", update_interval=4)
    for task, progress in ((0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0)):
        curriculum.update_on_episode(0.0, 1, task, progress)
    assert curriculum.rates().tolist() == [0.5, 1.0, 0.0]
    assert curriculum.distribution().tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    "params", [{"topk": 0}, {"topk": 1.5}, {"learnable_prob": 1.01}, {"learnable_prob": -1}, {"sampling": "best"}]
)
def test_a_bad_parameter_is_refused_by_name(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamsError, match=next(iter(params))):
        create("learnability", DiscreteTaskSpace(3), params)

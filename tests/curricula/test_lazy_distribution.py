"""Lazy distributions: rebuilt when drawn from, as old as allowed, and untouched by being looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_service.curricula import create
from syllabus_service.curricula.lazy_distribution import LazyDistribution
from syllabus_service.curricula.param_checks import TooManyTasksError

from .streams import bits

quick = settings(max_examples=60, deadline=None, derandomize=True)


class Counted(LazyDistribution):
    """All weight on one task, which changes; counts how often its weights are computed."""

    state_fields = (*LazyDistribution.state_fields, "favourite")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.favourite = 0
        self.computed = 0

    def prefer(self, task: int) -> None:
        self.favourite = task
        self._changed()

    def _weights(self) -> np.ndarray:
        self.computed += 1
        return (np.arange(self.num_tasks) == self.favourite).astype(np.float64)


def test_however_many_changes_come_between_two_draws_the_weights_are_computed_once() -> None:
    curriculum = Counted(DiscreteTaskSpace(5), seed=0)
    for task in range(5):
        curriculum.prefer(task)
    curriculum.distribution()
    for _ in range(3):
        assert curriculum.sample(2).tolist() == [4, 4]
    assert curriculum.computed == 1


def test_by_default_a_change_is_followed_at_the_next_draw() -> None:
    curriculum = Counted(DiscreteTaskSpace(100_000), seed=0)
    assert curriculum.max_age == 0
    for task in (3, 1):
        curriculum.prefer(task)
        assert curriculum.sample(2).tolist() == [task, task]


def test_with_more_tasks_a_change_is_followed_after_a_quarter_of_them_was_drawn() -> None:
    curriculum = Counted(DiscreteTaskSpace(120_000), seed=0)
    curriculum.sample(29_000)
    curriculum.prefer(7)
    assert curriculum.distribution()[0] == 1.0
    assert np.bincount(curriculum.sample(2_000)).tolist() == [1_000, 0, 0, 0, 0, 0, 0, 1_000]
    assert curriculum.distribution()[7] == 1.0


def test_an_evaluation_of_all_tasks_is_followed_at_the_next_draw_however_many_there_are() -> None:
    n = 200_000
    curriculum = create("learnability", DiscreteTaskSpace(n), {"topk": 1}, seed=0)
    assert isinstance(curriculum, LazyDistribution)
    curriculum.sample(10)
    for task in (7, 3):
        curriculum.custom_update(success_rates=np.where(np.arange(n) == task, 0.5, 0.0))
        assert curriculum.sample(3).tolist() == [task] * 3
    curriculum.custom_update(success_rates=[1.0], tasks=[3])
    assert curriculum.sample(3).tolist() == [3] * 3


@quick
@given(st.lists(st.one_of(st.integers(0, 4), st.none()), max_size=30), st.integers(0, 6))
def test_a_draw_is_never_older_than_max_age_tasks(steps: list[int | None], max_age: int) -> None:
    """None draws one task; a number makes that task the favourite."""
    curriculum = Counted(DiscreteTaskSpace(5), seed=0, max_age=max_age)
    favourites = [0]
    for step in steps:
        if step is not None:
            curriculum.prefer(step)
            favourites[-1] = step
        else:
            favourites.append(favourites[-1])
            assert curriculum.sample(1)[0] in favourites[-2 - max_age : -1]


@quick
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.booleans()), max_size=20),
    st.integers(0, 6),
    st.integers(0, 20),
)
def test_looking_at_the_distribution_and_restoring_it_change_nothing(
    steps: list[tuple[int, int, bool]], max_age: int, restored_at: int
) -> None:
    plain = create("online_learning_progress", DiscreteTaskSpace(5), {"update_interval": 2, "max_age": max_age}, seed=0)
    looked_at = create(
        "online_learning_progress", DiscreteTaskSpace(5), {"update_interval": 2, "max_age": max_age}, seed=0
    )
    for number, (task, k, success) in enumerate(steps):
        told = looked_at.distribution()
        if number == restored_at:
            state = looked_at.state_dict()
            looked_at = create(
                "online_learning_progress", DiscreteTaskSpace(5), {"update_interval": 2, "max_age": max_age}, seed=9
            )
            looked_at.load_state_dict(state)
            assert looked_at.distribution().tolist() == told.tolist()
        assert bits(plain.draw(k)) == bits(looked_at.draw(k))
        for curriculum in (plain, looked_at):
            curriculum.update_on_episode(0.0, 1, task, float(success))
        assert bits(plain.state_dict()) == bits(looked_at.state_dict())


def test_more_tasks_than_memory_could_hold_are_refused() -> None:
    with pytest.raises(TooManyTasksError, match="task_space: expected at most 16777216 tasks"):
        create("learnability", DiscreteTaskSpace(10**12))

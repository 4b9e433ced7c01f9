"""The learner of the demo."""

import numpy as np
import pytest

from examples.random_search import RandomSearch

GOAL = np.array([1.0, -2.0, 0.5])


def _search(num_tasks: int = 3, **options) -> RandomSearch:
    return RandomSearch(3, num_tasks, seed=1, **options)


def test_it_climbs_to_the_best_parameters():
    search = _search(directions=8)
    for _ in range(300):
        candidates = search.ask()
        search.tell(np.zeros(16, dtype=int), -((candidates - GOAL) ** 2).sum(axis=1))
    assert np.abs(search.parameters - GOAL).max() < 0.15


def test_it_climbs_as_well_when_each_candidate_runs_another_task_on_another_level():
    """What one task pays more than another says nothing about a candidate: the baselines take it out."""
    rng = np.random.default_rng(2)
    levels = np.array([0.0, 1000.0, -500.0])
    search = _search(directions=8)
    for _ in range(300):
        candidates = search.ask()
        tasks = rng.integers(0, 3, size=16)
        search.tell(tasks, levels[tasks] - ((candidates - GOAL) ** 2).sum(axis=1))
    assert np.abs(search.parameters - GOAL).max() < 0.3


def test_tasks_that_always_pay_the_same_teach_nothing():
    search = _search()
    for _ in range(5):
        search.ask()
        tasks = np.arange(64) % 3
        search.tell(tasks, np.array([0.0, 500.0, 2.0])[tasks])
    np.testing.assert_array_equal(search.parameters, np.zeros(3))
    np.testing.assert_allclose(search.task_returns, [0.0, 500.0, 2.0])


def test_a_task_that_was_never_run_has_no_mean_return():
    search = _search(num_tasks=5)
    search.ask()
    search.tell(np.full(64, 3), np.arange(64.0))
    assert np.isnan(search.task_returns[[0, 1, 2, 4]]).all()
    assert search.task_returns[3] == pytest.approx(31.5)


def test_candidates_come_in_pairs_around_the_parameters_and_repeat_for_a_seed():
    first, second = _search(), _search()
    candidates = first.ask()
    np.testing.assert_allclose(candidates[:32] + candidates[32:], 0.0, atol=1e-12)
    np.testing.assert_array_equal(candidates, second.ask())
    assert not np.array_equal(candidates, first.ask())


def test_returns_that_do_not_belong_to_the_last_candidates_are_refused():
    search = _search()
    search.ask()
    with pytest.raises(ValueError, match="expected 64 tasks and returns, got 63, 63"):
        search.tell(np.zeros(63, dtype=int), np.zeros(63))

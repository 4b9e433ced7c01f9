"""Statistics of episodes against numpy over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syllabus_service import statistics
from syllabus_service.curricula import EpisodeBatch
from syllabus_service.statistics import EpisodeStatistics

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6), st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=60,
)


def batch(rows) -> EpisodeBatch:
    tasks, returns, lengths, progress = (np.array(each) for each in zip(*rows, strict=True))
    return EpisodeBatch(tasks, returns.astype(float), lengths, progress.astype(float), np.zeros(len(rows), np.int64))


@given(ROWS, st.integers(1, 7))
def test_merged_batches_give_the_statistics_of_all_episodes(rows, size):
    found = EpisodeStatistics(5)
    for start in range(0, len(rows), size):
        part = batch(rows[start : start + size])
        found.add(part, part.tasks)
    everything = batch(rows)
    columns = found.of_tasks(np.arange(5))
    for task in range(5):
        mine = everything.tasks == task
        assert columns["num_episodes"][task] == mine.sum()
        if not mine.any():
            assert np.isnan(columns["return_mean"][task])
            continue
        returns, lengths = everything.episode_returns[mine], everything.lengths[mine]
        assert columns["return_mean"][task] == pytest.approx(returns.mean(), rel=1e-9, abs=1e-6)
        assert columns["return_std"][task] == pytest.approx(returns.std(), rel=1e-6, abs=1e-4)
        assert columns["length_mean"][task] == pytest.approx(lengths.mean(), rel=1e-9)
        assert columns["length_std"][task] == pytest.approx(lengths.std(), rel=1e-6, abs=1e-6)
        assert columns["success_rate"][task] == pytest.approx((everything.progress[mine] == 1).mean())
    assert found.total.num_episodes[0] == len(rows)


def test_a_large_offset_does_not_swallow_the_deviation():
    found = EpisodeStatistics(1)
    for _ in range(100):
        part = batch([(0, 1e9 + value, 1, 0.0) for value in (-1.0, 0.0, 1.0)])
        found.add(part, part.tasks)
    assert found.of_tasks(np.array([0]))["return_std"][0] == pytest.approx(np.sqrt(2 / 3), rel=1e-6)


def test_tasks_are_ordered_by_id_or_by_number_of_episodes():
    found = EpisodeStatistics(10)
    part = batch([(7, 1.0, 1, 0.0)] * 3 + [(2, 1.0, 1, 0.0)] + [(5, 1.0, 1, 0.0)] * 2)
    found.add(part, part.tasks)
    assert found.tasks_by_count().tolist() == [2, 5, 7]
    assert found.tasks_by_count(2).tolist() == [7, 5]


def test_a_space_too_large_for_a_row_each_keeps_the_tasks_it_has_seen(monkeypatch):
    monkeypatch.setattr(statistics, "SPARSE_ROWS", 2)
    found = EpisodeStatistics(2**62)
    part = batch([(2**61, 1.0, 1, 1.0), (5, 3.0, 1, 0.0), (5, 5.0, 1, 0.0), (6, 9.0, 1, 0.0)])
    found.add(part, part.tasks)
    columns = found.of_tasks(np.array([5, 6, 2**61]))
    assert columns["num_episodes"].tolist() == [2, 0, 1]
    assert columns["return_mean"][0] == 4.0
    assert np.isnan(columns["return_mean"][1])
    assert found.total.num_episodes[0] == 4
    assert found.tasks_by_count().tolist() == [5, 2**61]
    again = EpisodeStatistics(2**62)
    again.load_state_dict(found.state_dict())
    assert again.of_tasks(np.array([5]))["return_mean"][0] == 4.0


def test_a_space_that_is_not_enumerable_has_a_total():
    found = EpisodeStatistics(None)
    found.add(batch([(0, 2.0, 10, 1.0), (0, 4.0, 20, 0.0)]), None)
    total = found.total.rows(np.zeros(1, np.int64))
    assert total["return_mean"].tolist() == [3.0]
    assert total["success_rate"].tolist() == [0.5]
    assert len(found.tasks_by_count()) == 0


def test_counts_beyond_32_bits_are_exact_and_survive_a_snapshot():
    found = EpisodeStatistics(3)
    state = found.state_dict()
    state["per_task"]["num_episodes"][1] = state["total"]["num_episodes"][0] = 2**32 - 2
    state["per_task"]["num_successes"][1] = 2**32 - 3
    found.load_state_dict(state)
    part = batch([(1, 2.0, 10, 1.0)] * 3 + [(0, 1.0, 5, 1.0)])
    found.add(part, part.tasks)
    assert found.per_task.num_episodes.tolist() == [1, 2**32 + 1, 0]
    assert found.per_task.column("num_successes").tolist() == [1, 2**32, 0]
    assert found.total.num_episodes.tolist() == [2**32 + 2]
    assert found.of_tasks(np.array([1]))["num_episodes"].tolist() == [2**32 + 1]
    again = EpisodeStatistics(3)
    again.load_state_dict(found.state_dict())
    again.add(part, part.tasks)
    assert again.per_task.num_episodes.tolist() == [2, 2**32 + 4, 0]
    assert again.total.num_episodes.tolist() == [2**32 + 6]


def test_counts_beyond_32_bits_are_exact_where_few_of_many_tasks_have_an_episode():
    found = EpisodeStatistics(100)
    state = found.state_dict()
    state["per_task"]["num_episodes"][:] = np.arange(100) + 2**32 - 50
    found.load_state_dict(state)
    part = batch([(7, 2.0, 10, 1.0), (60, 2.0, 10, 1.0), (7, 2.0, 10, 1.0)])
    found.add(part, part.tasks)
    expected = np.arange(100) + 2**32 - 50
    expected[7] += 2
    expected[60] += 1
    assert found.per_task.num_episodes.tolist() == expected.tolist()


def test_a_task_that_many_episodes_take_beyond_32_bits_while_others_are_counted_has_them_all():
    found = EpisodeStatistics(100)
    state = found.state_dict()
    state["per_task"]["num_episodes"][7] = 2**32 - 2
    found.load_state_dict(state)
    other, same = batch([(8, 1.0, 1, 0.0)]), batch([(7, 1.0, 1, 0.0)])
    for part in (other, other, same, other, same, same):
        found.add(part, part.tasks)
    assert found.per_task.num_episodes[[7, 8]].tolist() == [2**32 + 1, 3]

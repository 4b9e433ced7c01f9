"""Counting many intervals at once gives what counting them one by one does."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_service.curricula.interval_counts import counts_by_interval

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows)
def test_intervals_counted_at_once_are_those_counted_one_by_one(rows: list[tuple[int, int, bool, bool]]) -> None:
    ends = [row + 1 for row, (*_, ends_here) in enumerate(rows[:-1]) if ends_here] + [len(rows)]
    expected = []
    start = 0
    for end in ends:
        episodes: Counter[int] = Counter()
        successes: Counter[int] = Counter()
        for task, count, success, _ in rows[start:end]:
            episodes[task] += count
            successes[task] += count * success
        tasks = sorted(task for task in episodes if episodes[task])
        if tasks:
            expected.append((tasks, [successes[task] for task in tasks], [episodes[task] for task in tasks]))
        start = end
    index, counts, success = np.array([row[:3] for row in rows]).T
    found = counts_by_interval(index, counts, counts * success, np.array(ends))
    assert [tuple(column.tolist() for column in interval) for interval in found] == expected

"""Episodes of many intervals, counted by task at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np


def counts_by_interval(
    index: np.ndarray, episodes: np.ndarray, successes: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Count the rows of consecutive intervals.

    Args:
        index: int64 (n,): the task of each row.
        episodes: int (n,): how many episodes it counts as, 0 or more.
        successes: int (n,): how many of these succeeded.
        ends: int64 (m,), ascending: the row behind each interval; the last is n.

    Yields:
        For each interval that has an episode: its tasks (int64, ascending, each once), successes and episodes.

    O(n log n), whatever the number of tasks.
    """
    interval = np.searchsorted(ends, np.arange(len(index)), side="right")
    order = np.lexsort((index, interval))
    index, interval = index[order], interval[order]
    first = np.flatnonzero(np.diff(interval, prepend=-1) | np.diff(index, prepend=-1))
    episodes, successes = np.add.reduceat(episodes[order], first), np.add.reduceat(successes[order], first)
    some = episodes > 0
    index, interval, episodes, successes = index[first][some], interval[first][some], episodes[some], successes[some]
    bounds = [0, *(np.flatnonzero(np.diff(interval)) + 1).tolist(), len(index)]
    for start, end in pairwise(bounds):
        if start < end:
            yield index[start:end], successes[start:end], episodes[start:end]

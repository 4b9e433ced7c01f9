"""Rewards on the scale of their task's returns."""

from __future__ import annotations

import numpy as np

from syllabus_client.readings import EpisodeStatistics

LEAST_DEVIATION = 0.01
"""A smaller deviation of a task's returns counts as this much."""


def normalized(rewards: np.ndarray, statistics: EpisodeStatistics, rows: np.ndarray, *, center: bool) -> np.ndarray:
    """float64 (n,): ``(r - m) / max(s, 0.01)`` with the mean m and deviation s of the task's returns so far.

    Args:
        rewards: float64 (n,).
        statistics: of tasks.
        rows: int64 (n,): the row of each reward's task there.
        center: whether m is subtracted; otherwise it is 0.

    What is of a task with fewer than two episodes stays as it is: there is no deviation yet.
    """
    known = statistics.num_episodes[rows] >= 2
    scale = np.where(known, np.maximum(statistics.return_std[rows], LEAST_DEVIATION), 1.0)
    shift = np.where(known, statistics.return_mean[rows], 0.0) if center else 0.0
    result: np.ndarray = (rewards - shift) / scale
    return result

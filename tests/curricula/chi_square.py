"""Chi-square tests with a fixed, very small chance of a false alarm."""

from __future__ import annotations

import math

import numpy as np

_Z = 4.75  # of a standard normal: exceeded with probability 1e-6


def limit(degrees: int) -> float:
    """What a chi-square variable exceeds with probability 1e-6 (Wilson and Hilferty's approximation)."""
    share = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - share + _Z * math.sqrt(share)) ** 3


def assert_follows(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Assert that counts (N,) are plausible as draws from probabilities (N,), and that none has probability 0."""
    total = counts.sum()
    assert counts[probabilities == 0].sum() == 0, "a task of probability 0 was drawn"
    counts, expected = _pooled(counts, probabilities * total)
    if len(counts) > 1:
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert statistic <= limit(len(counts) - 1), f"chi-square {statistic:.1f}: drew {counts}, expected {expected}"


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Assert that two arrays of counts, of equally many draws, are plausible as from one distribution."""
    pooled, _ = _pooled(ours, (ours + theirs) / 2)
    other, expected = _pooled(theirs, (ours + theirs) / 2)
    if len(expected) > 1:
        statistic = float(((pooled - other) ** 2 / (2 * expected)).sum())
        assert statistic <= limit(len(expected) - 1), f"chi-square {statistic:.1f}: {pooled} against {other}"


def _pooled(counts: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put cells that expect fewer than 5 into one, as the approximation asks for."""
    small = expected < 5
    if not small.any():
        return counts, expected
    kept = np.append(counts[~small], counts[small].sum()), np.append(expected[~small], expected[small].sum())
    if kept[1][-1] >= 5 or len(kept[1]) == 1:
        return kept
    # What is left is too small for a cell of its own.
    largest = int(np.argmax(kept[1][:-1]))
    for column in kept:
        column[largest] += column[-1]
    return kept[0][:-1], kept[1][:-1]

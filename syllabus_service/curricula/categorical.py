"""A categorical distribution over N tasks that is built once and drawn from many times."""

from __future__ import annotations

import numpy as np

_SMALL = 1e-200
_BLOCK = 16
_LARGE = 1 << 18  # from here on a cumulative weight is kept for each block only
_PASS = 1 << 16  # weights that are looked at together, in building and in drawing; a multiple of the block


class Categorical:
    """A fixed distribution over 0..N-1, proportional to non-negative weights.

    Draws invert the cumulative distribution. It is a function of the weights alone, so whoever restores the weights
    restores the draws, bit for bit. A weight of 0 is never drawn.

    Cost: O(N) time to build; O(log N) a draw, in one vectorised call; from 262,144 tasks on 8.5 bytes a task, the
    weights included, below 16. Neither needs further memory in proportion to N or to the number of draws.

    Args:
        weights: (N,), finite, non-negative, with a positive and finite sum. Kept without a copy when it is float64:
            don't change it afterwards.

    Raises:
        ValueError: the weights aren't such.

    Example:
        >>> index, probability = Categorical([0.0, 3.0, 1.0]).draw(4, np.random.default_rng(1))
        >>> index.tolist(), probability.tolist()
        ([1, 2, 1, 2], [0.75, 0.25, 0.75, 0.25])
    """

    __slots__ = ("_cumulative", "_stride", "total", "weights")

    weights: np.ndarray
    """float64 (N,): as given, or a multiple."""
    total: float
    """Their sum."""

    def __init__(self, weights: np.ndarray) -> None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 1 or len(weights) == 0:
            raise ValueError(f"weights: expected shape (N,) with N >= 1, got {weights.shape}")
        if not weights.min() >= 0.0:  # NaN, too
            raise ValueError(f"weights: expected no negative and no NaN, got {weights.min()}")
        self._stride = 1 if len(weights) < _LARGE else _BLOCK
        cumulative = _cumulative(weights, self._stride)
        if cumulative[-1] < _SMALL:  # near the underflow products lose digits: use an exact multiple of the weights
            weights = np.ldexp(weights, 900)
            cumulative = _cumulative(weights, self._stride)
        total = float(cumulative[-1])
        if not 0.0 < total < np.inf:
            raise ValueError(f"weights: expected a positive and finite sum, got {total}")
        self.weights = weights
        self.total = total
        self._cumulative = cumulative

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 (N,): the probability of each, a new array; sums to 1 within rounding. O(N)."""
        return self.weights / self.total

    def draw(self, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw k independent indices, int64 (k,), and the probability of each, float64 (k,). O(k log N).

        Takes k doubles from ``rng``, in the order of the draws: one draw of k is k draws of one.
        """
        # u < 1, and u * total rounds to less than total, so the first cumulative weight above it exists. Where a weight
        # is 0 the cumulative weight doesn't grow, so it is never the first.
        points = rng.random(k) * self.total
        if self._stride > 1:
            index = np.empty(k, dtype=np.int64)
            for start in range(0, k, _PASS // _BLOCK):
                some = slice(start, start + _PASS // _BLOCK)
                index[some] = self._searched_in_blocks(points[some])
        elif (
            k > 1
        ):  # searched in ascending order: neighbours share cache lines, which at a million tasks halves the time
            order = points.argsort()
            index = np.empty(k, dtype=np.int64)
            index[order] = self._cumulative.searchsorted(points[order], side="right")
        else:
            index = self._cumulative.searchsorted(points, side="right").astype(np.int64, copy=False)
        return index, self.weights[index] / self.total

    def _searched_in_blocks(self, points: np.ndarray) -> np.ndarray:
        """int64 (k,): how many cumulative weights are at most each point.

        First among those of the blocks, which stay in the cache, and then among those in the block, which are added up
        anew: of a million weights, it waits for memory once a point.
        """
        block = self._cumulative.searchsorted(points, side="right")
        first = block * _BLOCK
        # The last block may be short: what is clipped there adds up to more than the total, which is above every point.
        within = self.weights.take(first[:, np.newaxis] + np.arange(_BLOCK), mode="clip")
        within[:, 0] += np.where(block > 0, self._cumulative.take(block - 1, mode="clip"), 0.0)
        np.cumsum(within, axis=1, out=within)
        return first + (within <= points[:, np.newaxis]).sum(axis=1)


def _cumulative(weights: np.ndarray, stride: int) -> np.ndarray:
    """float64: every ``stride``-th cumulative weight, and the last: sums from the first weight on, one by one."""
    sums = np.empty(-(-len(weights) // stride))
    before = 0.0
    for start in range(0, len(weights), _PASS):
        part = weights[start : start + _PASS].copy()
        part[0] += before
        np.cumsum(part, out=part)
        before = part[-1]
        ends = part[stride - 1 :: stride]
        sums[start // stride : start // stride + len(ends)] = ends
    sums[-1] = before
    return sums

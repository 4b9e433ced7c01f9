"""A categorical distribution over N tasks that is built once and drawn from many times."""

from __future__ import annotations

import numpy as np

_SMALL = 1e-200
_BLOCK = 64  # a power of two
_LARGE = 1 << 18  # from here on the cumulative weights outgrow the nearer caches


class Categorical:
    """A fixed distribution over 0..N-1, proportional to non-negative weights.

    Draws invert the cumulative distribution. It is a function of the weights alone, so whoever restores the weights
    restores the draws, bit for bit. A weight of 0 is never drawn.

    Cost: O(N) time to build; O(log N) a draw, in one vectorised call; 16 bytes a task, the weights included.

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

    __slots__ = ("_cumulative", "_last_of_blocks", "total", "weights")

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
        cumulative = np.cumsum(weights)
        if cumulative[-1] < _SMALL:  # near the underflow products lose digits: use an exact multiple of the weights
            weights = np.ldexp(weights, 900)
            cumulative = np.cumsum(weights)
        total = float(cumulative[-1])
        if not 0.0 < total < np.inf:
            raise ValueError(f"weights: expected a positive and finite sum, got {total}")
        self.weights = weights
        self.total = total
        self._cumulative = cumulative
        self._last_of_blocks = cumulative[_BLOCK - 1 :: _BLOCK].copy() if len(cumulative) >= _LARGE else None

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
        if self._last_of_blocks is not None and k >= _BLOCK:
            index = self._searched_in_blocks(points, self._last_of_blocks)
        elif (
            k > 1
        ):  # searched in ascending order: neighbours share cache lines, which at a million tasks halves the time
            order = points.argsort()
            index = np.empty(k, dtype=np.int64)
            index[order] = self._cumulative.searchsorted(points[order], side="right")
        else:
            index = self._cumulative.searchsorted(points, side="right").astype(np.int64, copy=False)
        return index, self.weights[index] / self.total

    def _searched_in_blocks(self, points: np.ndarray, last_of_blocks: np.ndarray) -> np.ndarray:
        """int64 (k,): how many cumulative weights are at most each point.

        First among the last ones of all blocks, which stay in the cache, and then in the block, by a binary search for
        all points at once: of a million weights, it waits for memory once a point and not at each step.
        """
        index = last_of_blocks.searchsorted(points, side="right") * _BLOCK
        step = _BLOCK // 2
        while step:
            # In the last block, which may be short, clipped to the total, which is above every point.
            index += step * (self._cumulative.take(index + (step - 1), mode="clip") <= points)
            step //= 2
        return index

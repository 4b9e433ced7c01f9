"""Weights that change a few at a time and are drawn from in proportion."""

from __future__ import annotations

import numpy as np

_BLOCK = 64


class BlockSums:
    """N non-negative weights in blocks of 64 with a sum each.

    Changing k weights costs O(64 k), a draw O(64), and the first draw behind a change O(N/64) more: at N = 1,000,000 a
    running sum over 15,625 blocks. Sums are taken over whole blocks each time, never adjusted by differences, so
    what is drawn is a function of the weights alone and no rounding error builds up. 8.1 bytes a weight.

    Args:
        weights: float64 (N,), copied.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self._leaves = np.zeros((max(1, -(-len(weights) // _BLOCK)), _BLOCK))
        self._flat = self._leaves.reshape(-1)
        self._flat[: len(weights)] = weights
        self._sums = self._leaves.sum(axis=1)
        self._running: np.ndarray | None = None

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self._cumulative()[-1])

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """float64 (k,): the weights of ``indices``."""
        return self._flat[indices]

    def update(self, indices: np.ndarray, weights: np.ndarray | float) -> None:
        """Set the weights of ``indices``, int64 (k,); of an index that repeats, the last one counts."""
        if len(indices) == 0:
            return
        self._flat[indices] = weights
        blocks = np.unique(indices // _BLOCK)
        self._sums[blocks] = self._leaves[blocks].sum(axis=1)
        self._running = None

    def draw(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (k,): indices drawn independently, each in proportion to its weight. ``total`` must be above 0."""
        running = self._cumulative()
        target = rng.random(k) * running[-1]
        blocks = np.searchsorted(running, target, side="right")
        # Rounding may carry a target to the very end: the last block, and leaf, with a weight takes it.
        blocks = np.minimum(blocks, np.searchsorted(running, running[-1], side="left"))
        target -= np.where(blocks > 0, running[blocks - 1], 0.0)
        within = np.cumsum(self._leaves[blocks], axis=1)
        leaf = (within <= target[:, np.newaxis]).sum(axis=1)
        leaf = np.minimum(leaf, (within < within[:, -1:]).sum(axis=1))
        return blocks * _BLOCK + leaf

    def _cumulative(self) -> np.ndarray:
        if self._running is None:
            self._running = np.cumsum(self._sums)
        return self._running

"""Counts that are small nearly always, one for each of N tasks."""

from __future__ import annotations

import numpy as np

from syllabus_service.curricula.blocks import blocks


class NarrowCounts:
    """N counts in 16 bits each; in 32 from when one of them needs more, until all begin at 0 again.

    Args:
        size: N.
    """

    def __init__(self, size: int) -> None:
        self._counts = np.zeros(size, np.uint16)
        self._most = 0  # no count is larger

    @property
    def array(self) -> np.ndarray:
        """int32 (N,): a copy. O(N)."""
        return self._counts.astype(np.int32)

    @array.setter
    def array(self, counts: np.ndarray) -> None:
        self._most = int(counts.max(initial=0))
        self._counts = counts.astype(np.uint16 if self._most <= np.iinfo(np.uint16).max else np.int32)

    def __getitem__(self, index: np.ndarray | int) -> np.ndarray:
        """int32: the counts of some tasks."""
        return self._counts[index].astype(np.int32)

    def add(self, index: np.ndarray | int, counts: np.ndarray) -> None:
        """Add ``counts``, int (n,), to those of tasks, int64 (n,), which may repeat. O(n), amortised."""
        self._most += int(counts.sum())
        if self._counts.dtype == np.uint16 and self._most > np.iinfo(np.uint16).max:
            self._most = int(self._counts.max()) + int(counts.sum())
            if self._most > np.iinfo(np.uint16).max:
                self._counts = self._counts.astype(np.int32)
        np.add.at(self._counts, index, counts.astype(self._counts.dtype))

    def positive(self) -> np.ndarray:
        """int32 (m,): the tasks whose count is not 0, ascending. O(N)."""
        every = blocks(len(self._counts))
        return np.concatenate([(np.flatnonzero(self._counts[at]) + at.start).astype(np.int32) for at in every])

    def clear(self, index: np.ndarray) -> None:
        """Begin at 0 again; ``index`` names, at least, all tasks whose count is not 0. O(n)."""
        self._counts[index] = 0
        if self._counts.dtype != np.uint16:
            self._counts = self._counts.astype(np.uint16)
        self._most = 0

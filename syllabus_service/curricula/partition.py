"""A set of indices and its complement, both drawn from in constant time."""

from __future__ import annotations

import numpy as np


class Partition:
    """0..N-1 in two parts: members and the others.

    Adding or removing m indices costs O(m log m), drawing k members or k others O(k). A permutation holds the members
    first; its order depends on the history, and so does what a generator draws from it: ``order`` is state. 17 bytes an
    index (9 below 2^31).

    Args:
        order: int64 (N,): a permutation of 0..N-1.
        count: number of members: the first ``count`` of ``order``.
    """

    def __init__(self, order: np.ndarray, count: int = 0) -> None:
        dtype = np.dtype(np.int32 if len(order) < 2**31 else np.int64)
        self._order = order.astype(dtype)
        self._place = np.empty(len(order), dtype=dtype)
        self._place[self._order] = np.arange(len(order), dtype=dtype)
        self.count = count
        self.mask: np.ndarray = np.less(self._place, count)
        """bool (N,): which indices are members. Read only."""

    @property
    def order(self) -> np.ndarray:
        """A permutation of 0..N-1, members first. Read only."""
        return self._order

    @property
    def members(self) -> np.ndarray:
        """(count,): the members, in no particular order. Read only."""
        return self._order[: self.count]

    def add(self, indices: np.ndarray) -> np.ndarray:
        """Make distinct ``indices`` members; return those that were not."""
        added = indices[~self.mask[indices]]
        self.mask[added] = True
        self._exchange(added, self.count)
        self.count += len(added)
        return added

    def remove(self, indices: np.ndarray) -> None:
        """Make distinct ``indices`` others."""
        removed = indices[self.mask[indices]]
        self.mask[removed] = False
        self.count -= len(removed)
        self._exchange(removed, self.count)

    def draw_members(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (k,): members, drawn uniformly and independently."""
        return self._order[rng.integers(0, self.count, size=k)].astype(np.int64)

    def draw_others(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (k,): others, drawn uniformly and independently."""
        return self._order[rng.integers(self.count, len(self._order), size=k)].astype(np.int64)

    def _exchange(self, indices: np.ndarray, first: int) -> None:
        """Bring ``indices`` to the places from ``first`` on, and what stood there to where they came from."""
        last = first + len(indices)
        places = self._place[indices]
        arriving = indices[(places < first) | (places >= last)]
        vacated = self._place[arriving]
        there = self._order[first:last]
        leaving = ~np.isin(there, indices)
        taken = first + np.flatnonzero(leaving)
        self._order[vacated] = there[leaving]
        self._place[self._order[vacated]] = vacated
        self._order[taken] = arriving
        self._place[arriving] = taken

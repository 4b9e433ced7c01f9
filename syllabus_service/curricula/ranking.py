"""Indices in the order of their keys, kept sorted while keys change."""

from __future__ import annotations

from typing import Literal

import numpy as np


class Ranking:
    """A sorted multiset of (key, index) pairs that answers "which index has rank r" and "which rank has it".

    Equal keys are ordered by index. Pairs live in a large sorted run; pairs that were replaced are marked in it, and
    their new keys live in a small sorted run. When the small parts have grown to 1/32 of the whole, the runs are
    merged: an update of m pairs costs O(m log N) and its share of a merge, O(32 m); a query of k ranks O(k log N). 16
    bytes a pair (12 with int32 indices), and a little.

    Args:
        keys: (n,), of any ordered dtype, without NaN.
        indices: (n,), distinct.
    """

    def __init__(self, keys: np.ndarray, indices: np.ndarray) -> None:
        order = np.lexsort((indices, keys))
        self._run = _Pairs(keys[order], indices[order])
        self._gone = np.empty(0, dtype=np.int64)  # places in the run, ascending, of pairs that are no more
        self._recent = _Pairs(keys[:0], indices[:0])
        self._recent_gaps = np.empty(0, dtype=np.int64)  # for each recent pair, how many of the run come before it
        self._recent_places = np.empty(0, dtype=np.int64)  # for each recent pair, its place among all

    def __len__(self) -> int:
        return len(self._run.keys) - len(self._gone) + len(self._recent.keys)

    def lowest(self) -> float:
        """The smallest key, or infinity where there is none. O(log N)."""
        return float(self.keys_at(np.zeros(1, dtype=np.int64))[0]) if len(self) else np.inf

    def replace(self, indices: np.ndarray, old_keys: np.ndarray, new_keys: np.ndarray) -> None:
        """Move distinct ``indices``, all of them in the ranking, from their old keys to new ones."""
        in_recent = self._recent.find(old_keys, indices)
        recent = in_recent >= 0
        self._take_from_recent(in_recent[recent])
        gone = np.sort(self._run.find(old_keys[~recent], indices[~recent]))
        self._gone = np.insert(self._gone, np.searchsorted(self._gone, gone), gone)
        self.insert(indices, new_keys)

    def insert(self, indices: np.ndarray, keys: np.ndarray) -> None:
        """Add distinct ``indices``, none of them in the ranking."""
        order = np.lexsort((indices, keys))
        indices, keys = indices[order], keys[order]
        at = self._recent.insertion_points(keys, indices)
        self._recent = self._recent.with_inserted(at, keys, indices)
        self._recent_gaps = np.insert(self._recent_gaps, at, self._run.insertion_points(keys, indices))
        if len(self._gone) + len(self._recent.keys) > 1024 + len(self._run.keys) // 32:
            self._merge()
        self._place_recent()

    def at(self, places: np.ndarray) -> np.ndarray:
        """int64 (k,): the indices at ``places``, counted from 0 for the smallest key."""
        recent, where = self._locate(places)
        result = np.empty(len(places), dtype=np.int64)
        result[recent] = self._recent.indices[where[recent]]
        result[~recent] = self._run.indices[where[~recent]]
        return result

    def keys_at(self, places: np.ndarray) -> np.ndarray:
        """(k,), dtype of the keys: the keys at ``places``."""
        recent, where = self._locate(places)
        result = np.empty(len(places), dtype=self._run.keys.dtype)
        result[recent] = self._recent.keys[where[recent]]
        result[~recent] = self._run.keys[where[~recent]]
        return result

    def places(self, keys: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """int64 (k,): how many pairs come before each of the pairs given: its place, where it is in the ranking."""
        in_run = self._run.insertion_points(keys, indices)
        return in_run - np.searchsorted(self._gone, in_run) + self._recent.insertion_points(keys, indices)

    def _locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place, whether it is taken by a recent pair, and where in its run."""
        before = np.searchsorted(self._recent_places, places)  # recent pairs before it
        recent = np.zeros(len(places), dtype=bool)
        inside = before < len(self._recent_places)
        recent[inside] = self._recent_places[before[inside]] == places[inside]
        alive = places - before  # its number among the pairs of the run that are left
        skipped = np.searchsorted(self._gone - np.arange(len(self._gone)), alive, side="right")
        return recent, np.where(recent, before, alive + skipped)

    def _take_from_recent(self, places: np.ndarray) -> None:
        self._recent = _Pairs(np.delete(self._recent.keys, places), np.delete(self._recent.indices, places))
        self._recent_gaps = np.delete(self._recent_gaps, places)

    def _place_recent(self) -> None:
        gaps = self._recent_gaps
        self._recent_places = np.arange(len(gaps)) + gaps - np.searchsorted(self._gone, gaps)

    def _merge(self) -> None:
        gaps = self._recent_gaps - np.searchsorted(self._gone, self._recent_gaps)
        left = _Pairs(np.delete(self._run.keys, self._gone), np.delete(self._run.indices, self._gone))
        self._run = left.with_inserted(gaps, self._recent.keys, self._recent.indices)
        self._gone = self._gone[:0]
        self._recent = _Pairs(self._run.keys[:0], self._run.indices[:0])
        self._recent_gaps = self._recent_gaps[:0]


class _Pairs:
    """Pairs in ascending order, as two columns."""

    __slots__ = ("indices", "keys")

    def __init__(self, keys: np.ndarray, indices: np.ndarray) -> None:
        self.keys = keys
        self.indices = indices

    def insertion_points(self, keys: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """int64 (k,): how many pairs are smaller than each of the pairs given."""
        low = self._search(keys, "left")
        if len(self.keys) == 0:
            return low
        tied = np.flatnonzero((low < len(self.keys)) & (self.keys[np.minimum(low, len(self.keys) - 1)] == keys))
        if len(tied) == 0:
            return low
        # Among equal keys, a binary search for all of them at once by index.
        first = low[tied]
        last = self._search(keys[tied], "right")
        wanted = indices[tied]
        while (open_ := first < last).any():
            middle = (first + last) // 2
            smaller = open_ & (self.indices[np.minimum(middle, len(self.keys) - 1)] < wanted)
            first = np.where(smaller, middle + 1, first)
            last = np.where(open_ & ~smaller, middle, last)
        low[tied] = first
        return low

    def _search(self, keys: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
        """``np.searchsorted``, in ascending order of the keys: in any other, each search waits for memory anew."""
        order = np.argsort(keys)
        found = np.empty(len(keys), dtype=np.int64)
        found[order] = np.searchsorted(self.keys, keys[order], side=side)
        return found

    def find(self, keys: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """int64 (k,): the place of each pair, -1 where it isn't there."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1)
        at = self.insertion_points(keys, indices)
        there = np.minimum(at, len(self.keys) - 1)
        same = (at < len(self.keys)) & (self.keys[there] == keys) & (self.indices[there] == indices)
        return np.where(same, at, -1)

    def with_inserted(self, at: np.ndarray, keys: np.ndarray, indices: np.ndarray) -> _Pairs:
        return _Pairs(np.insert(self.keys, at, keys), np.insert(self.indices, at, indices.astype(self.indices.dtype)))

"""Statistics of episodes: per task, and over all."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_service.curricula import EpisodeBatch
from syllabus_service.table_rows import put_rows

DENSE_TASKS = 1 << 22  #: up to this many tasks every task has its row from the start (40 bytes each)
SPARSE_ROWS = 1 << 18  #: beyond, rows are given to the first so many tasks that have an episode

_MOMENTS = ("return_mean", "return_m2", "length_mean", "length_m2")
_COUNTS = ("num_episodes", "num_successes")
_COLUMNS = ("num_episodes", *_MOMENTS, "num_successes")
_MOST_NARROW = np.iinfo(np.uint32).max


class EpisodeColumns:
    """Running count, mean and variance of returns and lengths, and successes, for a number of rows.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), eq. 2.1, so a mean and a variance do
    not suffer from the cancellation of sums of squares. O(n) for n episodes. The numbers of a row lie together: a batch
    over many tasks waits for memory twice a row. 40 bytes a row; 48 once a count has passed 2**32 - 1: then all counts
    are kept in 64 bits. They are computed with as float64, exact up to 2**53.
    """

    def __init__(self, rows: int) -> None:
        self._counts = np.zeros((rows, len(_COUNTS)), np.uint32)
        self._most = 0  # no count is larger
        self._moments = np.zeros((rows, len(_MOMENTS)))

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def num_episodes(self) -> np.ndarray:
        """int64 (rows,). O(rows)."""
        return self.column("num_episodes")

    def grow(self, rows: int) -> None:
        """Append empty rows."""
        self._counts = np.concatenate([self._counts, np.zeros((rows, len(_COUNTS)), self._counts.dtype)])
        self._moments = np.concatenate([self._moments, np.zeros((rows, len(_MOMENTS)))])

    def add(self, rows: np.ndarray, returns: np.ndarray, lengths: np.ndarray, successes: np.ndarray) -> None:
        """Count n episodes: the row of each, its return and its length, float64, and whether it succeeded."""
        everywhere = len(self) <= 4 * len(rows)  # all rows cost less than to find out which there are
        touched, group = (None, rows) if everywhere else self._distinct(rows)
        counts = self._counts if touched is None else self._counts.take(touched, axis=0)
        moments = self._moments if touched is None else self._moments.take(touched, axis=0)
        size = len(counts)
        new = np.bincount(group, minlength=size).astype(np.float64)
        divisor = np.maximum(new, 1.0)
        both = counts.T.astype(np.float64)
        old = both[0].copy()
        both[0] += new
        both[1] += np.bincount(group, successes, size)
        share = new / np.maximum(both[0], 1.0)
        weight = old * share
        some = new > 0
        merged = moments.T.copy()
        for values, mean, m2 in ((returns, merged[0], merged[1]), (lengths, merged[2], merged[3])):
            new_mean = np.bincount(group, values, size) / divisor
            deviation = values - new_mean.take(group)
            deviation *= deviation
            delta = np.where(some, new_mean - mean, 0.0)
            mean += delta * share
            delta *= delta
            delta *= weight
            delta += np.bincount(group, deviation, size)
            m2 += delta
        counts = both.T.astype(self._counts_dtype(both[0], len(rows)), order="C")
        moments = merged.T.copy()
        if touched is None:
            self._counts, self._moments = counts, moments
        else:
            put_rows(self._counts, touched, counts)
            put_rows(self._moments, touched, moments)

    def add_all(self, returns: np.ndarray, lengths: np.ndarray, successes: np.ndarray) -> None:
        """Count n episodes, n > 0, in the first row; see ``add``."""
        new = len(returns)
        old, before = self._counts[0].tolist()
        total = old + new
        moments = self._moments[0].tolist()
        for number, values in ((0, returns), (2, lengths)):
            new_mean = float(values.sum()) / new
            deviation = values - new_mean
            deviation *= deviation
            delta = new_mean - moments[number]
            moments[number] += delta * (new / total)
            moments[number + 1] += float(deviation.sum()) + delta * delta * (old * (new / total))
        self._counts_dtype(np.array([total]), new)
        self._counts[0] = total, before + np.count_nonzero(successes)
        self._moments[0] = moments

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of chosen rows, named as in the wire's EpisodeStatistics; NaN where a row has no episode."""
        count, successes = self._counts.take(rows, axis=0).T.astype(np.int64)
        return_mean, return_m2, length_mean, length_m2 = self._moments.take(rows, axis=0).T
        some = count > 0
        divisor = np.where(some, count, 1)
        return {
            "num_episodes": count,
            "return_mean": np.where(some, return_mean, np.nan),
            "return_std": np.where(some, np.sqrt(return_m2 / divisor), np.nan),
            "length_mean": np.where(some, length_mean, np.nan),
            "length_std": np.where(some, np.sqrt(length_m2 / divisor), np.nan),
            "success_rate": np.where(some, successes / divisor, np.nan),
        }

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        return {name: self.column(name) for name in _COLUMNS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        rows = len(state[_COLUMNS[0]])
        self._most = max(int(state[name].max(initial=0)) for name in _COUNTS)
        self._counts = np.empty((rows, len(_COUNTS)), np.uint32 if self._most <= _MOST_NARROW else np.uint64)
        self._moments = np.empty((rows, len(_MOMENTS)))
        for table, names in ((self._counts, _COUNTS), (self._moments, _MOMENTS)):
            for number, name in enumerate(names):
                table[:, number] = state[name]

    def column(self, name: str) -> np.ndarray:
        """(rows,): one of ``_COLUMNS``; int64 for counts, otherwise float64. O(rows)."""
        if name in _COUNTS:
            return self._counts[:, _COUNTS.index(name)].astype(np.int64)
        return self._moments[:, _MOMENTS.index(name)].copy()

    def _counts_dtype(self, counts: np.ndarray, added: int) -> np.dtype:
        """The dtype that counts need when ``added`` episodes have made of some of them ``counts``; they are kept so."""
        self._most += added
        if self._most > _MOST_NARROW and self._counts.dtype == np.uint32:
            self._most = int(max(counts.max(), self._counts[:, 0].max()))
            if self._most > _MOST_NARROW:
                self._counts = self._counts.astype(np.uint64)
        return self._counts.dtype

    def _distinct(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct rows, int64 (m,), and for each of ``rows`` which of them it is, int64 (n,). O(n), in any order.

        The counts of these rows serve as the place where each row's number is noted, and then come back.
        """
        counts, place = self._counts.reshape(-1), rows * len(_COUNTS)  # of the first column
        kept, numbers = counts.take(place), np.arange(len(rows), dtype=counts.dtype)
        counts[place] = numbers
        last = counts.take(place) == numbers
        touched, place_of_last = rows[last], place[last]
        counts[place_of_last] = numbers[: len(touched)]
        group = counts.take(place).astype(np.int64)
        counts[place_of_last] = kept[last]
        return touched, group


class EpisodeStatistics:
    """Statistics per task, by index, and over all episodes.

    Args:
        num_tasks: N, or None for a space that is not enumerable: then only the total is kept. Above ``DENSE_TASKS``
            only the first ``SPARSE_ROWS`` tasks that have an episode are kept apart; the others count in the total.
    """

    def __init__(self, num_tasks: int | None) -> None:
        self._dense = num_tasks is not None and num_tasks <= DENSE_TASKS
        self._rows: dict[int, int] | None = None if self._dense or num_tasks is None else {}
        self.per_task = EpisodeColumns(num_tasks if self._dense and num_tasks is not None else 0)
        self.total = EpisodeColumns(1)

    def add(self, batch: EpisodeBatch, index: np.ndarray | None) -> None:
        """Count a batch whose tasks have these indices, int64 (n,), or None where the space is not enumerable."""
        if not len(batch):
            return
        columns = batch.episode_returns, batch.lengths.astype(np.float64), batch.progress >= 1.0
        self.total.add_all(*columns)
        if index is None:
            return
        if self._dense:
            self.per_task.add(index, *columns)
            return
        rows = self._give_rows(index)
        kept = rows >= 0
        if kept.any():
            self.per_task.add(rows[kept], *(column[kept] for column in columns))

    def tasks_by_count(self, top_n: int = 0) -> np.ndarray:
        """int64: the tasks that have an episode, by id; or the top_n of them with most episodes, most first. O(N)."""
        counts = self.per_task.num_episodes
        seen = np.flatnonzero(counts)
        if top_n > 0:
            seen = seen[np.argsort(-counts[seen], kind="stable")[:top_n]]
        if self._rows is None:
            return seen
        tasks = np.fromiter(self._rows, np.int64, len(self._rows))[seen]
        return tasks if top_n else np.sort(tasks)

    def of_tasks(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Columns for tasks by index, int64 (n,)."""
        if self._rows is None:
            return self.per_task.rows(index)
        rows = np.array([self._rows.get(task, -1) for task in index.tolist()], np.int64)
        columns = (
            self.per_task.rows(np.where(rows >= 0, rows, 0)) if len(self._rows) else EpisodeColumns(1).rows(0 * rows)
        )
        unseen = rows < 0
        for name, column in columns.items():
            column[unseen] = 0 if name == "num_episodes" else np.nan
        return columns

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        rows = None if self._rows is None else np.fromiter(self._rows, np.int64, len(self._rows))
        return {"rows": rows, "per_task": self.per_task.state_dict(), "total": self.total.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        rows = state["rows"]
        self._rows = None if rows is None else {task: row for row, task in enumerate(rows.tolist())}
        self.per_task.load_state_dict(state["per_task"])
        self.total.load_state_dict(state["total"])

    def _give_rows(self, index: np.ndarray) -> np.ndarray:
        known = self._rows
        if known is None:
            return np.full(len(index), -1, np.int64)
        rows = np.empty(len(index), np.int64)
        for number, task in enumerate(index.tolist()):
            row = known.get(task, -1)
            if row < 0 and len(known) < SPARSE_ROWS:
                row = known[task] = len(known)
            rows[number] = row
        missing = len(known) - len(self.per_task)
        if missing > 0:
            self.per_task.grow(max(missing, len(self.per_task), 64))
        return rows

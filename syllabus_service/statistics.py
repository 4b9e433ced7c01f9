"""Statistics of episodes: per task, and over all."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_service.curricula import EpisodeBatch
from syllabus_service.table_rows import put_rows

DENSE_TASKS = 1 << 22  #: up to this many tasks every task has its row from the start (48 bytes each)
SPARSE_ROWS = 1 << 18  #: beyond, rows are given to the first so many tasks that have an episode

_COLUMNS = ("num_episodes", "return_mean", "return_m2", "length_mean", "length_m2", "num_successes")
_COUNTS = ("num_episodes", "num_successes")


class EpisodeColumns:
    """Running count, mean and variance of returns and lengths, and successes, for a number of rows.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), eq. 2.1, so a mean and a variance do
    not suffer from the cancellation of sums of squares. O(n) for n episodes. The six numbers of a row lie together: a
    batch over many tasks waits for memory once a row. Counts are float64 there, exact up to 2**53.
    """

    def __init__(self, rows: int) -> None:
        self._table = np.zeros((rows, len(_COLUMNS)))

    def __len__(self) -> int:
        return len(self._table)

    @property
    def num_episodes(self) -> np.ndarray:
        """int64 (rows,). O(rows)."""
        return self.column("num_episodes")

    def grow(self, rows: int) -> None:
        """Append empty rows."""
        self._table = np.concatenate([self._table, np.zeros((rows, len(_COLUMNS)))])

    def add(self, rows: np.ndarray, returns: np.ndarray, lengths: np.ndarray, successes: np.ndarray) -> None:
        """Count n episodes: the row of each, its return, its length in steps, and whether it succeeded."""
        if len(self._table) <= 4 * len(rows):  # all rows cost less than to find out which there are
            touched, group = np.arange(len(self._table)), rows
        else:
            touched, group = self._distinct(rows)
        size = len(touched)
        new = np.bincount(group, minlength=size).astype(np.float64)
        before = self._table.take(touched, axis=0).T.copy()
        old = before[0].copy()
        before[0] += new
        total = np.maximum(before[0], 1.0)
        divisor, share = np.maximum(new, 1.0), new / total
        weight = old * share
        some = new > 0
        for values, mean, m2 in ((returns, before[1], before[2]), (lengths.astype(np.float64), before[3], before[4])):
            new_mean = np.bincount(group, weights=values, minlength=size) / divisor
            deviation = values - new_mean.take(group)
            delta = np.where(some, new_mean - mean, 0.0)
            mean += delta * share
            m2 += np.bincount(group, weights=deviation * deviation, minlength=size) + delta * delta * weight
        before[5] += np.bincount(group, weights=successes, minlength=size)
        put_rows(self._table, touched, before.T.copy())

    def add_all(self, returns: np.ndarray, lengths: np.ndarray, successes: np.ndarray) -> None:
        """Count n episodes, n > 0, in the first row."""
        new = len(returns)
        row = self._table[0]
        old = row[0]
        total = old + new
        for number, values in ((1, returns), (3, lengths.astype(np.float64))):
            new_mean = values.sum() / new
            deviation = values - new_mean
            delta = new_mean - row[number]
            row[number] += delta * (new / total)
            row[number + 1] += (deviation * deviation).sum() + delta * delta * (old * (new / total))
        row[5] += np.count_nonzero(successes)
        row[0] = total

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of chosen rows, named as in the wire's EpisodeStatistics; NaN where a row has no episode."""
        count, return_mean, return_m2, length_mean, length_m2, successes = self._table.take(rows, axis=0).T
        some = count > 0
        divisor = np.where(some, count, 1)
        return {
            "num_episodes": count.astype(np.int64),
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
        self._table = np.empty((len(state[_COLUMNS[0]]), len(_COLUMNS)))
        for number, name in enumerate(_COLUMNS):
            self._table[:, number] = state[name]

    def column(self, name: str) -> np.ndarray:
        """(rows,): one of ``_COLUMNS``; int64 for counts, otherwise float64. O(rows)."""
        return self._table[:, _COLUMNS.index(name)].astype(np.int64 if name in _COUNTS else np.float64)

    def _distinct(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct rows, int64 (m,), and for each of ``rows`` which of them it is, int64 (n,). O(n), in any order.

        The counts of these rows serve as the place where each row's number is noted, and then come back.
        """
        counts, place = self._table.reshape(-1), rows * len(_COLUMNS)  # of the first column
        kept, numbers = counts.take(place), np.arange(len(rows), dtype=np.float64)
        counts[place] = numbers
        last = counts.take(place) == numbers
        touched = rows[last]
        counts[place[last]] = np.arange(len(touched), dtype=np.float64)
        group = counts.take(place).astype(np.int64)
        counts[place[last]] = kept[last]
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
        successes = batch.progress >= 1.0
        self.total.add_all(batch.episode_returns, batch.lengths, successes)
        if index is None:
            return
        if self._dense:
            self.per_task.add(index, batch.episode_returns, batch.lengths, successes)
            return
        rows = self._give_rows(index)
        kept = rows >= 0
        if kept.any():
            self.per_task.add(rows[kept], batch.episode_returns[kept], batch.lengths[kept], successes[kept])

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

"""Statistics of episodes: per task, and over all."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_service.curricula import EpisodeBatch

DENSE_TASKS = 1 << 22  #: up to this many tasks every task has its row from the start (48 bytes each)
SPARSE_ROWS = 1 << 18  #: beyond, rows are given to the first so many tasks that have an episode

_COLUMNS = ("num_episodes", "return_mean", "return_m2", "length_mean", "length_m2", "num_successes")


class EpisodeColumns:
    """Running count, mean and variance of returns and lengths, and successes, for a number of rows.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), eq. 2.1, so a mean and a variance do
    not suffer from the cancellation of sums of squares. O(n log n) for n episodes, and
    O(n) where there are at most 4 n rows.
    """

    def __init__(self, rows: int) -> None:
        self.num_episodes = np.zeros(rows, np.int64)
        self.return_mean = np.zeros(rows)
        self.return_m2 = np.zeros(rows)
        self.length_mean = np.zeros(rows)
        self.length_m2 = np.zeros(rows)
        self.num_successes = np.zeros(rows, np.int64)

    def add(self, rows: np.ndarray, returns: np.ndarray, lengths: np.ndarray, successes: np.ndarray) -> None:
        """Count n episodes: the row of each, its return, its length in steps, and whether it succeeded."""
        if len(self.num_episodes) <= 4 * len(rows):  # a slot for every row costs less than to sort for those there are
            new = np.bincount(rows, minlength=len(self.num_episodes))
            touched, group = np.flatnonzero(new), rows
        else:
            touched, group = np.unique(rows, return_inverse=True)
            new = np.bincount(group)
        size = len(new)
        divisor = np.maximum(new, 1)
        here: Any = slice(None) if size == len(touched) else touched
        new_here = new[here]
        old = self.num_episodes[touched]
        total = old + new_here
        for values, mean, m2 in (
            (returns, self.return_mean, self.return_m2),
            (lengths.astype(np.float64), self.length_mean, self.length_m2),
        ):
            new_mean = np.bincount(group, weights=values, minlength=size) / divisor
            deviation = values - new_mean[group]
            new_m2 = np.bincount(group, weights=deviation * deviation, minlength=size)[here]
            delta = new_mean[here] - mean[touched]
            mean[touched] += delta * (new_here / total)
            m2[touched] += new_m2 + delta * delta * (old * (new_here / total))
        self.num_successes[touched] += np.bincount(group, weights=successes, minlength=size)[here].astype(np.int64)
        self.num_episodes[touched] = total

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of chosen rows, named as in the wire's EpisodeStatistics; NaN where a row has no episode."""
        count = self.num_episodes[rows]
        some = count > 0
        divisor = np.where(some, count, 1)
        return {
            "num_episodes": count,
            "return_mean": np.where(some, self.return_mean[rows], np.nan),
            "return_std": np.where(some, np.sqrt(self.return_m2[rows] / divisor), np.nan),
            "length_mean": np.where(some, self.length_mean[rows], np.nan),
            "length_std": np.where(some, np.sqrt(self.length_m2[rows] / divisor), np.nan),
            "success_rate": np.where(some, self.num_successes[rows] / divisor, np.nan),
        }

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        return {name: getattr(self, name).copy() for name in _COLUMNS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        for name in _COLUMNS:
            setattr(self, name, state[name].copy())


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
        self.total.add(np.zeros(len(batch), np.int64), batch.episode_returns, batch.lengths, successes)
        if index is None:
            return
        rows = index if self._dense else self._give_rows(index)
        kept = rows >= 0
        if kept.any():
            self.per_task.add(rows[kept], batch.episode_returns[kept], batch.lengths[kept], successes[kept])

    def tasks_by_count(self, top_n: int = 0) -> np.ndarray:
        """int64: the tasks that have an episode, by id; or the top_n of them with most episodes, most first. O(N)."""
        seen = np.flatnonzero(self.per_task.num_episodes)
        if top_n > 0:
            seen = seen[np.argsort(-self.per_task.num_episodes[seen], kind="stable")[:top_n]]
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
        missing = len(known) - len(self.per_task.num_episodes)
        if missing > 0:
            grow = max(missing, len(self.per_task.num_episodes), 64)
            for name in _COLUMNS:
                column = getattr(self.per_task, name)
                setattr(self.per_task, name, np.concatenate([column, np.zeros(grow, column.dtype)]))
        return rows

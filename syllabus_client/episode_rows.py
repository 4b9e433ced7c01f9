"""EpisodeRows: episodes that were reported one by one; checked as they come, made into columns when they are sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_INT64_END = 1 << 63
_UINT64_END = 1 << 64
MAX_NAME = 64  #: characters of a metric's or agent's name

Extras = Mapping[str, float]
_Row = tuple[int, Any, float, int, float, int, dict[str, float] | None, dict[str, float] | None]


class TaskFormat:
    """What an encoded task is: as told, or that of the first one seen. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}

    def learn(self, dtype: Any, shape: tuple[int, ...]) -> tuple[np.dtype, tuple[int, ...]]:
        """Dtype and shape of an encoded task: these, where they are not known yet."""
        return self._known.setdefault("task", (np.dtype(dtype), shape))  # one operation: the first one wins

    def get(self) -> tuple[np.dtype, tuple[int, ...]]:
        """Dtype and shape; an id where they are not known."""
        return self._known.get("task") or (np.dtype(np.int64), ())

    def encoded(self, task: Any) -> Any:
        """A task as it will lie in a column: a number, or an array of its own.

        Raises ValueError, TypeError or OverflowError for what does not fit.
        """
        known = self._known.get("task")
        if known is None:
            array = np.asarray(task)
            known = self.learn(array.dtype, array.shape)
        dtype, shape = known
        if type(task) is int and dtype == np.int64 and not shape and -_INT64_END <= task < _INT64_END:
            return task
        array = np.array(task, dtype)
        if array.shape != shape:
            raise ValueError(f"task: expected an encoded task of shape {list(shape)}, got {list(array.shape)}")
        return array if shape else array.item()


class EpisodeRows:
    """A queue of finished episodes. Any thread may ``add`` to it without a lock; one at a time takes all of them.

    What is added will fit its column, so that what is wrong with an episode is an error of who reports it.

    Args:
        task_format: what an encoded task is.
    """

    def __init__(self, task_format: TaskFormat) -> None:
        self._format = task_format
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        assignment_id: int,
        task: Any,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        metrics: Extras | None = None,
        agent_returns: Extras | None = None,
    ) -> None:
        """Add an episode whose numbers are valid (see ``validation``). ``task`` None: as assigned.

        Raises ValueError or TypeError for a task, or a name of a metric, that does not fit, and for no assignment id.
        """
        if not 0 <= assignment_id < _UINT64_END:
            raise ValueError(f"assignment_id: expected an id from next_task, or 0, got {assignment_id!r}")
        row = (
            int(assignment_id),
            None if task is None else self._format.encoded(task),
            float(episode_return),
            int(length),
            float(progress),
            int(env_id),
            _named(metrics) if metrics else None,
            _named(agent_returns) if agent_returns else None,
        )
        self._rows.append(row)  # one operation

    def take_all(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]] | None:
        """Remove all: columns named as in ``EpisodeBatch`` and ``told``, metrics, and agents' returns; None: no row.

        ``told``: bool (n,), whether an episode's task is given; ``task`` is only there where one is.
        """
        count = len(self._rows)
        if not count:
            return None
        rows = self._rows[:count]
        del self._rows[:count]  # others may have added to the end meanwhile
        ids, tasks, returns, lengths, progress, env_ids, metrics, agent_returns = zip(*rows, strict=True)
        told = np.array([task is not None for task in tasks])
        columns = {
            "assignment_id": np.array(ids, np.uint64),
            "told": told,
            "episode_return": np.array(returns, np.float64),
            "length": np.array(lengths, np.int64),
            "progress": np.array(progress, np.float64),
            "env_id": np.array(env_ids, np.int64),
        }
        if told.any():
            dtype, shape = self._format.get()
            if not told.all():
                absent = np.zeros(shape, dtype)
                tasks = tuple(absent if task is None else task for task in tasks)
            columns["task"] = np.array(tasks, dtype)
        return columns, _extra_columns(metrics), _extra_columns(agent_returns)


def _named(values: Extras) -> dict[str, float]:
    for name in values:
        check_name(name)
    return {name: float(value) for name, value in values.items()}


def check_name(name: str) -> None:
    """Raise ValueError for a name, of a metric or an agent, that the wire does not carry."""
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"metrics: expected names of 1 to {MAX_NAME} characters, got {name[:80]!r}")


def _extra_columns(rows: tuple[dict[str, float] | None, ...]) -> dict[str, np.ndarray]:
    """float64 (n,) by name, NaN where a row has no value; names in the order in which they appear."""
    given = [(number, row) for number, row in enumerate(rows) if row]
    columns: dict[str, np.ndarray] = {}
    for number, row in given:
        for name, value in row.items():
            if name not in columns:
                columns[name] = np.full(len(rows), math.nan)
            columns[name][number] = value
    return columns

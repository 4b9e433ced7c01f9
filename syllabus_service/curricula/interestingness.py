"""Which tasks are no longer interesting to an agent that does well at another one: OMNI's table."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace


def load_interestingness(path: str | os.PathLike[str]) -> dict[str, dict[str, bool]]:
    """Read a table from a JSON file, ``{task: {other task: whether it is still interesting}}``, for OMNI's parameter.

    A curriculum's parameters hold the table and never a path, because parameters may come over the network: this is
    for programs that make a curriculum, where the file is theirs.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no such table.
    """
    table = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise ValueError(f"{os.fspath(path)}: expected {{task: {{other task: true or false}}}}")
    return table


class Interestingness:
    """A sparse table: for each task, the others that bore an agent that does well at it.

    Args:
        task_space: enumerable.
        table: one of

            - a mapping ``{task: {other task: bool}}``, true where the other is still interesting. What isn't listed is
              interesting. A task is given decoded or by its name; where it is a string that is neither, as JSON text
              (JSON objects have no keys but strings).
            - bool (N, N): ``table[i][j]`` tells whether task j is interesting given task i, by index.
            - None: all are interesting, always.

    Raises:
        ValueError: the table names a task that is not in the space, or isn't such; ``interestingness`` is named.
    """

    def __init__(self, task_space: TaskSpace, table: Mapping[Any, Any] | Any | None) -> None:
        count = task_space.num_tasks or 0
        if table is None:
            table = {}
        given, boring = (_listed(task_space, table) if isinstance(table, Mapping) else _dense(table, count)).T
        others = given != boring  # a task never bores because of itself
        self._given, self._boring = given[others], boring[others]

    def boring(self, success_rates: np.ndarray) -> np.ndarray:
        """bool (N,): the tasks that are boring at these success rates, float64 (N,).

        From the best task to the worst (of equals, the one with the lower index first): a task that isn't boring yet
        is interesting, and all that its row names and that haven't had their turn become boring.

        O(E) for a table with E boring entries where few tasks depend on what becomes of others, as with rates in no
        particular order; O(E log E) at worst.
        """
        boring = np.zeros(len(success_rates), dtype=bool)
        given, others = self._given, self._boring
        gap = success_rates[given] - success_rates[others]
        later = (gap > 0) | ((gap == 0) & (given < others))  # the other's turn comes later
        given, others = given[later], others[later]
        waiting = np.empty(len(success_rates), dtype=bool)
        while len(given) > 0:
            # A task that no open entry speaks of is interesting, and its row holds. That settles further entries.
            waiting[given] = False
            waiting[others] = True
            boring[others[~waiting[given]]] = True
            left = np.flatnonzero(waiting[given] & ~boring[given] & ~boring[others])
            if len(left) > len(given) // 2:
                _go_through(boring, given[left], others[left], success_rates)
                break
            given, others = given[left], others[left]
        return boring


def _go_through(boring: np.ndarray, given: np.ndarray, others: np.ndarray, success_rates: np.ndarray) -> None:
    """Mark in ``boring`` what the entries (given, other) make boring, the best task's first."""
    order = np.lexsort((given, -success_rates[given]))
    given, others = given[order], others[order]
    ends = np.append(np.flatnonzero(np.diff(given)) + 1, len(given)).tolist()
    if len(given) < 16 * len(ends):  # short rows: entry by entry costs less than a call of numpy for each row
        marks = bytearray(boring)
        for task, other in zip(given.tolist(), others.tolist(), strict=True):
            if not marks[task]:
                marks[other] = True
        boring[:] = np.frombuffer(marks, dtype=bool)
        return
    start = 0
    for end in ends:
        if not boring[given[start]]:
            boring[others[start:end]] = True
        start = end


def _dense(table: Any, count: int) -> np.ndarray:
    matrix = np.asarray(table)
    if matrix.shape != (count, count) or matrix.dtype != np.bool_:
        raise ValueError(
            f"interestingness: expected a mapping, or bool ({count}, {count}), got {matrix.dtype} {matrix.shape}"
        )
    return np.argwhere(~matrix)


def _listed(task_space: TaskSpace, table: Mapping[Any, Any]) -> np.ndarray:
    boring: list[Any] = []
    for task, row in table.items():
        if not isinstance(row, Mapping):
            raise ValueError(f"interestingness: expected a mapping for task {task!r}, got {type(row).__name__}")
        for other, interesting in row.items():
            if not isinstance(interesting, (bool, np.bool_)):
                raise ValueError(
                    f"interestingness: expected true or false for {other!r} given {task!r}, got {interesting!r}"
                )
            if not interesting:
                boring += (task, other)
    return _indices(task_space, boring).reshape(-1, 2)


def _indices(task_space: TaskSpace, keys: list[Any]) -> np.ndarray:
    """int64 (n,): the index of the task behind each key. O(n), and O(N) for strings."""
    if len(keys) == 0:
        return np.zeros(0, dtype=np.int64)
    known: dict[Any, int] = {}
    if any(isinstance(key, str) for key in keys):
        every = task_space.decode_many(task_space.from_index(np.arange(task_space.num_tasks or 0)))
        known = {task: index for index, task in enumerate(every) if isinstance(task, str)}
        known |= {name: index for index, name in enumerate(task_space.task_names or ())}
    others = list(dict.fromkeys(key for key in keys if key not in known))
    try:
        encoded = task_space.encode_many([_read(key) for key in others])
    except TaskNotInSpaceError as error:
        raise ValueError(f"interestingness: {error}") from error
    known |= zip(others, task_space.to_index(encoded).tolist(), strict=True)
    return np.array([known[key] for key in keys], dtype=np.int64)


def _read(key: Any) -> Any:
    if isinstance(key, str):
        try:
            return json.loads(key)
        except ValueError:
            return key  # the space will say that it holds no such task
    return key

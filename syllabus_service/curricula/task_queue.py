"""A double-ended queue of encoded tasks, in one array."""

from __future__ import annotations

import numpy as np

_SMALLEST = 16


class TaskQueue:
    """Encoded tasks in the order in which they will be run: a ring of rows that grows and shrinks by halves.

    Cost: amortised O(1) a task, in columns; between 1 and 4 times the bytes of the tasks it holds.

    Args:
        tasks: (n, *encoded_shape): what it holds at first; copied.
    """

    def __init__(self, tasks: np.ndarray) -> None:
        self._rows = np.empty((_SMALLEST, *tasks.shape[1:]), dtype=tasks.dtype)
        self._first = 0
        self._count = 0
        self.push_back(tasks)

    def __len__(self) -> int:
        return self._count

    def push_back(self, tasks: np.ndarray) -> None:
        """Put tasks (n, *encoded_shape) at the end."""
        self._reserve(self._count + len(tasks))
        self._rows[self._places(self._first + self._count, len(tasks))] = tasks
        self._count += len(tasks)

    def push_front(self, tasks: np.ndarray) -> None:
        """Put tasks (n, *encoded_shape) at the front: the first of them will be the first to leave."""
        self._reserve(self._count + len(tasks))
        self._first = (self._first - len(tasks)) % len(self._rows)
        self._rows[self._places(self._first, len(tasks))] = tasks
        self._count += len(tasks)

    def pop(self, k: int) -> np.ndarray:
        """Take up to k tasks from the front: (min(k, n), *encoded_shape)."""
        k = min(k, self._count)
        tasks: np.ndarray = self._rows[self._places(self._first, k)]
        self._first = (self._first + k) % len(self._rows)
        self._count -= k
        if self._count < len(self._rows) // 4 and len(self._rows) > _SMALLEST:
            self._resize(max(_SMALLEST, len(self._rows) // 2))
        return tasks

    def to_array(self) -> np.ndarray:
        """(n, *encoded_shape): a copy of what it holds, in order."""
        tasks: np.ndarray = self._rows[self._places(self._first, self._count)]
        return tasks

    def _places(self, first: int, n: int) -> np.ndarray:
        return np.arange(first, first + n) % len(self._rows)

    def _reserve(self, count: int) -> None:
        if count > len(self._rows):
            self._resize(max(count, 2 * len(self._rows)))

    def _resize(self, size: int) -> None:
        tasks = self.to_array()
        self._rows = np.empty((size, *tasks.shape[1:]), dtype=tasks.dtype)
        self._rows[: len(tasks)] = tasks
        self._first = 0

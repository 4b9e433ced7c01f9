"""Tasks that were drawn and are not used yet, first in, first out, in columns."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

TRAIN = 1  #: purpose of a task that the learner trains on (the wire's PURPOSE_TRAIN)
EVALUATE = 2  #: purpose of a task that is run only to score it (the wire's PURPOSE_EVALUATE)

_WINDOW = 256  # tasks that are turned into rows together


class ReadyTask(NamedTuple):
    """One task."""

    id: int
    """Assignment id."""
    encoded: Any
    """Encoded task: an int, a float, or an array."""
    decoded: Any
    """Decoded task; the encoded one where nobody said how to decode."""
    probability: float | None
    """None or NaN where not known."""
    purpose: int
    """TRAIN or EVALUATE."""
    position: int
    """Commands applied when it was drawn."""
    arrived: float
    """When it arrived, in seconds of the caller's clock."""


@dataclass(frozen=True, slots=True)
class TaskColumns:
    """k tasks."""

    ids: np.ndarray
    """uint64 (k,): assignment ids."""
    encoded: np.ndarray
    """(k, *encoded_shape): encoded tasks."""
    probabilities: np.ndarray | None
    """float64 (k,), NaN where not known; None where none is."""
    purposes: np.ndarray
    """uint8 (k,): TRAIN or EVALUATE."""
    positions: np.ndarray
    """uint64 (k,): commands applied when each was drawn."""
    arrived: np.ndarray
    """float64 (k,): when each arrived, in seconds of the caller's clock."""

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> TaskColumns:
        """A part: views."""
        part = slice(start, stop)
        probabilities = None if self.probabilities is None else self.probabilities[part]
        return TaskColumns(
            self.ids[part],
            self.encoded[part],
            probabilities,
            self.purposes[part],
            self.positions[part],
            self.arrived[part],
        )


class ReadyTasks:
    """A queue of tasks; taking k of them costs O(k), and a view where they arrived together.

    Tasks that are taken one by one are decoded and turned into rows many at a time: that costs a fraction.
    """

    def __init__(self) -> None:
        self.decode: Callable[[np.ndarray], list[Any]] | None = None
        self._chunks: deque[TaskColumns] = deque()
        self._start = 0
        self._count = 0
        self._window: list[ReadyTask] = []  # the first rows of the first chunk, last first

    def __len__(self) -> int:
        return self._count

    def put(self, tasks: TaskColumns) -> None:
        """Add tasks at the end."""
        if len(tasks):
            self._chunks.append(tasks)
            self._count += len(tasks)

    def take(self, k: int) -> TaskColumns:
        """Remove the first k, of at least k, tasks; k is at least 1."""
        self._window.clear()
        parts = []
        missing = k
        while missing:
            chunk = self._chunks[0]
            stop = min(len(chunk), self._start + missing)
            parts.append(chunk.rows(self._start, stop))
            missing -= stop - self._start
            self._start = stop
            if stop == len(chunk):
                self._chunks.popleft()
                self._start = 0
        self._count -= k
        return parts[0] if len(parts) == 1 else _concatenate(parts)

    def take_one(self) -> ReadyTask:
        """Remove the first of at least one task."""
        chunk = self._chunks[0]
        if not self._window:
            self._window = self._rows(chunk.rows(self._start, self._start + _WINDOW))
        task = self._window.pop()
        self._start += 1
        self._count -= 1
        if self._start == len(chunk):
            self._chunks.popleft()
            self._start = 0
        return task

    def _rows(self, tasks: TaskColumns) -> list[ReadyTask]:
        encoded = tasks.encoded.tolist() if tasks.encoded.ndim == 1 else list(tasks.encoded)
        probabilities: Iterable[float | None] = itertools.repeat(None)
        if tasks.probabilities is not None:
            probabilities = tasks.probabilities.tolist()
        rows = zip(
            tasks.ids.tolist(),
            encoded,
            encoded if self.decode is None else self.decode(tasks.encoded),
            probabilities,
            tasks.purposes.tolist(),
            tasks.positions.tolist(),
            tasks.arrived.tolist(),
            strict=False,
        )
        return [ReadyTask(*row) for row in rows][::-1]

    def clear(self) -> None:
        """Drop all."""
        self._window.clear()
        self._chunks.clear()
        self._start = self._count = 0


def _concatenate(parts: list[TaskColumns]) -> TaskColumns:
    probabilities = None
    if any(part.probabilities is not None for part in parts):
        unknown = [np.full(len(part), np.nan) if part.probabilities is None else part.probabilities for part in parts]
        probabilities = np.concatenate(unknown)
    return TaskColumns(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.encoded for part in parts]),
        probabilities,
        np.concatenate([part.purposes for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.arrived for part in parts]),
    )

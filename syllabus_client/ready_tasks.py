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


class Assignment(NamedTuple):
    """One task for one episode of one environment."""

    id: int
    """Names the assignment to this session; 0 for a task that is repeated because the service is away."""
    encoded: Any
    """The encoded task: an int where the encoding is an id, otherwise an array of the space's ``encoded_shape``."""
    task: Any
    """The decoded task, for the environment's ``reset(new_task=...)``."""
    purpose: int
    """TRAIN (1) or EVALUATE (2)."""
    probability: float | None
    """Probability with which the task was drawn; None (or NaN) where the curriculum has no distribution."""
    position: int
    """Number of commands that the curriculum had applied when the task was drawn."""


@dataclass(frozen=True, slots=True)
class TaskColumns:
    """k tasks, in columns."""

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

    Tasks that are taken one by one are decoded and turned into rows many at a time: that costs a fraction. The rows lie
    in ``window``, from which any thread may take the next one by ``pop``, without a lock; everything else here is done
    by who holds the session's lock.
    """

    def __init__(self) -> None:
        self.decode: Callable[[np.ndarray], list[Any]] | None = None
        self.window: list[tuple[Assignment, float]] = []
        """The next tasks and when they arrived, last first."""
        self._chunks: deque[TaskColumns] = deque()  # what comes after the window
        self._start = 0  # of what is left of the first chunk
        self._behind = 0  # rows in the chunks
        self._dtype: Any = None  # of the encoded tasks in the window
        self._moved = 0  # rows that were put into the window or taken as columns

    @property
    def count(self) -> int:
        """How many there are."""
        return self._behind + len(self.window)

    @property
    def num_put(self) -> int:
        """How many were put since the last ``clear``."""
        return self._moved + self._behind

    @property
    def num_taken(self) -> int:
        """How many of them were taken."""
        return self._moved - len(self.window)

    def __len__(self) -> int:
        return self.count

    def put(self, tasks: TaskColumns) -> None:
        """Add tasks at the end."""
        if len(tasks):
            self._chunks.append(tasks)
            self._behind += len(tasks)

    def take(self, k: int) -> TaskColumns:
        """Remove the first k, of at least k, tasks; k is at least 1."""
        self._close_window()
        parts = []
        missing = k
        while missing:
            part = self._take_from_first(missing)
            parts.append(part)
            missing -= len(part)
        self._moved += k
        return parts[0] if len(parts) == 1 else _concatenate(parts)

    def open_window(self) -> None:
        """Turn the next tasks into rows, where the window is empty."""
        if self._behind and not self.window:
            tasks = self._take_from_first(_WINDOW)
            self._moved += len(tasks)
            self._dtype = tasks.encoded.dtype
            self.window.extend(self._rows(tasks))

    def clear(self) -> None:
        """Drop all, and count anew."""
        self.window.clear()
        self._chunks.clear()
        self._start = self._behind = self._moved = 0

    def _take_from_first(self, most: int) -> TaskColumns:
        chunk = self._chunks[0]
        part = chunk.rows(self._start, min(len(chunk), self._start + most))
        self._start += len(part)
        self._behind -= len(part)
        if self._start == len(chunk):
            self._chunks.popleft()
            self._start = 0
        return part

    def _close_window(self) -> None:
        """Put the rows of the window back in front of the columns; another thread may take some of them meanwhile."""
        rows = []
        while self.window:
            try:
                rows.append(self.window.pop())
            except IndexError:
                break
        if rows:
            if self._start:
                self._chunks[0] = self._chunks[0].rows(self._start, len(self._chunks[0]))
                self._start = 0
            self._chunks.appendleft(_columns(rows, self._dtype))
            self._behind += len(rows)
            self._moved -= len(rows)

    def _rows(self, tasks: TaskColumns) -> list[tuple[Assignment, float]]:
        """The rows, last first."""
        encoded = tasks.encoded.tolist() if tasks.encoded.ndim == 1 else list(tasks.encoded)
        probabilities: Iterable[float | None] = itertools.repeat(None)
        if tasks.probabilities is not None:
            probabilities = tasks.probabilities.tolist()
        rows = zip(
            tasks.ids.tolist(),
            encoded,
            encoded if self.decode is None else self.decode(tasks.encoded),
            tasks.purposes.tolist(),
            probabilities,
            tasks.positions.tolist(),
            strict=False,
        )
        return list(zip(map(Assignment._make, rows), tasks.arrived.tolist(), strict=True))[::-1]


def _columns(rows: list[tuple[Assignment, float]], dtype: Any) -> TaskColumns:
    """Rows as columns again."""
    ids, encoded, _, purposes, probabilities, positions = zip(*(row for row, _ in rows), strict=True)
    return TaskColumns(
        np.array(ids, np.uint64),
        np.array(encoded, dtype),
        None if probabilities[0] is None else np.array(probabilities, np.float64),
        np.array(purposes, np.uint8),
        np.array(positions, np.uint64),
        np.array([arrived for _, arrived in rows], np.float64),
    )


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

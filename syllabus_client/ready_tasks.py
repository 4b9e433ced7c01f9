"""Tasks that were drawn and are not used yet, first in, first out, in columns."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

TRAIN = 1  #: purpose of a task that the learner trains on (the wire's PURPOSE_TRAIN)
EVALUATE = 2  #: purpose of a task that is run only to score it (the wire's PURPOSE_EVALUATE)


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
    """A queue of tasks; taking k of them costs O(k), and a view where they arrived together."""

    def __init__(self) -> None:
        self._chunks: deque[TaskColumns] = deque()
        self._start = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, tasks: TaskColumns) -> None:
        """Add tasks at the end."""
        if len(tasks):
            self._chunks.append(tasks)
            self._count += len(tasks)

    def take(self, k: int) -> TaskColumns:
        """Remove the first k, of at least k, tasks; k is at least 1."""
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

    def clear(self) -> None:
        """Drop all."""
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

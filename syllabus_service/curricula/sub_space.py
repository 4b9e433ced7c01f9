"""Encoded tasks of a space within another: the inner space's encoding to the outer one's, and back."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace, TaskNotInSpaceError, TaskSpace

_MAX_TABLE = 2**24


class SubSpace:
    """The tasks of ``inner`` as tasks of ``outer``.

    Where the spaces are equal, or both are integers, translating is arithmetic. Where the inner one is enumerable (up
    to 2**24 tasks) it goes by a table: 8 to 24 bytes a task, O(log N) to find one. Otherwise tasks are decoded and
    encoded one by one, and what is not in ``outer`` is only found then.

    Raises ValueError where a task of ``inner`` is not in ``outer``.
    """

    def __init__(self, outer: TaskSpace, inner: TaskSpace) -> None:
        self.outer = outer
        self.inner = inner
        self._shift: int | None = None
        self._table: np.ndarray | None = None
        if inner == outer or inner == outer.named(None):
            self._shift = 0
        elif _is_integer(inner) and _is_integer(outer):
            self._shift = inner.start - outer.start  # type: ignore[attr-defined]
            if self._shift < 0 or self._shift + inner.num_tasks > outer.num_tasks:  # type: ignore[operator]
                raise ValueError(f"{inner!r} is not within {outer!r}")
        elif inner.num_tasks is not None and inner.num_tasks <= _MAX_TABLE:
            try:
                self._table = outer.encode_many(inner.decode_many(inner.from_index(np.arange(inner.num_tasks))))
            except TaskNotInSpaceError as error:
                raise ValueError(str(error)) from error

    def to_outer(self, encoded: np.ndarray) -> np.ndarray:
        """Translate encoded tasks (k, *inner.encoded_shape) to (k, *outer.encoded_shape)."""
        if self._shift is not None:
            return encoded + self._shift if self._shift else encoded
        if self._table is not None:
            found: np.ndarray = self._table[self.inner.to_index(encoded)]
            return found
        return self.outer.encode_many(self.inner.decode_many(encoded))

    def to_inner(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Translate encoded tasks of the outer space.

        Returns:
            bool (k,): which of them are in the inner space; and those, encoded, (number of them, *inner.encoded_shape).
        """
        if self._shift is not None:
            shifted = encoded - self._shift if self._shift else encoded
            inside = self.inner.contains_encoded(shifted)
            return inside, shifted[inside]
        if self._table is not None:
            places = self._places(encoded)
            inside = places >= 0
            return inside, self.inner.from_index(places[inside])
        tasks = self.outer.decode_many(encoded)
        inside = np.array([self.inner.contains(task) for task in tasks], dtype=bool)
        return inside, self.inner.encode_many([task for task, is_in in zip(tasks, inside, strict=True) if is_in])

    def scatter(self, distribution: np.ndarray) -> np.ndarray:
        """float64 (outer N,): a distribution (inner N,) over the inner tasks, by outer index; 0 elsewhere."""
        whole = np.zeros(self.outer.num_tasks)  # type: ignore[arg-type]
        if self._shift is not None:
            whole[self._shift : self._shift + len(distribution)] = distribution
        else:
            whole[self.outer.to_index(self.to_outer(self.inner.from_index(np.arange(len(distribution)))))] = (
                distribution
            )
        return whole

    def _places(self, encoded: np.ndarray) -> np.ndarray:
        """int64 (k,): index in the inner space of each outer task, -1 for one that is not there."""
        if self.outer.num_tasks is None:
            return np.array([self._by_bytes.get((row + 0).tobytes(), -1) for row in encoded], dtype=np.int64)
        order, ordered = self._sorted
        index = self.outer.to_index(encoded)
        places = np.minimum(np.searchsorted(ordered, index), len(ordered) - 1)
        return np.where(ordered[places] == index, order[places], -1)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        index = self.outer.to_index(self._table)  # type: ignore[arg-type]
        order = np.argsort(index)
        return order, index[order]

    @cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        # Adding 0 makes -0.0 the same task as 0.0.
        return {(row + 0).tobytes(): place for place, row in enumerate(self._table)}  # type: ignore[arg-type]


def _is_integer(space: TaskSpace) -> bool:
    return isinstance(space, DiscreteTaskSpace) and space.is_integer

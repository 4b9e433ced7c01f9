"""Rows that wait in preallocated columns, first in, first out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_INITIAL_CAPACITY = 256


class ColumnBuffer:
    """A queue of rows kept as numpy columns that grow by doubling.

    Adding n rows costs one copy per column, taking n rows nothing, amortised. Rows are added together or, where one of
    their values does not fit, not at all.

    Args:
        columns: dtype and shape of one row's value, by name.
    """

    def __init__(self, columns: Mapping[str, tuple[Any, tuple[int, ...]]]) -> None:
        self._names: list[str] = []
        self._columns: list[np.ndarray] = []
        self._fills: list[Any] = []
        self._capacity = _INITIAL_CAPACITY
        self._head = 0
        self._tail = 0
        self.row_bytes = 0
        self.num_added = 0
        self.num_taken = 0
        for name, (dtype, shape) in columns.items():
            self.add_column(name, dtype, shape)

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def names(self) -> Sequence[str]:
        """The columns' names."""
        return self._names

    def add_column(self, name: str, dtype: Any, shape: tuple[int, ...] = (), fill: Any = 0) -> None:
        """Add a column; rows that are already there, and rows that give it no value, hold ``fill``."""
        column = np.full((self._capacity, *shape), fill, dtype)
        self._names.append(name)
        self._columns.append(column)
        self._fills.append(fill)
        self.row_bytes += column.itemsize * int(np.prod(shape, dtype=np.int64))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row's value in a column."""
        return self._columns[self._names.index(name)].shape[1:]

    def extend(self, columns: Mapping[str, Any], rows: int) -> None:
        """Add ``rows`` rows, of arrays or of one value for all of them; columns that are not given hold their fill."""
        if self._tail + rows > self._capacity:
            self._make_room(rows)
        new = slice(self._tail, self._tail + rows)
        for name, column, fill in zip(self._names, self._columns, self._fills, strict=True):
            column[new] = columns.get(name, fill)
        self._tail += rows
        self.num_added += rows

    def peek(self, name: str, rows: int) -> np.ndarray:
        """One column of the first rows: a view, valid until the next row is added."""
        return self._columns[self._names.index(name)][self._head : self._head + rows]

    def take(self, rows: int) -> dict[str, np.ndarray]:
        """Remove the first rows and return their columns: views, valid until the next row is added."""
        taken = slice(self._head, self._head + rows)
        columns = {name: column[taken] for name, column in zip(self._names, self._columns, strict=True)}
        self._head += rows
        self.num_taken += rows
        if self._head == self._tail:
            self._head = self._tail = 0
        return columns

    def keep(self, mask: np.ndarray) -> int:
        """Remove the rows where ``mask`` is False; return how many. They count as taken."""
        live = slice(self._head, self._tail)
        kept = int(np.count_nonzero(mask))
        removed = len(self) - kept
        for column in self._columns:
            column[self._head : self._head + kept] = column[live][mask]
        self._tail = self._head + kept
        self.num_taken += removed
        return removed

    def _make_room(self, rows: int) -> None:
        """Move the rows to the front, into columns twice as large where they would fill more than half."""
        live = len(self)
        capacity = self._capacity
        while live + rows > capacity // 2:
            capacity *= 2
        for index, column in enumerate(self._columns):
            moved = np.empty((capacity, *column.shape[1:]), column.dtype)
            moved[:live] = column[self._head : self._tail]
            self._columns[index] = moved
        self._capacity = capacity
        self._head, self._tail = 0, live

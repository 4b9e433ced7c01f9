"""The open assignments of a curriculum, in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_service.table_rows import put_rows

_SLOT_BITS = 32
_GENERATIONS = (1 << 30) - 1  # ids stay below 2**62, as the contract says
_NEXT_GENERATION = np.array([1 << _SLOT_BITS])  # an array: numpy is slower with a Python number

# Columns of the table's one array of rows: what is looked up together lies together.
_ID, _SESSION, _POSITION, _SERIAL = range(4)


@dataclass(frozen=True)
class Found:
    """What a table knows about n assignment ids, in columns."""

    slots: np.ndarray
    """int64 (n,): the slot of each; -1 where it is not open."""
    sessions: np.ndarray
    """int64 (n,): the index of the session that holds each; undefined where it is not open."""
    positions: np.ndarray
    """int64 (n,): how many commands had been applied when its task was drawn; undefined where it is not open."""
    all_open: bool
    """Whether all are open."""


class AssignmentTable:
    """Open assignments: opened in blocks, looked up and closed in columns; O(rows), whatever the number that is open.

    An assignment lives in a slot that is used again after it has ended. Its id holds the slot and how often the slot
    was used (its generation), so that a late report is recognised as late: an id comes again only after its slot was
    used 2**30 times. Memory: about 60 bytes a slot; as many slots as were ever open at the same time, rounded up to a
    power of two.

    Args:
        encoded_shape: shape of one encoded task.
        encoded_dtype: its dtype.
    """

    def __init__(self, encoded_shape: tuple[int, ...], encoded_dtype: np.dtype, *, capacity: int = 64) -> None:
        self._rows = np.zeros((capacity, 4), np.int64)  # id (0: not open), session, position, serial
        self._last_ids = np.arange(capacity, dtype=np.int64)  # the id of each slot's last use; before it, generation 0
        self._tasks = np.zeros((capacity, *encoded_shape), encoded_dtype)
        self._row = np.zeros(capacity, np.int32)  # scratch: which row of a batch names a slot
        self._free = np.arange(capacity - 1, -1, -1, dtype=np.int64)  # a stack; the top is at _num_free - 1
        self._num_free = capacity
        self.num_opened = 0

    def __len__(self) -> int:
        return len(self._rows) - self._num_free

    def open(self, tasks: np.ndarray, session: int, position: int) -> np.ndarray:
        """Open an assignment for each of k encoded tasks that a session drew at ``position``: ids, uint64 (k,)."""
        count = len(tasks)
        while self._num_free < count:
            self._grow()
        slots = self._free[self._num_free - count : self._num_free][::-1]
        self._num_free -= count
        ids = self._last_ids[slots]
        ids += _NEXT_GENERATION
        if self.num_opened >= _GENERATIONS:  # before, no slot can have been used so often
            spent = ids >> _SLOT_BITS > _GENERATIONS
            ids[spent] = slots[spent] + _NEXT_GENERATION
        self._last_ids[slots] = ids
        rows = np.empty((count, 4), np.int64)
        rows[:, _ID] = ids
        rows[:, _SESSION] = session
        rows[:, _POSITION] = position
        rows[:, _SERIAL] = np.arange(self.num_opened, self.num_opened + count)
        put_rows(self._rows, slots, rows)
        self._tasks[slots] = tasks
        self.num_opened += count
        return ids.view(np.uint64)

    def look_up(self, ids: np.ndarray) -> Found:
        """What is known of assignment ids, uint64 (n,). Repeated ids: see ``first``."""
        signed = np.ascontiguousarray(ids, "<u8").view(np.int64)
        slots = signed & ((1 << _SLOT_BITS) - 1)
        # A slot that is not there becomes the last one, whose id is another.
        rows = self._rows.take(slots, axis=0, mode="clip")
        is_open = rows[:, _ID] == signed
        is_open &= signed != 0
        all_open = bool(is_open.all())
        if not all_open:
            slots[~is_open] = -1
        return Found(slots, rows[:, _SESSION], rows[:, _POSITION], all_open)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """int64 (n,): the slot of each assignment id, or -1 where it is not open."""
        return self.look_up(ids).slots

    def distinct(self, slots: np.ndarray) -> bool:
        """Whether no slot is named twice. Slots must not be negative."""
        rows = np.arange(len(slots), dtype=np.int32)
        self._row[slots] = rows
        return bool((self._row.take(slots) == rows).all())

    def first(self, slots: np.ndarray) -> np.ndarray:
        """bool (n,): which rows are the first to name their slot. Slots must not be negative."""
        rows = np.arange(len(slots), dtype=np.int32)
        self._row[slots[::-1]] = rows[::-1]
        return self._row[slots] == rows

    def tasks(self, slots: np.ndarray) -> np.ndarray:
        """(n, *encoded_shape): the encoded tasks of slots."""
        return self._tasks.take(slots, axis=0)

    def sessions(self, slots: np.ndarray) -> np.ndarray:
        """int64 (n,): the session index of each slot."""
        return self._rows[slots, _SESSION]

    def of_session(self, session: int) -> np.ndarray:
        """The slots that a session holds, in the order in which they were opened. O(slots)."""
        return self._in_order(np.flatnonzero((self._rows[:, _ID] != 0) & (self._rows[:, _SESSION] == session)))

    def all_ids(self) -> np.ndarray:
        """uint64: the ids of all open assignments, in the order in which they were opened. O(slots)."""
        slots = self._in_order(np.flatnonzero(self._rows[:, _ID]))
        return self._rows[slots, _ID].view(np.uint64)

    def close(self, slots: np.ndarray) -> None:
        """End the assignments of distinct open slots."""
        self._rows[:, _ID][slots] = 0
        self._free[self._num_free : self._num_free + len(slots)] = slots
        self._num_free += len(slots)

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        return {
            "generation": (self._last_ids >> _SLOT_BITS).astype(np.uint32),
            "open": self._rows[:, _ID] != 0,
            "session": self._rows[:, _SESSION].copy(),
            "position": self._rows[:, _POSITION].copy(),
            "serial": self._rows[:, _SERIAL].copy(),
            "tasks": self._tasks.copy(),
            "free": self._free[: self._num_free].copy(),
            "num_opened": self.num_opened,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        capacity = len(state["generation"])
        self._last_ids = (state["generation"].astype(np.int64) << _SLOT_BITS) | np.arange(capacity)
        self._rows = np.stack(
            [np.where(state["open"], self._last_ids, 0), state["session"], state["position"], state["serial"]], axis=1
        )
        self._tasks = state["tasks"].copy()
        self._row = np.zeros(capacity, np.int32)
        self._free = np.zeros(capacity, np.int64)
        self._num_free = len(state["free"])
        self._free[: self._num_free] = state["free"]
        self.num_opened = int(state["num_opened"])

    def _in_order(self, slots: np.ndarray) -> np.ndarray:
        return slots[np.argsort(self._rows[slots, _SERIAL], kind="stable")]

    def _grow(self) -> None:
        old = len(self._rows)
        for name in ("_rows", "_tasks", "_row"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        self._last_ids = np.concatenate([self._last_ids, np.arange(old, 2 * old)])
        free = np.zeros(2 * old, np.int64)
        # The new slots go below the old free ones, so that a slot in use is used again before a new one.
        free[:old] = np.arange(2 * old - 1, old - 1, -1)
        free[old : old + self._num_free] = self._free[: self._num_free]
        self._free = free
        self._num_free += old

"""The open assignments of a curriculum, in columns."""

from __future__ import annotations

from typing import Any

import numpy as np

_SLOT_BITS = 32
_SLOT_MASK = np.uint64((1 << _SLOT_BITS) - 1)
_GENERATIONS = np.uint32((1 << 30) - 1)  # ids stay below 2**62, as the contract says


class AssignmentTable:
    """Open assignments: opened in blocks, looked up and closed in columns; O(rows), whatever the number that is open.

    An assignment lives in a slot that is used again after it has ended. Its id holds the slot and how often the slot
    was used (its generation), so that a late report is recognised as late: an id comes again only after its slot was
    used 2**30 times. Memory: about 55 bytes a slot; as many slots as were ever open at the same time, rounded up to a
    power of two.

    Args:
        encoded_shape: shape of one encoded task.
        encoded_dtype: its dtype.
    """

    def __init__(self, encoded_shape: tuple[int, ...], encoded_dtype: np.dtype, *, capacity: int = 64) -> None:
        self._generation = np.zeros(capacity, np.uint32)
        self._open = np.zeros(capacity, bool)
        self._session = np.zeros(capacity, np.int64)
        self._position = np.zeros(capacity, np.int64)
        self._serial = np.zeros(capacity, np.int64)
        self._tasks = np.zeros((capacity, *encoded_shape), encoded_dtype)
        self._row = np.zeros(capacity, np.int64)  # scratch: which row of a batch names a slot first
        self._free = np.arange(capacity - 1, -1, -1, dtype=np.int64)  # a stack; the top is at _num_free - 1
        self._num_free = capacity
        self.num_opened = 0

    def __len__(self) -> int:
        return len(self._open) - self._num_free

    def open(self, tasks: np.ndarray, session: int, position: int) -> np.ndarray:
        """Open an assignment for each of k encoded tasks that a session drew at ``position``: ids, uint64 (k,)."""
        count = len(tasks)
        while self._num_free < count:
            self._grow()
        slots = self._free[self._num_free - count : self._num_free][::-1].copy()
        self._num_free -= count
        self._generation[slots] = self._generation[slots] % _GENERATIONS + np.uint32(1)
        self._open[slots] = True
        self._session[slots] = session
        self._position[slots] = position
        self._serial[slots] = np.arange(self.num_opened, self.num_opened + count)
        self._tasks[slots] = tasks
        self.num_opened += count
        return (self._generation[slots].astype(np.uint64) << np.uint64(_SLOT_BITS)) | slots.astype(np.uint64)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """int64 (n,): the slot of each assignment id, or -1 where it is not open. Repeated ids: see ``first``."""
        slots = (ids & _SLOT_MASK).astype(np.int64)
        known = slots < len(self._open)
        slots[~known] = 0
        generation = (ids >> np.uint64(_SLOT_BITS)).astype(np.uint32)
        known &= self._open[slots] & (self._generation[slots] == generation)
        slots[~known] = -1
        return slots

    def first(self, slots: np.ndarray) -> np.ndarray:
        """bool (n,): which rows are the first to name their slot. Slots must not be negative."""
        rows = np.arange(len(slots))
        self._row[slots[::-1]] = rows[::-1]
        return self._row[slots] == rows

    def tasks(self, slots: np.ndarray) -> np.ndarray:
        """(n, *encoded_shape): the encoded tasks of slots."""
        return self._tasks[slots]

    def positions(self, slots: np.ndarray) -> np.ndarray:
        """int64 (n,): how many commands had been applied when the tasks of slots were drawn."""
        return self._position[slots]

    def sessions(self, slots: np.ndarray) -> np.ndarray:
        """int64 (n,): the session index of each slot."""
        return self._session[slots]

    def of_session(self, session: int) -> np.ndarray:
        """The slots that a session holds, in the order in which they were opened. O(slots)."""
        return self._in_order(np.flatnonzero(self._open & (self._session == session)))

    def all_ids(self) -> np.ndarray:
        """uint64: the ids of all open assignments, in the order in which they were opened. O(slots)."""
        slots = self._in_order(np.flatnonzero(self._open))
        return (self._generation[slots].astype(np.uint64) << np.uint64(_SLOT_BITS)) | slots.astype(np.uint64)

    def close(self, slots: np.ndarray) -> None:
        """End the assignments of distinct open slots."""
        self._open[slots] = False
        self._free[self._num_free : self._num_free + len(slots)] = slots
        self._num_free += len(slots)

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        return {
            "generation": self._generation.copy(),
            "open": self._open.copy(),
            "session": self._session.copy(),
            "position": self._position.copy(),
            "serial": self._serial.copy(),
            "tasks": self._tasks.copy(),
            "free": self._free[: self._num_free].copy(),
            "num_opened": self.num_opened,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        self._generation = state["generation"].copy()
        self._open = state["open"].copy()
        self._session = state["session"].copy()
        self._position = state["position"].copy()
        self._serial = state["serial"].copy()
        self._tasks = state["tasks"].copy()
        self._row = np.zeros(len(self._open), np.int64)
        self._free = np.zeros(len(self._open), np.int64)
        self._num_free = len(state["free"])
        self._free[: self._num_free] = state["free"]
        self.num_opened = int(state["num_opened"])

    def _in_order(self, slots: np.ndarray) -> np.ndarray:
        return slots[np.argsort(self._serial[slots], kind="stable")]

    def _grow(self) -> None:
        old = len(self._open)
        for name in ("_generation", "_open", "_session", "_position", "_serial", "_tasks", "_row"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
        free = np.zeros(2 * old, np.int64)
        # The new slots go below the old free ones, so that a slot in use is used again before a new one.
        free[:old] = np.arange(2 * old - 1, old - 1, -1)
        free[old : old + self._num_free] = self._free[: self._num_free]
        self._free = free
        self._num_free += old

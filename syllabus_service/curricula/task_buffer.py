"""A bounded number of slots for the tasks of a space that is too large to hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_service.curricula.ranking import Ranking


class TaskBuffer:
    """Which task each slot holds, which slot a task has, and which tasks are on their way to a first score.

    Tasks go in and out as indices into their space. One that was handed out and has no slot is *expected*, with the
    clock of its draw; a report of a task that has neither a slot nor is expected comes too late, and is of no use. At
    most ``max_expected`` tasks are expected: beyond it the oldest is given up. O(log B) a task, about 30 bytes a slot.

    Args:
        size: number of slots B, at least 1.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.max_expected = max(65_536, size)
        self.tasks = np.full(size, -1, dtype=np.int64)
        """int64 (B,): the task of each slot, -1 where there is none. Read only."""
        self._expected: dict[int, int] = {}
        self._slots = Ranking(self.tasks[:0], self.tasks[:0])

    def slots_of(self, tasks: np.ndarray) -> np.ndarray:
        """int64 (k,): the slot of each task, -1 where it has none."""
        found = np.full(len(tasks), -1, dtype=np.int64)
        if len(self._slots) == 0:
            return found
        places = self._slots.places(tasks, np.full(len(tasks), -1))
        inside = np.flatnonzero(places < len(self._slots))
        there = inside[self._slots.keys_at(places[inside]) == tasks[inside]]
        found[there] = self._slots.at(places[there])
        return found

    def unknown(self, tasks: np.ndarray) -> np.ndarray:
        """bool (k,): which tasks have no slot and are not expected."""
        expected = np.fromiter((task in self._expected for task in tasks.tolist()), dtype=bool, count=len(tasks))
        return (self.slots_of(tasks) < 0) & ~expected

    def expect(self, task: int, drawn_at: int) -> None:
        """Learn that a task without a slot was handed out at a clock."""
        self._expected.pop(task, None)
        self._expected[task] = drawn_at
        if len(self._expected) > self.max_expected:
            del self._expected[next(iter(self._expected))]

    def arrive(self, task: int) -> int | None:
        """Expect a task no more. The clock of its draw, or None where it was not expected."""
        return self._expected.pop(task, None)

    def put(self, tasks: np.ndarray, slots: np.ndarray) -> None:
        """Give distinct slots to distinct tasks, in place of those that have them. int64 (m,) each; O(m log B)."""
        old = self.tasks[slots]
        taken = old >= 0
        self._slots.replace(slots[taken], old[taken], tasks[taken])
        self._slots.insert(slots[~taken], tasks[~taken])
        self.tasks[slots] = tasks

    def state(self) -> dict[str, Any]:
        """Arrays."""
        return {
            "tasks": self.tasks.copy(),
            "expected": np.array(list(self._expected), dtype=np.int64),
            "expected_drawn_at": np.array(list(self._expected.values()), dtype=np.int64),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.tasks = state["tasks"].copy()
        self._expected = dict(zip(state["expected"].tolist(), state["expected_drawn_at"].tolist(), strict=True))
        held = np.flatnonzero(self.tasks >= 0)
        self._slots = Ranking(self.tasks[held], held)

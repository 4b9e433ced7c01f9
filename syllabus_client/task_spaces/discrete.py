"""A finite set of tasks: consecutive integers, or a list of values."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from syllabus_client.task_spaces import values
from syllabus_client.task_spaces.base import (
    MAX_TASKS,
    TaskSpace,
    checked_names,
    is_gymnasium,
    whole_number,
    whole_numbers,
)


class DiscreteTaskSpace(TaskSpace):
    """A finite set of tasks, encoded as ids 0..num_tasks-1.

    Consecutive integers are stored as their first and their number, whatever that is. Of other values equality is
    JSON's: a list and a tuple of equal elements are one task, 1 and 1.0 are, True and 1 are not. Over the wire a tuple
    becomes a list.

    Args:
        tasks: the number of tasks, at most 2**63 - 1; or a ``range`` of step 1; or a list of distinct JSON-able values
            (they need not be hashable); or a ``gymnasium.spaces.Discrete``.
        values_by_id: the tasks as a list, where ``tasks`` only says how many there are, as in Syllabus.
        start: the first integer, where ``tasks`` is a number.
        task_names: one name for each task.

    Raises:
        ValueError: no task, too many, one twice, or not one name for each.
        TypeError: a task that JSON cannot say.

    Cost: O(1) for integers, O(N) for a list. Encoding or decoding k tasks is O(k).

    Example:
        >>> DiscreteTaskSpace(["easy", "hard"]).encode("hard")
        1
        >>> DiscreteTaskSpace(5, start=10).decode(4)
        14
    """

    num_tasks: int

    def __init__(
        self,
        tasks: Any,
        values_by_id: Sequence[Any] | None = None,
        *,
        start: int = 0,
        task_names: Iterable[str] | None = None,
    ) -> None:
        if is_gymnasium(tasks):
            tasks, start = _from_gymnasium(tasks, start)
        if values_by_id is not None:
            if whole_number(tasks) != len(values_by_id):
                raise ValueError(f"tasks: expected their number, {len(values_by_id)}, got {tasks!r}")
            tasks = values_by_id
        self._values: list[Any] | None = None
        if (count := whole_number(tasks)) is not None:
            self.num_tasks, self.start = count, _integer(start, "start")
        elif isinstance(tasks, bool) or not isinstance(tasks, (list, tuple, range, np.ndarray)):
            raise TypeError(f"tasks: expected a number, a range or a list of tasks, got {tasks!r}")
        else:
            self.start, self.num_tasks = 0, len(tasks)
            if start != 0:
                raise ValueError("start: expected only with a number of tasks")
            if (first := _first_of_consecutive(tasks)) is not None:
                self.start = first
            elif self.num_tasks:
                self._values = _distinct(tasks)
        if self.num_tasks < 1:
            raise ValueError(f"tasks: expected at least one, got {self.num_tasks}")
        if self.start + self.num_tasks - 1 > MAX_TASKS:
            raise ValueError(f"tasks: expected integers below 2**63, got {self.num_tasks} from {self.start}")
        self.task_names = checked_names(task_names, self.num_tasks)

    @property
    def is_integer(self) -> bool:
        """Whether the tasks are the integers from ``start``."""
        return self._values is None

    @property
    def tasks(self) -> Sequence[Any]:
        """The decoded tasks by id: a range where they are integers, otherwise a list of one's own."""
        if self._values is None:
            return range(self.start, self.start + self.num_tasks)
        return [values.own(value) for value in self._values]

    def encode_many(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        if self._values is None:
            return self._encode_integers(tasks)
        ids = self._ids
        encoded = np.empty(len(tasks), dtype=np.int64)
        for row, task in enumerate(tasks):
            try:
                encoded[row] = ids[values.key(task)]
            except (KeyError, TypeError, RecursionError) as error:
                raise self._absent(task) from error
        return encoded

    def _encode_integers(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        if isinstance(tasks, range):
            tasks = np.asarray(tasks)
        if not isinstance(tasks, np.ndarray):
            try:
                # A mixed list would lose its bools and floats in a plain conversion.
                tasks = np.array(tasks, dtype=np.int64 if set(map(type, tasks)) <= {int} else object)
            except (OverflowError, ValueError):
                tasks = _objects(tasks)
        if tasks.ndim != 1:
            if len(tasks) == 0:
                return np.empty(0, dtype=np.int64)
            raise self._absent(tasks[0].tolist())
        numbers, valid = whole_numbers(tasks)
        valid &= (numbers >= self.start) & (numbers <= self.start + (self.num_tasks - 1))
        if not valid.all():
            task = tasks[int(np.argmin(valid))]
            raise self._absent(task.item() if isinstance(task, np.generic) else task)
        return numbers - np.int64(self.start)

    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        encoded = self._rows(encoded)
        self._check_encoded(encoded)
        ids = encoded.astype(np.int64)
        if self._values is None:
            return (ids + np.int64(self.start)).tolist()
        return [values.own(self._values[i]) for i in ids.tolist()]

    def contains_encoded(self, encoded: np.ndarray) -> np.ndarray:
        encoded = self._rows(encoded)
        if encoded.dtype == np.int64:  # as they are drawn and travel; what is negative is beyond any number of tasks
            return encoded.view(np.uint64) < self.num_tasks
        ids, valid = whole_numbers(encoded)
        return valid & (ids >= 0) & (ids < self.num_tasks)

    def sample(self, k: int, rng: np.random.Generator) -> np.ndarray:
        if k == 1:  # the same number from the same generator as below, in a quarter of the time
            return np.array([rng.integers(0, self.num_tasks)])
        return rng.integers(0, self.num_tasks, size=k)

    @cached_property
    def _ids(self) -> dict[Any, int]:
        """Id by key; made when first a task is encoded, which a service seldom does."""
        return {values.key(value): i for i, value in enumerate(self._values or ())}

    def _same_tasks(self, other: Self) -> bool:
        if self._values is None or other._values is None:
            same_kind = self._values is None and other._values is None
            return same_kind and (self.start, self.num_tasks) == (other.start, other.num_tasks)
        if self.num_tasks != other.num_tasks:
            return False
        return all(values.key(a) == values.key(b) for a, b in zip(self._values, other._values, strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._repr_tasks()})"

    def _repr_tasks(self) -> str:
        if self._values is not None:
            return reprlib.repr(self._values)
        return str(self.num_tasks) if self.start == 0 else f"range({self.start}, {self.start + self.num_tasks})"


def _first_of_consecutive(tasks: Sequence[Any] | np.ndarray) -> int | None:
    """The first of consecutive integers, None of anything else."""
    if isinstance(tasks, range):
        if len(tasks) and tasks.step != 1:
            return None
        return tasks.start
    if len(tasks) == 0:
        return None
    if isinstance(tasks, np.ndarray):
        consecutive = tasks.ndim == 1 and tasks.dtype.kind in "iu" and bool((tasks[1:] == tasks[:-1] + 1).all())
        return int(tasks[0]) if consecutive else None
    first = tasks[0]
    if type(first) is not int or not all(type(task) is int and task == first + i for i, task in enumerate(tasks)):
        return None
    return first if whole_number(first) is not None else None


def _distinct(tasks: Sequence[Any] | np.ndarray) -> list[Any]:
    """The tasks as plain values of one's own. Raises ValueError naming one that is there twice."""
    plain: list[Any] = []
    seen: dict[Any, int] = {}
    for i, task in enumerate(tasks):
        try:
            value = values.own(values.plain(task))
            previous = seen.setdefault(values.key(value), i)
        except (TypeError, RecursionError) as error:
            raise TypeError(f"tasks[{i}]: {error}") from error
        if previous != i:
            raise ValueError(f"tasks[{i}]: {reprlib.repr(task)} is there already, as tasks[{previous}]")
        plain.append(value)
    return plain


def _integer(value: Any, field: str) -> int:
    number = whole_number(value)
    if number is None:
        raise ValueError(f"{field}: expected an integer of 64 bits, got {value!r}")
    return number


def _from_gymnasium(space: Any, start: int) -> tuple[int, int]:
    from gymnasium import spaces

    if not isinstance(space, spaces.Discrete):
        raise TypeError(f"tasks: expected a gymnasium Discrete space, got {space}; task_space() takes others")
    return int(space.n), start or int(space.start)


def _objects(tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
    """A one-dimensional array of the very elements, whatever they are."""
    array = np.empty(len(tasks), dtype=object)
    for row, task in enumerate(tasks):
        array[row] = task
    return array

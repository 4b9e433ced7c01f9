"""The interface of a task space."""

from __future__ import annotations

import copy
import reprlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from syllabus_client.wire import curriculum_pb2 as pb

MAX_TASKS = 2**63 - 1
"""Most tasks of an enumerable space: ids are int64."""


class TaskNotInSpaceError(ValueError):
    """A task, or an encoded task, is not in the space."""


class TaskSpace(ABC):
    """A set of tasks.

    An *encoded* task is what travels and what curricula see: an int64 scalar 0..num_tasks-1 for most enumerable spaces,
    an array of ``encoded_shape`` and ``encoded_dtype`` in general. A *decoded* task is what the environment's
    ``reset(new_task=...)`` takes.

    Spaces are values: immutable, picklable, and equal where they hold the same tasks under the same encoding and names.

    Attributes:
        encoded_shape: shape of one encoded task; ``()`` for an id.
        encoded_dtype: its dtype.
        num_tasks: number of tasks N, or None where they cannot be enumerated.
        task_names: names by id, or None.
    """

    encoded_shape: tuple[int, ...] = ()
    encoded_dtype: np.dtype = np.dtype(np.int64)
    num_tasks: int | None = None
    task_names: tuple[str, ...] | None = None

    @abstractmethod
    def encode_many(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Encode k tasks as an array (k, *encoded_shape).

        Raises TaskNotInSpaceError, naming the first task that is not in the space.
        """

    @abstractmethod
    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        """Decode an array (k, *encoded_shape) into k tasks, which are the caller's own to change.

        Raises TaskNotInSpaceError, naming the first encoded task that is not in the space.
        """

    @abstractmethod
    def contains_encoded(self, encoded: np.ndarray) -> np.ndarray:
        """bool (k,): which rows of an array (k, *encoded_shape) encode a task of this space."""

    @abstractmethod
    def sample(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """Draw k encoded tasks uniformly with ``rng``: (k, *encoded_shape)."""

    def to_index(self, encoded: np.ndarray) -> np.ndarray:
        """int64 (k,): position in 0..num_tasks-1 of each encoded task. The identity where an encoded task is an id.

        Raises TypeError where the space is not enumerable.
        """
        if self.num_tasks is None:
            raise TypeError(f"{type(self).__name__} is not enumerable")
        return encoded

    def from_index(self, index: np.ndarray) -> np.ndarray:
        """The inverse of ``to_index``."""
        if self.num_tasks is None:
            raise TypeError(f"{type(self).__name__} is not enumerable")
        return index

    def encode(self, task: Any) -> Any:
        """Encode one task: an int where the encoding is an id, otherwise an array of ``encoded_shape``."""
        encoded = self.encode_many([task])[0]
        return int(encoded) if self.encoded_shape == () and self.encoded_dtype.kind in "iu" else encoded

    def decode(self, encoded: Any) -> Any:
        """Decode one task."""
        return self.decode_many(np.asarray(encoded)[np.newaxis])[0]

    def contains(self, task: Any) -> bool:
        """Whether ``task``, decoded, is in the space."""
        try:
            self.encode_many([task])
        except TaskNotInSpaceError:
            return False
        return True

    def task_name(self, encoded: Any) -> str:
        """A human name of an encoded task: its name where the space has names, otherwise the decoded task's text."""
        task = self.decode(encoded)
        if self.task_names is None:
            return str(task)
        return self.task_names[int(self.to_index(np.asarray(encoded)[np.newaxis])[0])]

    def named(self, task_names: Iterable[str] | None) -> Self:
        """The same space with these names, one for each task. Raises ValueError for another number of them."""
        space = copy.copy(self)
        space.task_names = checked_names(task_names, self.num_tasks)
        return space

    def to_proto(self) -> pb.TaskSpace:
        """The space as a message. Raises TypeError for a space of a class that the contract does not know."""
        from syllabus_client.task_spaces import message

        return message.to_message(self)

    @staticmethod
    def from_proto(space: pb.TaskSpace, field: str = "task_space") -> TaskSpace:
        """The space that a message describes.

        Args:
            space: a message from anybody; nothing of it is trusted.
            field: path of the message, for errors.

        Raises:
            InvalidFieldError: what the message describes is not a space; names the field.
        """
        from syllabus_client.task_spaces import message

        return message.from_message(space, field)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or not isinstance(other, TaskSpace):
            return NotImplemented
        return self.task_names == other.task_names and self._same_tasks(other)

    def __hash__(self) -> int:
        return hash((type(self).__qualname__, self.num_tasks, self.encoded_shape))

    def _same_tasks(self, other: Self) -> bool:
        """Whether a space of the same class holds the same tasks under the same encoding."""
        return False

    def _absent(self, task: Any, what: str = "task") -> TaskNotInSpaceError:
        return TaskNotInSpaceError(f"{what} {reprlib.repr(task)} is not in {self!r}")

    def _check_encoded(self, encoded: np.ndarray) -> None:
        """Raise TaskNotInSpaceError unless all rows are encoded tasks."""
        inside = self.contains_encoded(encoded)
        if not inside.all():
            raise self._absent(np.asarray(encoded)[int(np.argmin(inside))].tolist(), "encoded task")

    def _rows(self, encoded: np.ndarray) -> np.ndarray:
        """``encoded`` as an array. Raises TaskNotInSpaceError unless it is (k, *encoded_shape)."""
        encoded = np.asarray(encoded)
        if encoded.ndim == 0 or encoded.shape[1:] != self.encoded_shape:
            expected = ["k", *self.encoded_shape]
            raise TaskNotInSpaceError(f"encoded tasks: expected shape {expected}, got {list(encoded.shape)}")
        return encoded


def is_gymnasium(value: Any) -> bool:
    """Whether ``value`` is a gymnasium space. Imports nothing: who has none has not imported gymnasium either."""
    spaces = sys.modules.get("gymnasium.spaces")
    return spaces is not None and isinstance(value, spaces.Space)


def checked_names(names: Iterable[str] | None, num_tasks: int | None) -> tuple[str, ...] | None:
    """Names as a tuple. Raises ValueError unless there is one for each task."""
    if names is None:
        return None
    names = tuple(names)
    if len(names) != num_tasks:
        counted = "that cannot be enumerated" if num_tasks is None else f"of {num_tasks} tasks"
        raise ValueError(f"task_names: expected one for each task of a space {counted}, got {len(names)}")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("task_names: expected strings")
    return names


def whole_numbers(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 array, bool array): the elements as integers, 0 where they are none, and which of them are.

    Booleans are no numbers here. O(size).
    """
    if array.dtype.kind == "i":
        return array.astype(np.int64, copy=False), np.ones(array.shape, dtype=bool)
    if array.dtype.kind == "u":
        valid = array <= np.uint64(MAX_TASKS)
    elif array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            valid = (np.floor(array) == array) & (np.abs(array) < 2.0**63)
    elif array.dtype.kind == "O":
        numbers = [whole_number(value) for value in array.ravel()]
        valid = np.array([number is not None for number in numbers], dtype=bool).reshape(array.shape)
        return np.array([number or 0 for number in numbers], dtype=np.int64).reshape(array.shape), valid
    else:
        valid = np.zeros(array.shape, dtype=bool)
        return np.zeros(array.shape, dtype=np.int64), valid
    return np.where(valid, array, np.zeros((), dtype=array.dtype)).astype(np.int64), valid


def whole_number(value: Any) -> int | None:
    """``value`` as an int, where it is a whole number (not a bool) that int64 holds."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    return None

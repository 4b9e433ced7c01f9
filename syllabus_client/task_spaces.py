"""Task spaces: which tasks there are, and how each travels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np


class TaskNotInSpaceError(ValueError):
    """A task, or an encoded task, is not in the space."""


class TaskSpace(ABC):
    """A set of tasks.

    An *encoded* task is what travels and what curricula see: an int64 scalar 0..num_tasks-1 for most enumerable spaces,
    an array of ``encoded_shape`` and ``encoded_dtype`` in general. A *decoded* task is what the environment's
    ``reset(new_task=...)`` takes.

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
    def encode_many(self, tasks: Sequence[Any]) -> np.ndarray:
        """Encode k tasks as an array (k, *encoded_shape).

        Raises TaskNotInSpaceError, naming the first task that is not in the space.
        """

    @abstractmethod
    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        """Decode an array (k, *encoded_shape) into k tasks.

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
        return self.decode_many(np.asarray(encoded, dtype=self.encoded_dtype)[np.newaxis])[0]

    def contains(self, task: Any) -> bool:
        """Whether ``task``, decoded, is in the space."""
        try:
            self.encode_many([task])
        except TaskNotInSpaceError:
            return False
        return True

    def task_name(self, encoded: Any) -> str:
        """A human name of an encoded task: its name where the space has names, otherwise the decoded task's text."""
        if self.task_names is not None:
            return self.task_names[int(self.to_index(np.asarray(encoded)[np.newaxis])[0])]
        return str(self.decode(encoded))

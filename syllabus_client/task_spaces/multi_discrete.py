"""The product of finite sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np

from syllabus_client.task_spaces.base import MAX_TASKS, TaskNotInSpaceError, TaskSpace, checked_names, whole_numbers
from syllabus_client.task_spaces.discrete import DiscreteTaskSpace


class MultiDiscreteTaskSpace(TaskSpace):
    """The product of m finite sets. A decoded task is a tuple of one task of each.

    Args:
        components: the sets: ``DiscreteTaskSpace``, or what makes one (a number, a range, a list of tasks).
        encoding: ``"flat"``: one id 0..num_tasks-1, in which the last component varies fastest; ``"tuple"``: an int64
            vector (m,), one id for each component.
        task_names: one name for each element of the product, by flat id.

    Raises ValueError for no component, or more than 2**63 - 1 elements. Cost: O(m) to make; O(k m) for k tasks.

    Example:
        >>> MultiDiscreteTaskSpace([["a", "b"], 3]).encode(("b", 1))
        4
    """

    num_tasks: int

    def __init__(
        self,
        components: Iterable[Any],
        encoding: Literal["flat", "tuple"] = "flat",
        *,
        task_names: Iterable[str] | None = None,
    ) -> None:
        self.components = tuple(_component(i, component) for i, component in enumerate(components))
        if encoding not in ("flat", "tuple"):
            raise ValueError(f"encoding: expected 'flat' or 'tuple', got {encoding!r}")
        self.encoding = encoding
        self.num_tasks = product_size([component.num_tasks for component in self.components])
        self.encoded_shape = () if encoding == "flat" else (len(self.components),)
        self.task_names = checked_names(task_names, self.num_tasks)

    @property
    def _sizes(self) -> list[int]:
        return [component.num_tasks for component in self.components]

    def encode_many(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        columns = product_columns(self, tasks, len(self.components))
        try:
            ids = [component.encode_many(column) for component, column in zip(self.components, columns, strict=True)]
        except TaskNotInSpaceError as error:
            raise first_absent(self, self.components, tasks) from error
        vectors = np.stack(ids, axis=1)
        return flat_ids(vectors, self._sizes) if self.encoding == "flat" else vectors

    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        encoded = self._rows(encoded)
        self._check_encoded(encoded)
        ids = encoded.astype(np.int64)
        vectors = id_vectors(ids, self._sizes) if self.encoding == "flat" else ids
        columns = [component.decode_many(vectors[:, i]) for i, component in enumerate(self.components)]
        return list(zip(*columns, strict=True))

    def contains_encoded(self, encoded: np.ndarray) -> np.ndarray:
        ids, valid = whole_numbers(self._rows(encoded))
        if self.encoding == "flat":
            return valid & (ids >= 0) & (ids < self.num_tasks)
        inside: np.ndarray = valid & (ids >= 0) & (ids < np.array(self._sizes))
        return np.logical_and.reduce(inside, axis=1)

    def sample(self, k: int, rng: np.random.Generator) -> np.ndarray:
        return self.from_index(rng.integers(0, self.num_tasks, size=k))

    def to_index(self, encoded: np.ndarray) -> np.ndarray:
        return encoded if self.encoding == "flat" else flat_ids(encoded, self._sizes)

    def from_index(self, index: np.ndarray) -> np.ndarray:
        return index if self.encoding == "flat" else id_vectors(index, self._sizes)

    def _same_tasks(self, other: Self) -> bool:
        return self.encoding == other.encoding and self.components == other.components

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.components)}, {self.encoding!r})"


def _component(i: int, component: Any) -> DiscreteTaskSpace:
    space = component if isinstance(component, DiscreteTaskSpace) else DiscreteTaskSpace(component)
    if type(space) is not DiscreteTaskSpace:
        raise TypeError(f"components[{i}]: expected a DiscreteTaskSpace, got {space!r}")
    if space.task_names is not None:
        raise ValueError(f"components[{i}]: expected no task_names; name the elements of the product")
    return space


def product_size(sizes: Sequence[int]) -> int:
    """The number of elements of a product. Raises ValueError, naming ``components``, unless it is in 1..2**63-1."""
    if not sizes:
        raise ValueError("components: expected at least one")
    size = math.prod(sizes)
    if size > MAX_TASKS:
        raise ValueError(f"components: expected a product of at most 2**63 - 1 tasks, got {size}")
    return size


def product_columns(space: TaskSpace, tasks: Sequence[Any] | np.ndarray, width: int) -> Sequence[Any]:
    """The tasks of a product as one column for each component. Raises TaskNotInSpaceError for another width."""
    if isinstance(tasks, np.ndarray) and tasks.ndim == 2 and tasks.shape[1] == width:
        return [tasks[:, i] for i in range(width)]
    for task in tasks:
        if (
            not isinstance(task, (tuple, list, np.ndarray))
            or (isinstance(task, np.ndarray) and task.ndim == 0)
            or len(task) != width
        ):
            raise space._absent(task)
    return list(zip(*tasks, strict=True)) if len(tasks) else [()] * width


def first_absent(space: TaskSpace, components: Sequence[TaskSpace], tasks: Iterable[Any]) -> TaskNotInSpaceError:
    """The error for the first task of which some component does not contain its part."""
    for task in tasks:
        if not all(component.contains(part) for component, part in zip(components, task, strict=True)):
            return space._absent(task)
    return space._absent(list(tasks))


def flat_ids(vectors: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """int64 (k,): place in the product, last component fastest, of id vectors (k, m)."""
    flat = np.zeros(len(vectors), dtype=np.int64)
    for i, size in enumerate(sizes):
        flat *= size
        flat += vectors[:, i]
    return flat


def id_vectors(flat: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """int64 (k, m): the inverse of ``flat_ids``."""
    vectors = np.empty((len(flat), len(sizes)), dtype=np.int64)
    rest = np.asarray(flat, dtype=np.int64)
    for i in reversed(range(len(sizes))):
        rest, vectors[:, i] = np.divmod(rest, sizes[i])
    return vectors

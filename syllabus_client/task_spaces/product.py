"""The product of task spaces of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from syllabus_client.task_spaces.base import TaskNotInSpaceError, TaskSpace, checked_names, whole_numbers
from syllabus_client.task_spaces.box import BoxTaskSpace, cast
from syllabus_client.task_spaces.multi_discrete import (
    first_absent,
    flat_ids,
    id_vectors,
    product_columns,
    product_size,
)

_EXACT = 2**53  # integers up to here are float64 numbers


class TupleTaskSpace(TaskSpace):
    """The product of m spaces. A decoded task is a tuple of one task of each.

    Where every component is enumerable, so is the product, and a task is encoded as one id, in which the last component
    varies fastest. Otherwise it is encoded as one float64 vector: the components' encodings, flattened, one after the
    other.

    Args:
        components: the spaces, or what ``task_space`` takes.
        task_names: one name for each task, by id, where the product is enumerable.

    Raises ValueError for no component, more than 2**63 - 1 tasks, or a component that a float64 vector cannot hold
    (ids or integers beyond 2**53). Cost: O(k m) for k tasks.

    Example:
        >>> TupleTaskSpace([["a", "b"], 3]).decode(4)
        ('b', 1)
    """

    def __init__(self, components: Iterable[Any], *, task_names: Iterable[str] | None = None) -> None:
        from syllabus_client.task_spaces.convert import task_space

        self.components = tuple(task_space(component) for component in components)
        self._widths = [math.prod(component.encoded_shape) for component in self.components]
        sizes = [component.num_tasks for component in self.components]
        counts = [size for size in sizes if size is not None]
        if len(counts) == len(sizes):
            self.num_tasks = product_size(counts)
        else:
            for i, component in enumerate(self.components):
                _check_exact(i, component)
            self.encoded_shape = (sum(self._widths),)
            self.encoded_dtype = np.dtype(np.float64)
        self._sizes = counts
        self.task_names = checked_names(task_names, self.num_tasks)

    def encode_many(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        columns = product_columns(self, tasks, len(self.components))
        try:
            parts = [component.encode_many(column) for component, column in zip(self.components, columns, strict=True)]
        except TaskNotInSpaceError as error:
            raise first_absent(self, self.components, tasks) from error
        if self.num_tasks is not None:
            return self._join_ids(parts)
        rows = len(tasks)
        flat = [part.reshape(rows, width) for part, width in zip(parts, self._widths, strict=True)]
        return np.concatenate(flat, axis=1, dtype=np.float64)

    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        encoded = self._rows(encoded)
        self._check_encoded(encoded)
        columns = [
            component.decode_many(part)
            for component, part in zip(self.components, self.split_encoded(encoded), strict=True)
        ]
        return list(zip(*columns, strict=True))

    def split_encoded(self, encoded: np.ndarray) -> list[np.ndarray]:
        """The encoded tasks of each component, (k, *its encoded_shape), of encoded tasks of the product."""
        if self.num_tasks is not None:
            vectors = id_vectors(encoded, self._sizes)
            return [component.from_index(vectors[:, i]) for i, component in enumerate(self.components)]
        parts = np.split(encoded, np.cumsum(self._widths)[:-1], axis=1)
        return [
            part.reshape(-1, *component.encoded_shape).astype(component.encoded_dtype)
            for component, part in zip(self.components, parts, strict=True)
        ]

    def join_encoded(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The inverse of ``split_encoded``."""
        if self.num_tasks is not None:
            return self._join_ids(parts)
        rows = len(parts[0])
        flat = [np.reshape(part, (rows, width)) for part, width in zip(parts, self._widths, strict=True)]
        return np.concatenate(flat, axis=1, dtype=np.float64)

    def contains_encoded(self, encoded: np.ndarray) -> np.ndarray:
        encoded = self._rows(encoded)
        if self.num_tasks is not None:
            ids, valid = whole_numbers(encoded)
            return valid & (ids >= 0) & (ids < self.num_tasks)
        try:
            rows, finite = cast(encoded, self.encoded_dtype)
        except TypeError:
            return np.zeros(len(encoded), dtype=bool)
        inside: np.ndarray = np.logical_and.reduce(finite, axis=1)
        parts = np.split(rows, np.cumsum(self._widths)[:-1], axis=1)
        for component, part in zip(self.components, parts, strict=True):
            values, exact = cast(part, component.encoded_dtype)
            # What a component cannot hold exactly would not be the same task after decoding.
            inside &= np.logical_and.reduce(exact & (values == part), axis=1)
            inside &= component.contains_encoded(values.reshape(len(rows), *component.encoded_shape))
        return inside

    def sample(self, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.num_tasks is not None:
            return rng.integers(0, self.num_tasks, size=k)
        return self.join_encoded([component.sample(k, rng) for component in self.components])

    def _join_ids(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        ids = [component.to_index(part) for component, part in zip(self.components, parts, strict=True)]
        return flat_ids(np.stack(ids, axis=1), self._sizes)

    def _same_tasks(self, other: Self) -> bool:
        return self.components == other.components

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.components)})"


def _check_exact(i: int, component: TaskSpace) -> None:
    if isinstance(component, BoxTaskSpace) and component.encoded_dtype.kind in "iu":
        largest = max(abs(int(component.low.min())), abs(int(component.high.max())))
    else:
        largest = component.num_tasks or 0
    if largest > _EXACT:
        raise ValueError(f"components[{i}]: expected integers up to 2**53 beside a box, got {largest}")

"""Arrays between two bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from syllabus_client.task_spaces.base import TaskSpace, is_gymnasium


class BoxTaskSpace(TaskSpace):
    """Arrays of one shape and dtype between two bounds, inclusive; encoded as themselves. Not enumerable.

    Args:
        low: lower bounds; or a ``gymnasium.spaces.Box``, whose bounds, shape and dtype are taken.
        high: upper bounds; low and high broadcast against each other and ``shape``.
        shape: of a task; None: that of the bounds.
        dtype: a float or integer dtype of at most 64 bits. None: that of the bounds where both are numpy arrays of one
            dtype, otherwise float64.

    Attributes:
        low, high: the bounds, of shape and dtype of a task; read-only.

    Raises ValueError, naming the argument, for low > high, bounds that are not finite, no element, another dtype.

    Example:
        >>> BoxTaskSpace([-1.0, 0.0], 1.0).contains([0.5, 2.0])
        False
    """

    def __init__(
        self,
        low: ArrayLike | Any,
        high: ArrayLike | None = None,
        *,
        shape: Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if is_gymnasium(low):
            if not hasattr(low, "low"):
                raise TypeError(f"low: expected a gymnasium Box space, got {low}; task_space() takes others")
            low, high, dtype = low.low, low.high, low.dtype if dtype is None else dtype
        if high is None:
            raise ValueError("high: expected upper bounds")
        self.encoded_dtype = _box_dtype(low, high, dtype)
        wanted = () if shape is None else tuple(shape)
        try:
            bounds = np.broadcast_arrays(low, high, np.empty(wanted))[:2]
        except ValueError as error:
            raise ValueError(f"low, high: expected shapes that broadcast against each other: {error}") from error
        if shape is not None and bounds[0].shape != wanted:
            raise ValueError(f"shape: expected that of the bounds, {bounds[0].shape}, got {wanted}")
        if bounds[0].size == 0:
            raise ValueError("low: expected at least one element")
        self.encoded_shape = bounds[0].shape
        self.low = _bound(bounds[0], self.encoded_dtype, "low")
        self.high = _bound(bounds[1], self.encoded_dtype, "high")
        if (self.low > self.high).any():
            raise ValueError(f"low: expected at most high, got {self.low.tolist()} > {self.high.tolist()}")

    def encode_many(self, tasks: Sequence[Any] | np.ndarray) -> np.ndarray:
        if len(tasks) == 0:
            return np.empty((0, *self.encoded_shape), dtype=self.encoded_dtype)
        try:
            encoded, exact = cast(np.asarray(tasks), self.encoded_dtype)
        except (ValueError, TypeError):  # ragged, or no numbers: find which
            for task in tasks:
                if not _is_numeric(task) or np.shape(task) != self.encoded_shape:
                    raise self._absent(task) from None
            raise
        if encoded.shape != (len(tasks), *self.encoded_shape):
            raise self._absent(tasks[0])
        inside = self._between(encoded) & _all_of_row(exact)
        if not inside.all():
            raise self._absent(tasks[int(np.argmin(inside))])
        return encoded

    def decode_many(self, encoded: np.ndarray) -> list[Any]:
        encoded = self._rows(encoded)
        self._check_encoded(encoded)
        return list(np.array(encoded, dtype=self.encoded_dtype))

    def contains_encoded(self, encoded: np.ndarray) -> np.ndarray:
        rows = self._rows(encoded)
        try:
            values, exact = cast(rows, self.encoded_dtype)
        except TypeError:
            return np.zeros(len(rows), dtype=bool)
        return self._between(values) & _all_of_row(exact)

    def _between(self, values: np.ndarray) -> np.ndarray:
        return _all_of_row((values >= self.low) & (values <= self.high))  # False for NaN

    def sample(self, k: int, rng: np.random.Generator) -> np.ndarray:
        shape = (k, *self.encoded_shape)
        if self.encoded_dtype.kind in "iu":
            return rng.integers(self.low, self.high, size=shape, dtype=self.encoded_dtype, endpoint=True)
        share = rng.random(shape)
        # Not low + share * (high - low): the difference may overflow.
        values = (1.0 - share) * self.low + share * self.high
        return np.clip(values.astype(self.encoded_dtype), self.low, self.high)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The encoded tasks (k, *encoded_shape) nearest to finite numbers of that shape: rounded, and in the box."""
        values = np.asarray(values, dtype=np.float64)
        above, below = values >= self.high, values <= self.low
        rounded = np.rint(values) if self.encoded_dtype.kind in "iu" else values
        inner = np.where(above | below, self.low, rounded.astype(self.encoded_dtype))
        return np.clip(np.where(above, self.high, inner), self.low, self.high)

    def _same_tasks(self, other: Self) -> bool:
        same = self.encoded_dtype == other.encoded_dtype and self.encoded_shape == other.encoded_shape
        return same and np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)

    def __repr__(self) -> str:
        low, high = (
            bound.flat[0].item() if (bound == bound.flat[0]).all() else bound.tolist()
            for bound in (self.low, self.high)
        )
        return f"{type(self).__name__}({low}, {high}, shape={self.encoded_shape}, dtype={self.encoded_dtype.name!r})"


def cast(array: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """(array of ``dtype``, bool array): the elements, and which of them survived.

    An integer survives where it is whole and in range; a float is rounded, and survives unless that makes it infinite.
    NaN and bool never do. Raises TypeError for what are no numbers.
    """
    if array.dtype == dtype:
        return array, np.isfinite(array) if dtype.kind == "f" else np.ones(array.shape, dtype=bool)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"expected numbers, got {array.dtype}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = array.astype(dtype)
        return values, np.isfinite(values)
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f":
        # As floats the limits may round up to a power of two, so the upper one is exclusive.
        exact = (np.floor(array) == array) & (array >= float(limits.min)) & (array < float(limits.max) + 1.0)
    else:
        exact = (array >= limits.min) & (array <= limits.max)
    return np.where(exact, array, np.zeros((), dtype=array.dtype)).astype(dtype), exact


def _all_of_row(flags: np.ndarray) -> np.ndarray:
    """bool (k,): whether all flags (k, ...) of a row are set."""
    return np.logical_and.reduce(flags, axis=tuple(range(1, flags.ndim)))


def _box_dtype(low: Any, high: Any, dtype: DTypeLike | None) -> np.dtype:
    if dtype is None:
        arrays = isinstance(low, np.ndarray) and isinstance(high, np.ndarray) and low.dtype == high.dtype
        dtype = low.dtype if arrays else np.float64
    found = np.dtype(dtype).newbyteorder("=")
    if found.kind not in "fiu" or found.itemsize > 8:
        raise ValueError(f"dtype: expected a float or integer dtype of at most 64 bits, got {found}")
    return found


def _bound(bound: np.ndarray, dtype: np.dtype, field: str) -> np.ndarray:
    try:
        values, exact = cast(bound, dtype)
    except TypeError as error:
        raise ValueError(f"{field}: {error}") from error
    if not exact.all():
        raise ValueError(f"{field}: expected finite numbers of dtype {dtype.name}, got {bound.tolist()}")
    own: np.ndarray = values.copy()
    own.flags.writeable = False
    return own


def _is_numeric(task: Any) -> bool:
    try:
        return np.asarray(task).dtype.kind in "fiu"
    except ValueError:
        return False

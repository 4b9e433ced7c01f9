"""Large arrays in blocks, so that what comes and goes in a computation over N tasks stays small whatever N is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 15  # 256 KiB of float64: a few of them stay in a core's cache


def blocks(size: int) -> Iterator[slice]:
    """Consecutive slices of 0..size-1; one, which is empty, where size is 0."""
    for start in range(0, max(size, 1), _BLOCK):
        yield slice(start, min(start + _BLOCK, size))


def standard_deviation(array: np.ndarray) -> float:
    """``array.std()`` of float64 (n,), n > 0, to the bit, without another array of n elements. O(n)."""
    return float(np.sqrt(_squares(array, array.mean()) / len(array)))


def _squares(array: np.ndarray, mean: float) -> float:
    """The sum of ``(array - mean) ** 2``, added in the order in which numpy adds such an array: pairwise."""
    if len(array) <= _BLOCK:
        deviation = array - mean
        deviation *= deviation
        return float(deviation.sum())
    half = len(array) // 2
    half -= half % 8
    return _squares(array[:half], mean) + _squares(array[half:], mean)


def keep(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``array[mask]``, in the place of the array's first elements: a view. O(n)."""
    kept = 0
    for at in blocks(len(array)):
        part = array[at][mask[at]]
        array[kept : kept + len(part)] = part
        kept += len(part)
    return array[:kept]


def put_back(array: np.ndarray, mask: np.ndarray) -> None:
    """The inverse of ``keep``: each of the first elements where ``mask`` is, 0 elsewhere. O(n)."""
    left = int(np.count_nonzero(mask))
    for at in reversed(list(blocks(len(array)))):
        chosen = mask[at]
        part = np.zeros(len(chosen))
        count = int(np.count_nonzero(chosen))
        part[chosen] = array[left - count : left]
        array[at] = part
        left -= count

"""A histogram that is cheap to count into; prometheus-client's own takes a lock for each observation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Self


class Histogram:
    """Counts of values by bucket, and their sum. One writer at a time; read without a lock, a little torn.

    Args:
        bounds: upper bounds of the buckets, inclusive, ascending; above the last one there is one more.

    Example:
        >>> sizes = Histogram((1, 10))
        >>> for size in (1, 5, 500):
        ...     sizes.observe(size)
        >>> sizes.buckets(), sizes.total
        ([('1', 1.0), ('10', 2.0), ('+Inf', 3.0)], 506.0)
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of the values."""

    @classmethod
    def of(cls, bounds: tuple[float, ...], counts: Sequence[int], total: float) -> Self:
        """What another process has counted. Raises ValueError where its buckets are others."""
        if len(counts) != len(bounds) + 1:
            raise ValueError(f"expected {len(bounds) + 1} buckets, got {len(counts)}")
        histogram = cls(bounds)
        histogram._counts, histogram.total = list(counts), total
        return histogram

    @property
    def counts(self) -> Sequence[int]:
        """Count of each bucket alone."""
        return tuple(self._counts)

    def observe(self, value: float) -> None:
        """Count a value. O(log buckets)."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and cumulative count of each bucket, as Prometheus has them."""
        names = [*(format(bound, "g") for bound in self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))

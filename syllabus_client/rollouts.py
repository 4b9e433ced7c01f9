"""Rollouts: what a trainer tells of its rollouts, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from syllabus_client.metric_values import as_array


@dataclass(frozen=True)
class Rollouts:
    """Columns of n rollouts."""

    indices: np.ndarray
    """int64 (n,): rows of the dataset."""
    rewards: np.ndarray
    """float64 (n,)."""
    progress: np.ndarray
    """float64 (n,): in [0, 1]."""
    lengths: np.ndarray
    """int64 (n,): at least 0."""
    metrics: dict[str, np.ndarray]
    """float64 (n,) each, by name."""

    @classmethod
    def read(
        cls,
        num_tasks: int,
        indices: Any,
        rewards: Any,
        progress: Any = None,
        lengths: Any = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Self:
        """Columns of what a trainer has; see ``CurriculumSampler.report``. Raises ValueError, naming the argument."""
        rows = _numbers("indices", indices, "iu", None).astype(np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < num_tasks:
            raise ValueError(f"indices: expected 0 to {num_tasks - 1}, got {rows.min()} to {rows.max()}")
        returns = _numbers("rewards", rewards, "biuf", len(rows)).astype(np.float64)
        if not np.isfinite(returns).all():
            raise ValueError("rewards: expected finite numbers")
        completion = np.clip(returns, 0.0, 1.0)
        if progress is not None:
            completion = _numbers("progress", progress, "biuf", len(rows)).astype(np.float64)
            if not ((completion >= 0.0) & (completion <= 1.0)).all():
                raise ValueError("progress: expected numbers in [0, 1]")
        sizes = np.ones(len(rows), np.int64)
        if lengths is not None:
            sizes = _numbers("lengths", lengths, "iu", len(rows)).astype(np.int64)
            if (sizes < 0).any():
                raise ValueError(f"lengths: expected at least 0, got {sizes.min()}")
        extras = {
            name: _numbers(name, each, "biuf", len(rows)).astype(np.float64) for name, each in (metrics or {}).items()
        }
        return cls(rows, returns, completion, sizes, extras)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """One after the other. A metric that a part does not have is NaN there."""

        def column(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        extras = {
            name: np.concatenate([part.metrics.get(name, np.full(len(part.indices), np.nan)) for part in parts])
            for name in sorted({name for part in parts for name in part.metrics})
        }
        return cls(column("indices"), column("rewards"), column("progress"), column("lengths"), extras)


def _numbers(name: str, values: Any, kinds: str, rows: int | None) -> np.ndarray:
    array = as_array(values)
    if array is not None and array.size == 0:
        array = np.zeros(0, np.int64)
    if array is None or array.dtype.kind not in kinds or array.ndim != 1 or rows not in (None, len(array)):
        expected = "whole numbers" if kinds == "iu" else "numbers"
        told = type(values).__name__ if array is None else f"{array.dtype} of shape {list(array.shape)}"
        raise ValueError(f"{name}: expected {expected}, (n,) or as many as indices, got {told}")
    return array

"""The mean of the last returns."""

from __future__ import annotations

from typing import Any

import numpy as np


class ReturnWindow:
    """Mean of the last ``size`` returns; 0 when there are none.

    The sum is carried from one return to the next and computed anew each time the window has been filled once more, so
    that rounding does not add up. Cost: amortised O(1) a return; 8 bytes for each of the returns held.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._returns: list[float] = []
        self._next = 0
        self._sum = 0.0

    def extend(self, returns: np.ndarray) -> np.ndarray:
        """Take returns (n,) in their order. float64 (n,): the mean after each of them."""
        means = np.empty(len(returns))
        for row, value in enumerate(returns.tolist()):
            if len(self._returns) < self.size:
                self._returns.append(value)
                self._sum += value
            else:
                self._sum += value - self._returns[self._next]
                self._returns[self._next] = value
                self._next += 1
                if self._next == self.size:
                    self._next = 0
                    self._sum = float(np.sum(self._returns))
            means[row] = self._sum / len(self._returns)
        return means

    @property
    def mean(self) -> float:
        return self._sum / len(self._returns) if self._returns else 0.0

    def clear(self) -> None:
        self.state = {"returns": np.empty(0), "next": 0, "sum": 0.0}

    @property
    def state(self) -> dict[str, Any]:
        """All of it but the size, as arrays and plain values."""
        return {"returns": np.array(self._returns, dtype=np.float64), "next": self._next, "sum": self._sum}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._returns = np.asarray(state["returns"], dtype=np.float64).tolist()
        self._next = int(state["next"])
        self._sum = float(state["sum"])

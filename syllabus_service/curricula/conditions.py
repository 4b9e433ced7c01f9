"""Conditions such as ``steps >= 1e5 & episode_return > 0.8 | tasks >= 500``: their grammar and their truth."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

METRICS = ("steps", "episodes", "tasks", "total_steps", "total_episodes", "total_tasks", "episode_return")
"""What a condition may speak of."""

_OPERATORS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_METRIC = re.compile(r"[A-Za-z_]\w*")
_OPERATOR = re.compile(r">=|<=|>|<|=")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_JOIN = re.compile(r"[&|]")
_SPACE = re.compile(r"\s*")
_MAX_LENGTH = 1_000


class ConditionError(ValueError):
    """A text is no condition."""


@dataclass(frozen=True)
class Comparison:
    """``metric op value``."""

    metric: str
    op: str
    value: float

    def holds(self, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        return _OPERATORS[self.op](metrics[self.metric], self.value)


@dataclass(frozen=True)
class Condition:
    """Comparisons, joined by and within a group, and by or between groups.

    Attributes:
        text: as it was written.
        groups: the comparisons.
    """

    text: str
    groups: tuple[tuple[Comparison, ...], ...]

    def speaks_of(self, *metrics: str) -> bool:
        """Whether its truth depends on any of these metrics."""
        return any(comparison.metric in metrics for group in self.groups for comparison in group)

    def holds(self, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
        """bool (n,): whether it is true, for columns (n,) or (1,) of the metrics that it speaks of."""
        met: np.ndarray = np.zeros(1, dtype=bool)
        for group in self.groups:
            together: np.ndarray = np.ones(1, dtype=bool)
            for comparison in group:
                together = together & comparison.holds(metrics)
            met = met | together
        return met


def parse(text: str) -> Condition:
    """Read a condition.

    ``condition = group ("|" group)*``, ``group = comparison ("&" comparison)*``, ``comparison = metric op number``,
    with the METRICS, the operators ``>= <= > < =``, and decimal numbers such as ``500``, ``-0.5`` or ``1e5``. ``&``
    binds tighter than ``|``; there are no parentheses. Spaces may stand between any two of these.

    Raises:
        ConditionError: the text is no condition; says which text, at which character, and what was expected there.
    """
    if not isinstance(text, str):
        raise ConditionError(f"expected a condition as a text, got {text!r}")
    if len(text) > _MAX_LENGTH:
        raise ConditionError(f"expected a condition of at most {_MAX_LENGTH} characters, got {len(text)}")
    reader = _Reader(text)
    groups: list[list[Comparison]] = [[]]
    while True:
        groups[-1].append(_comparison(reader))
        if reader.at_end():
            return Condition(text, tuple(tuple(group) for group in groups))
        if reader.take(_JOIN, "& or | or the end") == "|":
            groups.append([])


def _comparison(reader: _Reader) -> Comparison:
    expected = f"one of {', '.join(METRICS)}"
    metric = reader.take(_METRIC, expected)
    if metric not in METRICS:
        raise reader.error(expected, back=len(metric))
    op = reader.take(_OPERATOR, f"one of {' '.join(_OPERATORS)}")
    number = reader.take(_NUMBER, "a number")
    if not np.isfinite(value := float(number)):
        raise reader.error("a finite number", back=len(number))
    return Comparison(metric, op, value)


class _Reader:
    """A text and a place in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._skip_space()

    def at_end(self) -> bool:
        return self._place == len(self._text)

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        found = pattern.match(self._text, self._place)
        if found is None:
            raise self.error(expected)
        self._place = self._end = found.end()
        self._skip_space()
        return found.group()

    def error(self, expected: str, back: int = 0) -> ConditionError:
        place = self._end - back if back else self._place
        found = repr(self._text[place : place + 20]) if place < len(self._text) else "the end"
        return ConditionError(f"condition {self._text!r}, character {place + 1}: expected {expected}, found {found}")

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._place)
        self._place = space.end() if space else self._place

"""Checks of a curriculum's parameters. Each returns the value, or raises ValueError: its name and what was expected."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

MAX_HELD_TASKS = 2**24
"""Most tasks that a curriculum holds something of: at 120 bytes a task, 2 GiB, and as much for a snapshot."""


class TooManyTasksError(ValueError):
    """A curriculum was asked to hold more tasks than its memory should.

    Attributes:
        name: of the argument that says how many.
    """

    def __init__(self, name: str, count: int) -> None:
        super().__init__(f"{name}: expected at most {MAX_HELD_TASKS} tasks to be held in memory, got {count}")
        self.name = name


def held_tasks(name: str, count: int) -> int:
    """A number of tasks that each take memory, before it is taken. Raises TooManyTasksError."""
    if count > MAX_HELD_TASKS:
        raise TooManyTasksError(name, count)
    return count


def whole(name: str, value: Any, at_least: int) -> int:
    """A whole number, not below a bound."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"{name}: expected a whole number of at least {at_least}, got {value!r}")
    return value


def share(name: str, value: Any, interval: str = "[0, 1]") -> float:
    """A number in an interval from 0 to 1; a round bracket leaves its end out."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = interval[0] == "[" or value > 0, interval[-1] == "]" or value < 1
        if 0 <= value <= 1 and low and high:
            return float(value)
    raise ValueError(f"{name}: expected a number in {interval}, got {value!r}")


def flag(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r}")
    return value


def choice(name: str, value: Any, among: Collection[str]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in among:
        raise ValueError(f"{name}: expected one of {', '.join(among)}, got {value!r}")
    return value

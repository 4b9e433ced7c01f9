"""What may go on the wire: checked in the process that reports it, so that one bad environment harms no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

_INT64_END = 1 << 63


def episode_problem(
    assignment_id: int,
    told: bool,
    episode_return: float,
    length: int,
    progress: float,
    env_id: int,
    metrics: Mapping[str, float] | None,
    agent_returns: Mapping[str, float] | None,
) -> str | None:
    """What is wrong with an episode, naming the field; None where nothing is. ``told``: whether its task is given."""
    if not math.isfinite(episode_return):
        return f"episode_return: expected a finite number, got {episode_return}"
    if not 0.0 <= progress <= 1.0:
        return f"progress: expected a number in [0, 1], got {progress}"
    if not 0 <= length < _INT64_END:
        return f"length: expected at least 0 steps, got {length}"
    if not 0 <= env_id < _INT64_END:
        return f"env_id: expected at least 0, got {env_id}"
    if not (assignment_id or told):
        return "task: expected the task that was run, where no assignment is named"
    return _extras_problem(metrics, agent_returns) if metrics or agent_returns else None


def _extras_problem(metrics: Mapping[str, float] | None, agent_returns: Mapping[str, float] | None) -> str | None:
    for group, values in (("metrics", metrics), ("agent_returns", agent_returns)):
        for name, value in (values or {}).items():
            if math.isinf(value):
                return f"{group}[{name}]: expected a finite number, got {value}"
    return None


def episodes_problem(
    columns: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray], agent_returns: Mapping[str, np.ndarray]
) -> tuple[str | None, np.ndarray]:
    """The first thing that is wrong with columns of episodes, or None; and bool (n,): which rows are valid."""
    checks = _Checks(len(columns["assignment_id"]))
    checks.require("episode_return", columns["episode_return"], np.isfinite, "a finite number")
    checks.require("progress", columns["progress"], lambda x: (x >= 0.0) & (x <= 1.0), "a number in [0, 1]")
    checks.require("length", columns["length"], lambda x: x >= 0, "at least 0 steps")
    checks.require("env_id", columns["env_id"], lambda x: x >= 0, "at least 0")
    if "task" not in columns:
        checks.require("assignment_id", columns["assignment_id"], lambda x: x != 0, "an id where the task is not told")
    for group, values in (("metrics", metrics), ("agent_returns", agent_returns)):
        for name, column in values.items():
            checks.require(f"{group}[{name}]", column, lambda x: ~np.isinf(x), "a finite number")
    return checks.problem, checks.valid


def steps_problem(columns: Mapping[str, np.ndarray]) -> tuple[str | None, np.ndarray]:
    """The first thing that is wrong with columns of steps, or None; and bool (s,): which rows are valid."""
    checks = _Checks(len(columns["assignment_id"]))
    checks.require("reward", columns["reward"], np.isfinite, "a finite number")
    checks.require("env_id", columns["env_id"], lambda x: x >= 0, "at least 0")
    if "task" not in columns:
        checks.require("assignment_id", columns["assignment_id"], lambda x: x != 0, "an id where the task is not told")
    return checks.problem, checks.valid


class _Checks:
    def __init__(self, rows: int) -> None:
        self.valid = np.ones(rows, bool)
        self.problem: str | None = None

    def require(self, field: str, column: np.ndarray, holds: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
        good = holds(column)
        if good.all():
            return
        if self.problem is None:
            row = int(good.argmin())
            self.problem = f"{field}[{row}]: expected {expected}, got {column[row]}"
        self.valid &= good

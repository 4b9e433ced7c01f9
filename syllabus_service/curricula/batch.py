"""What a curriculum is told, and what it answers: columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Self

import numpy as np

TRAIN = 1  #: purpose of a task that the learner trains on (the wire's PURPOSE_TRAIN)
EVALUATE = 2  #: purpose of a task that is run only to score it (the wire's PURPOSE_EVALUATE)


@dataclass(frozen=True)
class Draw:
    """k drawn tasks. k may be smaller than was asked for when the curriculum is short of tasks."""

    tasks: np.ndarray
    """(k, *encoded_shape): encoded tasks."""
    probabilities: np.ndarray | None = None
    """float64 (k,): probability with which each was drawn; None where the curriculum has no distribution."""
    purposes: np.ndarray | None = None
    """uint8 (k,): TRAIN or EVALUATE; None when all are TRAIN."""

    def __len__(self) -> int:
        return len(self.tasks)


class _Rows:
    """Columns of equal length; ``len`` is the number of rows."""

    tasks: np.ndarray

    def __len__(self) -> int:
        return len(self.tasks)

    def select(self, rows: np.ndarray | slice) -> Self:
        """The batch of the chosen rows (a bool mask, row numbers, or a slice)."""
        chosen = {}
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                value = value[rows]
            elif isinstance(value, Mapping):
                value = {name: column[rows] for name, column in value.items()}
            chosen[each.name] = value
        return type(self)(**chosen)


@dataclass(frozen=True)
class EpisodeBatch(_Rows):
    """n finished episodes."""

    tasks: np.ndarray
    """(n, *encoded_shape): encoded tasks."""
    episode_returns: np.ndarray
    """float64 (n,): sums of rewards, finite."""
    lengths: np.ndarray
    """int64 (n,): numbers of steps."""
    progress: np.ndarray
    """float64 (n,): task completion in [0, 1]."""
    env_ids: np.ndarray
    """int64 (n,): environments."""
    metrics: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float64 (n,) each: further scalars by name, NaN where an episode has no value."""
    agents: tuple[str, ...] = ()
    """The agents of a multi-agent environment."""
    agent_returns: np.ndarray | None = None
    """float64 (n, len(agents)): return of each agent, NaN for one that took no part."""


@dataclass(frozen=True)
class StepBatch(_Rows):
    """s environment steps."""

    tasks: np.ndarray
    """(s, *encoded_shape): encoded tasks under way."""
    rewards: np.ndarray
    """float64 (s,): finite."""
    terminated: np.ndarray
    """bool (s,)."""
    truncated: np.ndarray
    """bool (s,)."""
    env_ids: np.ndarray
    """int64 (s,): environments."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(s, ...) each: further arrays by name, such as ``observation``."""

    def runs(self) -> list[tuple[int, int]]:
        """First row, and the one behind the last, of each run of steps of one environment and one episode."""
        ends = self.terminated | self.truncated
        cuts = np.flatnonzero((np.diff(self.env_ids) != 0) | ends[:-1]) + 1
        return list(pairwise([0, *cuts.tolist(), len(self)])) if len(self) else []

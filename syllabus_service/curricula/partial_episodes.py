"""Episodes that go on beyond a rollout: what is known of their score so far."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class PartialEpisode(NamedTuple):
    """The steps so far of one unfinished episode."""

    task: int
    """Index of its task."""
    total: float = 0.0
    """Sum of the step scores."""
    num_scored: int = 0
    """Number of steps with a score."""
    highest: float = -np.inf
    """Largest step score."""
    earned: float = 0.0
    """Sum of the rewards."""
    values: np.ndarray | None = None
    """float64: V of each step, where the score needs them at the end."""


class PartialEpisodes:
    """The unfinished episode of each environment, at most ``limit`` of them.

    Beyond the limit the episode that was carried longest without a step is forgotten: its environment is gone, or its
    task is scored by the next episode.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._of_env: dict[int, PartialEpisode] = {}  # the one heard of longest ago comes first

    def __len__(self) -> int:
        return len(self._of_env)

    def pop(self, env_id: int) -> PartialEpisode | None:
        """Take out the unfinished episode of an environment."""
        return self._of_env.pop(env_id, None)

    def put(self, env_id: int, episode: PartialEpisode) -> None:
        """Carry an unfinished episode to the environment's next rollout."""
        self._of_env[env_id] = episode
        if len(self._of_env) > self._limit:
            del self._of_env[next(iter(self._of_env))]

    def state(self) -> dict[str, Any]:
        """Columns, in the order in which they would be forgotten."""
        episodes = list(self._of_env.values())
        values = [np.empty(0) if each.values is None else each.values for each in episodes]
        return {
            "env_ids": np.array(list(self._of_env), dtype=np.int64),
            "tasks": np.array([each.task for each in episodes], dtype=np.int64),
            "totals": np.array([each.total for each in episodes], dtype=np.float64),
            "counts": np.array([each.num_scored for each in episodes], dtype=np.int64),
            "highest": np.array([each.highest for each in episodes], dtype=np.float64),
            "earned": np.array([each.earned for each in episodes], dtype=np.float64),
            "num_values": np.array([len(each) for each in values], dtype=np.int64),
            "values": np.concatenate(values) if values else np.empty(0),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what ``state`` gave."""
        values = np.split(state["values"], np.cumsum(state["num_values"])[:-1]) if len(state["env_ids"]) else []
        columns = (state[name].tolist() for name in ("env_ids", "tasks", "totals", "counts", "highest", "earned"))
        self._of_env = {
            env_id: PartialEpisode(task, total, count, highest, earned, kept.copy())
            for env_id, task, total, count, highest, earned, kept in zip(*columns, values, strict=True)
        }

"""Steps of one environment, collected into the columns that a curriculum with step updates takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from syllabus_client.wrappers._session_link import SessionLink

BATCH_ROWS = 64  #: steps that wait for each other, at most; an episode's end sends them sooner
MAX_OBSERVATION_BYTES = 1 << 20  #: largest observation of one environment that travels, in bytes


class ObservationTooLargeError(ValueError):
    """An observation is too large, or of a kind that does not travel."""


def observation_columns(observation: Any, remove_keys: Collection[str], *, num_envs: int = 1) -> dict[str, np.ndarray]:
    """The arrays of an observation, by name: ``observation``, or ``observation.KEY`` for each entry of a dict.

    Args:
        observation: an array, a number, or nested dicts and tuples of them; of a vector environment, (num_envs, ...).
        remove_keys: names, as above without the leading ``observation.``, that stay behind; or ``observation`` itself.
        num_envs: environments that it is of, each with an equal share of its bytes.

    Raises ObservationTooLargeError beyond MAX_OBSERVATION_BYTES of one environment, or where an entry is not numeric.
    """
    if "observation" in remove_keys:
        return {}
    columns = dict(_flatten("observation", observation, remove_keys))
    size = sum(each.nbytes for each in columns.values()) // num_envs
    if size > MAX_OBSERVATION_BYTES:
        raise ObservationTooLargeError(
            f"the curriculum requires step updates, and an observation has {size} bytes where at most "
            f"{MAX_OBSERVATION_BYTES} travel; name entries that the curriculum does not need in remove_keys, of "
            f"{sorted(columns)}"
        )
    return columns


def _flatten(name: str, value: Any, remove_keys: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    if name.removeprefix("observation.") in remove_keys:
        return
    entries: Mapping[Any, Any] | None = None
    if isinstance(value, Mapping):
        entries = value
    elif isinstance(value, tuple):
        entries = dict(enumerate(value))
    if entries is not None:
        for key, entry in entries.items():
            yield from _flatten(f"{name}.{key}", entry, remove_keys)
        return
    array = np.array(value)  # a copy: environments reuse their observation's memory
    if array.dtype.kind not in "biuf":
        raise ObservationTooLargeError(
            f"the curriculum requires step updates, and {name} is {type(value).__name__}, which does not travel; name "
            f"it in remove_keys"
        )
    yield name, array


class StepBuffer:
    """Collects steps and reports them in columns: at BATCH_ROWS, at an episode's end, and when told to."""

    def __init__(self, link: SessionLink, remove_keys: Collection[str]) -> None:
        self._link = link
        self._remove_keys = frozenset(remove_keys)
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[int, Any, float, bool, bool]] = []
        self._arrays: list[dict[str, np.ndarray]] = []

    def add(
        self, assignment_id: int, task: Any, observation: Any, reward: float, terminated: bool, truncated: bool
    ) -> None:
        """Take one step: the encoded task, and what ``step`` returned."""
        self._arrays.append(observation_columns(observation, self._remove_keys))
        self._rows.append((assignment_id, task, reward, terminated, truncated))
        if len(self._rows) == BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Report what was collected, except steps whose reward is not finite, and what a parent process collected."""
        kept = [] if not self._link.is_open else [row for row, step in enumerate(self._rows) if np.isfinite(step[2])]
        if kept:
            ids, tasks, rewards, terminated, truncated = zip(*(self._rows[row] for row in kept), strict=True)
            count = len(kept)
            self._link.session.report_steps(
                np.array(ids, dtype=np.uint64),
                np.stack([np.asarray(task) for task in tasks]),
                np.array(rewards, dtype=np.float64),
                np.array(terminated, dtype=np.bool_),
                np.array(truncated, dtype=np.bool_),
                np.full(count, self._link.env_id, dtype=np.int64),
                {name: np.stack([self._arrays[row][name] for row in kept]) for name in self._arrays[kept[0]]},
            )
        self._clear()

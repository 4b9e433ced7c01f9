"""What environments reported and was not sent yet, and the metrics batches made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syllabus_client.columns import ColumnBuffer
from syllabus_client.episode_rows import TaskFormat, check_name
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import to_tensor

_METRIC = "metric:"
_AGENT = "agent:"
_ARRAY = "array:"

Columns = Mapping[str, np.ndarray]


class PendingReports:
    """Four queues of rows: steps, progress, episodes and releases, in the order in which a batch applies them.

    Arguments are taken as valid: see ``validation``.

    Args:
        task_format: what an encoded task is.
    """

    def __init__(self, task_format: TaskFormat) -> None:
        self._format = task_format
        self._steps: ColumnBuffer | None = None
        self._progress: ColumnBuffer | None = None
        self._episodes: ColumnBuffer | None = None
        self._releases = ColumnBuffer({"assignment_id": (np.uint64, ())})
        self._extras: set[str] = set()  # names of episodes' further columns
        self.rows = 0
        """Rows in all queues."""

    def __len__(self) -> int:
        return self.rows

    @property
    def num_bytes(self) -> int:
        """Size of all rows, about."""
        return sum(len(queue) * queue.row_bytes for queue in self._queues())

    @property
    def num_added(self) -> tuple[int, int, int, int]:
        """Rows ever added to each queue."""
        return tuple(0 if queue is None else queue.num_added for queue in self._all())  # type: ignore[return-value]

    @property
    def num_taken(self) -> tuple[int, int, int, int]:
        """Rows ever taken out of each queue."""
        return tuple(0 if queue is None else queue.num_taken for queue in self._all())  # type: ignore[return-value]

    # Adding

    def add_episodes(self, columns: Columns, metrics: Columns, agent_returns: Columns) -> None:
        """Add n finished episodes; ``columns`` are named as in ``EpisodeBatch``, without ``task``: as assigned.

        ``told``, bool (n,), says whose ``task`` is told, where that is not one for all.
        """
        queue = self._episodes = self._with_tasks(self._episodes, columns.get("task"), _EPISODE_COLUMNS, rows=True)
        extras = {_METRIC + name: column for name, column in metrics.items()}
        extras |= {_AGENT + name: column for name, column in agent_returns.items()}
        for name in extras:
            self._extra_column(queue, name)
        self._extend(queue, {**columns, **extras})

    def add_progress(self, assignment_id: int, task: Any, progress: float, env_id: int) -> None:
        """Add task completion in the middle of an episode."""
        queue = self._progress = self._with_tasks(self._progress, task, _PROGRESS_COLUMNS)
        told = task is not None
        row = {"assignment_id": assignment_id, "told": told, "progress": progress, "env_id": env_id}
        queue.extend({**row, "task": task} if told else row, 1)
        self.rows += 1

    def add_steps(self, columns: Columns, arrays: Columns) -> None:
        """Add s steps. Raises ValueError unless ``arrays`` are of the same names, dtypes and row shapes each time."""
        spec = {_ARRAY + name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
        queue = self._steps = self._with_tasks(self._steps, columns.get("task"), _STEP_COLUMNS | spec, rows=True)
        known = [name for name in queue.names if name.startswith(_ARRAY)]
        if set(known) != set(spec) or any(queue.shape(name) != spec[name][1] for name in known):
            expected = {name.removeprefix(_ARRAY): list(queue.shape(name)) for name in known}
            raise ValueError(f"arrays: expected rows of {expected}, as before")
        self._extend(queue, {**columns, **{_ARRAY + name: array for name, array in arrays.items()}})

    def add_releases(self, assignment_ids: np.ndarray) -> None:
        """Add assignments that will not be run to an end: uint64 (r,)."""
        self._releases.extend({"assignment_id": assignment_ids}, len(assignment_ids))
        self.rows += len(assignment_ids)

    # Taking

    def fill(self, batch: pb.MetricsBatch, max_rows: int, max_bytes: int) -> tuple[int, int]:
        """Move the first rows into a batch: all, or as many as fit; at least one. O(rows).

        A queue is opened only when those before it are empty, so a step never comes after its own episode.

        Returns how many rows were moved, and how many of them end an assignment.
        """
        total = ended = 0
        for queue, put in zip(self._all(), _PUT, strict=True):
            if queue is None or not len(queue):
                continue
            fits = max_bytes // queue.row_bytes if total else max(1, max_bytes // queue.row_bytes)
            rows = min(len(queue), max_rows - total, fits)
            rows = _leading_run(queue, rows)
            if rows:
                ids = queue.peek("assignment_id", rows)
                if queue is self._episodes or queue is self._releases:
                    ended += int(np.count_nonzero(ids))
                max_bytes -= rows * queue.row_bytes
                total += rows
                put(batch, queue.take(rows))
            if len(queue):
                break
        self.rows -= total
        return total, ended

    def drop_assigned(self) -> int:
        """Remove the rows that name an assignment; return how many there were."""
        dropped = sum(queue.keep(queue.peek("assignment_id", len(queue)) == 0) for queue in self._queues())
        self.rows -= dropped
        return dropped

    def _all(self) -> tuple[ColumnBuffer | None, ...]:
        return (self._steps, self._progress, self._episodes, self._releases)

    def _queues(self) -> list[ColumnBuffer]:
        return [queue for queue in self._all() if queue is not None]

    def _with_tasks(
        self, queue: ColumnBuffer | None, task: Any, columns: dict[str, Any], *, rows: bool = False
    ) -> ColumnBuffer:
        """The queue, with a column of tasks where one has been seen."""
        if task is not None:
            array = np.asarray(task)
            self._format.learn(array.dtype, array.shape[1:] if rows else array.shape)
        if queue is None:
            task_column = self._format.get()
            queue = ColumnBuffer({"assignment_id": (np.uint64, ()), "task": task_column, "told": (bool, ()), **columns})
        return queue

    def _extend(self, queue: ColumnBuffer, columns: Columns) -> None:
        rows = len(columns["assignment_id"])
        queue.extend({"told": np.full(rows, "task" in columns), **columns}, rows)
        self.rows += rows

    def _extra_column(self, queue: ColumnBuffer, name: str) -> None:
        if name not in self._extras:
            check_name(name.partition(":")[2])
            queue.add_column(name, np.float64, fill=np.nan)
            self._extras.add(name)


_EPISODE_COLUMNS: dict[str, Any] = {
    "episode_return": (np.float64, ()),
    "length": (np.int64, ()),
    "progress": (np.float64, ()),
    "env_id": (np.int64, ()),
}
_PROGRESS_COLUMNS: dict[str, Any] = {"progress": (np.float64, ()), "env_id": (np.int64, ())}
_STEP_COLUMNS: dict[str, Any] = {
    "reward": (np.float64, ()),
    "terminated": (bool, ()),
    "truncated": (bool, ()),
    "env_id": (np.int64, ()),
}


def _leading_run(queue: ColumnBuffer, rows: int) -> int:
    """How many of the first rows are alike in whether their task is told: a batch has a column of tasks or has none."""
    if rows <= 1 or "told" not in queue.names:
        return max(rows, 0)
    told = queue.peek("told", rows)
    other = told != told[0]
    return int(other.argmax()) if other.any() else rows


def _put_common(
    message: pb.EpisodeBatch | pb.ProgressBatch | pb.StepBatch, columns: Columns, names: Sequence[str]
) -> None:
    message.assignment_id.CopyFrom(to_tensor(columns["assignment_id"]))
    if columns["told"][0]:
        message.task.CopyFrom(to_tensor(columns["task"]))
    for name in names:
        getattr(message, name).CopyFrom(to_tensor(columns[name]))


def _put_steps(batch: pb.MetricsBatch, columns: Columns) -> None:
    _put_common(batch.steps, columns, tuple(_STEP_COLUMNS))
    for name, column in columns.items():
        if name.startswith(_ARRAY):
            batch.steps.arrays[name.removeprefix(_ARRAY)].CopyFrom(to_tensor(column))


def _put_progress(batch: pb.MetricsBatch, columns: Columns) -> None:
    _put_common(batch.progress, columns, tuple(_PROGRESS_COLUMNS))


def _put_episodes(batch: pb.MetricsBatch, columns: Columns) -> None:
    message = batch.episodes
    _put_common(message, columns, tuple(_EPISODE_COLUMNS))
    if len(columns) == len(_EPISODE_COLUMNS) + 3:
        return
    agents = []
    for name, column in columns.items():
        if not name.startswith((_METRIC, _AGENT)) or np.isnan(column).all():
            continue
        if name.startswith(_METRIC):
            message.metrics[name.removeprefix(_METRIC)].CopyFrom(to_tensor(column))
        else:
            message.agents.append(name.removeprefix(_AGENT))
            agents.append(column)
    if agents:
        message.agent_return.CopyFrom(to_tensor(np.stack(agents, axis=1)))


def _put_releases(batch: pb.MetricsBatch, columns: Columns) -> None:
    batch.released.CopyFrom(to_tensor(columns["assignment_id"]))


_PUT = (_put_steps, _put_progress, _put_episodes, _put_releases)

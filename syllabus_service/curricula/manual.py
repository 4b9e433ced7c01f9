"""A queue of tasks that the learner fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch
from syllabus_service.curricula.task_queue import TaskQueue


class Manual(Curriculum):
    """First in, first out: each task that was put in the queue is run exactly as often as it was put there.

    1. ``custom_update(tasks=[...])`` puts encoded tasks at the end of the queue (the client's ``add_tasks`` encodes
       them).
    2. A draw takes tasks from its front; with fewer queued than asked for it takes all there are, and loses none.
    3. Tasks that were handed out and abandoned come back to the front, in their order.

    During a warm-up tasks are drawn uniformly and the queue stays as it is; a warm-up task that is abandoned is not
    queued. There is no distribution.

    Cost: amortised O(1) a task; at most 4 times the bytes of the queued tasks.

    Args:
        task_space: any.
        tasks: the first tasks of the queue, decoded: as the environment takes them.
        repeat: how many times the whole list is queued, at least 1.
        max_queued: most tasks in the queue; an update that would make them more is refused.
        seed, random_start_tasks: see ``Curriculum``.

    Attributes:
        queue: (n, *encoded_shape): the queued tasks, the next one first; a copy.
    """

    state_fields = ("queue", "warm_up_tasks")

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        tasks: Sequence[Any] = (),
        repeat: int = 1,
        max_queued: int = 10_000_000,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if repeat < 1:
            raise ValueError(f"repeat: expected at least 1, got {repeat}")
        if max_queued < 1:
            raise ValueError(f"max_queued: expected at least 1, got {max_queued}")
        if len(tasks) * repeat > max_queued:
            raise ValueError(f"tasks: expected at most {max_queued} to be queued, got {len(tasks) * repeat}")
        try:
            encoded = task_space.encode_many(tasks)
        except TaskNotInSpaceError as error:
            raise ValueError(f"tasks: {error}") from error
        self.max_queued = max_queued
        self._queue = TaskQueue(np.concatenate([encoded] * repeat))
        self.warm_up_tasks = self._as_tasks([])  # drawn in the warm-up and still out

    @property
    def queue(self) -> np.ndarray:
        return self._queue.to_array()

    @queue.setter
    def queue(self, tasks: np.ndarray) -> None:
        self._queue = TaskQueue(tasks)

    def _draw(self, k: int) -> Draw:
        return Draw(self._queue.pop(k))

    def _draw_uniform(self, k: int) -> Draw:
        drawn = super()._draw_uniform(k)
        self.warm_up_tasks = np.concatenate([self.warm_up_tasks, drawn.tasks])
        return drawn

    def custom_update(self, **metrics: Any) -> None:
        """Take ``tasks``, (n, *encoded_shape): encoded tasks for the end of the queue.

        Raises ValueError for another argument, a task that is not in the space, or more than ``max_queued`` tasks.
        """
        if set(metrics) != {"tasks"}:
            raise ValueError(f"custom_update: expected tasks=[...], got {sorted(metrics)}")
        try:
            given = np.asarray(metrics["tasks"])
            if given.size == 0:
                given = self._as_tasks([])
            inside = self.task_space.contains_encoded(given)
        except ValueError as error:  # ragged, or of another shape
            raise ValueError(f"tasks: {error}") from error
        if not inside.all():
            row = int(np.argmin(inside))
            raise ValueError(f"tasks[{row}]: {given[row].tolist()} encodes no task of {self.task_space!r}")
        if len(self._queue) + len(given) > self.max_queued:
            raise ValueError(
                f"tasks: expected at most {self.max_queued - len(self._queue)} more in the queue, got {len(given)}"
            )
        self._queue.push_back(self._as_tasks(given))

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self._not_of_warm_up(self._as_tasks(task))

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)
        self._not_of_warm_up(batch.tasks)

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Put tasks back at the front of the queue, in their order."""
        self._queue.push_front(self._not_of_warm_up(tasks))

    def _not_of_warm_up(self, tasks: np.ndarray) -> np.ndarray:
        """Those of the tasks that are not out since the warm-up; the others are from now on no longer out."""
        if len(self.warm_up_tasks) == 0:
            return tasks
        out: dict[bytes, list[int]] = {}
        for row, task in enumerate(self.warm_up_tasks):
            out.setdefault(task.tobytes(), []).append(row)
        kept, back = np.ones(len(tasks), dtype=bool), np.zeros(len(self.warm_up_tasks), dtype=bool)
        for row, task in enumerate(tasks):
            if rows := out.get(task.tobytes()):
                back[rows.pop(0)] = True
                kept[row] = False
        self.warm_up_tasks = self.warm_up_tasks[~back]
        return tasks[kept]

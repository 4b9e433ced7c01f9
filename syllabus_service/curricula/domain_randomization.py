"""Uniform draws: each task anew, one task for a batch of steps, one task for a learner update."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch


class DomainRandomization(Curriculum):
    """Each task drawn uniformly and independently: the baseline that other curricula have to beat.

    Cost: O(k) for k draws, O(1) for an update, whatever N; no memory.

    Args:
        task_space: any. Its distribution can be told where it is enumerable.
        seed, random_start_tasks: see ``Curriculum``; the warm-up changes nothing here.
    """

    state_fields = ()

    def _draw(self, k: int) -> Draw:
        return self._draw_uniform(k)

    def _distribution(self) -> np.ndarray:
        return np.full(self.num_tasks, 1.0 / self.num_tasks)

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)


class _OneTaskAtATime(Curriculum):
    """Draws one task uniformly and hands it out again and again, until it is due to be changed.

    A subclass says when: it clears ``current_task``. ``distribution()`` is what the next draw will follow: uniform
    while a new task is due, otherwise all on the current one (but for ``uniform_chance``).

    Attributes:
        current_task: (1, *encoded_shape), or (0, *encoded_shape) while a new one is due.
    """

    state_fields: tuple[str, ...] = ("current_task",)

    def __init__(
        self, task_space: TaskSpace, *, uniform_chance: float = 0.0, seed: int | None, random_start_tasks: int
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if not 0.0 <= uniform_chance <= 1.0:
            raise ValueError(f"uniform_chance: expected a number in [0, 1], got {uniform_chance}")
        self.uniform_chance = uniform_chance
        self.current_task = self._as_tasks([])

    def _draw(self, k: int) -> Draw:
        count = self.task_space.num_tasks
        if k == 0:
            return Draw(self._as_tasks([]), None if count is None else np.empty(0))
        fresh = len(self.current_task) == 0
        if fresh:
            self.current_task = self.task_space.sample(1, self.rng)
        tasks = np.repeat(self.current_task, k, axis=0)
        if self.uniform_chance > 0.0:
            others = self.rng.random(k) < self.uniform_chance
            tasks[others] = self.task_space.sample(int(others.sum()), self.rng)
        if count is None:
            return Draw(tasks)
        current = self.task_space.to_index(tasks) == self.task_space.to_index(self.current_task)
        probabilities = self.uniform_chance / count + (1.0 - self.uniform_chance) * current
        if fresh:
            probabilities[0] = 1.0 / count
        return Draw(tasks, probabilities)

    def _distribution(self) -> np.ndarray:
        count = self.num_tasks
        if len(self.current_task) == 0:
            return np.full(count, 1.0 / count)
        distribution = np.full(count, self.uniform_chance / count)
        distribution[self.task_space.to_index(self.current_task)] += 1.0 - self.uniform_chance
        return distribution


class BatchedDomainRandomization(_OneTaskAtATime):
    """One uniformly drawn task for each batch of steps, so that a whole batch of the learner is of one task.

    1. Steps are those of reported episodes. Batch b holds the steps b * batch_size up to (b + 1) * batch_size.
    2. In the first ``warmup_batches`` batches each task is drawn uniformly and independently.
    3. From then on one task is drawn uniformly at the first draw in a batch, and every draw until the next batch
       begins gives it.

    Cost: O(k) for k draws, O(1) for an update, whatever N; no memory.

    Args:
        task_space: any.
        batch_size: number of steps, at least 1.
        warmup_batches: number of batches, at least 0.
        seed, random_start_tasks: see ``Curriculum``.

    Attributes:
        num_steps: steps reported so far.
    """

    state_fields = ("current_task", "num_steps")

    def __init__(
        self,
        task_space: TaskSpace,
        batch_size: int,
        *,
        warmup_batches: int = 0,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if warmup_batches < 0:
            raise ValueError(f"warmup_batches: expected at least 0, got {warmup_batches}")
        self.batch_size = batch_size
        self.warmup_batches = warmup_batches
        self.num_steps = 0

    @property
    def warming_up(self) -> bool:
        return super().warming_up or self.num_steps < self.warmup_batches * self.batch_size

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        super().update_on_episode(episode_return, length, task, progress, env_id)
        self._add_steps(int(length))

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)
        self._add_steps(int(batch.lengths.sum()))

    def _add_steps(self, steps: int) -> None:
        before = self.num_steps // self.batch_size
        self.num_steps += steps
        if self.num_steps // self.batch_size > before:
            self.current_task = self._as_tasks([])


class SyncedBatchedDomainRandomization(_OneTaskAtATime):
    """One uniformly drawn task for each update of the learner, which says so: ``custom_update(update=True)``.

    1. In the first ``warmup_batches`` batches (a batch ends at an update) each task is drawn uniformly.
    2. From then on one task is drawn uniformly at the first draw after an update, and draws give it until the next,
       but for a share ``uniform_chance`` of them, which are drawn uniformly.

    Cost: O(k) for k draws, O(1) for an update, whatever N; no memory.

    Args:
        task_space: any.
        warmup_batches: number of updates, at least 0.
        uniform_chance: in [0, 1].
        seed, random_start_tasks: see ``Curriculum``.

    Attributes:
        num_updates: updates of the learner so far.
    """

    state_fields = ("current_task", "num_updates")

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        warmup_batches: int = 0,
        uniform_chance: float = 0.0,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, uniform_chance=uniform_chance, seed=seed, random_start_tasks=random_start_tasks)
        if warmup_batches < 0:
            raise ValueError(f"warmup_batches: expected at least 0, got {warmup_batches}")
        self.warmup_batches = warmup_batches
        self.num_updates = 0

    @property
    def warming_up(self) -> bool:
        return super().warming_up or self.num_updates < self.warmup_batches

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)

    def custom_update(self, **metrics: Any) -> None:
        """Take ``update=True``: the learner has made an update. Raises ValueError for anything else."""
        if set(metrics) != {"update"} or not isinstance(metrics["update"], (bool, np.bool_)):
            raise ValueError(f"custom_update: expected update=True, got {sorted(metrics)}")
        if metrics["update"]:
            self.num_updates += 1
            self.current_task = self._as_tasks([])

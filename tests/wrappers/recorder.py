"""A curriculum that hands out tasks in turn and tells, when asked, everything that it was told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula import EVALUATE, TRAIN, Curriculum, Draw, EpisodeBatch, StepBatch


class Recorder(Curriculum):
    """Tasks 0, 1, 2, ... and again, each ``evaluate_every``-th to be evaluated; ``custom_update`` tells what it saw."""

    def __init__(self, task_space: TaskSpace, *, steps: bool = False, evaluate_every: int = 0, **kwargs: Any) -> None:
        super().__init__(task_space, **kwargs)
        self.requires_step_updates = steps
        self.evaluate_every = evaluate_every
        self.num_drawn = 0
        self.columns: dict[str, list[Any]] = {}

    def _draw(self, k: int) -> Draw:
        numbers = self.num_drawn + np.arange(k)
        self.num_drawn += k
        purposes = np.full(k, TRAIN, dtype=np.uint8)
        if self.evaluate_every:
            purposes[numbers % self.evaluate_every == self.evaluate_every - 1] = EVALUATE
        return Draw(self.task_space.from_index(numbers % self.num_tasks), None, purposes)

    def _record(self, **columns: np.ndarray) -> None:
        for name, column in columns.items():
            self.columns.setdefault(name, []).extend(np.asarray(column).tolist())

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        self.num_episodes += len(batch)
        self._record(
            task=batch.tasks,
            episode_return=batch.episode_returns,
            length=batch.lengths,
            progress=batch.progress,
            env_id=batch.env_ids,
        )
        self._record(**{f"metric.{name}": column for name, column in batch.metrics.items()})
        if batch.agent_returns is not None:
            self._record(**{f"agent.{name}": batch.agent_returns[:, place] for place, name in enumerate(batch.agents)})

    def update_on_step_batch(self, batch: StepBatch) -> None:
        self._record(
            step_task=batch.tasks,
            step_reward=batch.rewards,
            step_terminated=batch.terminated,
            step_env_id=batch.env_ids,
        )
        self._record(**{f"step_{name}": column for name, column in batch.arrays.items()})

    def on_abandoned(self, tasks: np.ndarray) -> None:
        self._record(abandoned=tasks)

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray]:
        return {"num_drawn": np.array(self.num_drawn), **{name: np.array(each) for name, each in self.columns.items()}}

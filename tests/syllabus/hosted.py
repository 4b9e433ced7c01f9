"""Curricula of the published ``syllabus-rl``, as an operator would install them beside the service."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import syllabus
from syllabus.curricula import OnlineLearningProgress, PrioritizedLevelReplay
from syllabus.task_space import DiscreteTaskSpace

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.syllabus_adapter import SyllabusCurriculum


def _sync_test_curriculum() -> Any:
    """The class of that name. Its package imports what Syllabus does not declare, so its file is loaded alone."""
    path = Path(syllabus.__file__).parent / "tests" / "sync_test_curriculum.py"
    spec = importlib.util.spec_from_file_location("sync_test_curriculum", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SyncTestCurriculum


class HostedOnlineLearningProgress(SyllabusCurriculum):
    """Syllabus's online learning progress."""

    def __init__(self, task_space: TaskSpace, *, seed: int | None = None, update_interval: int = 10) -> None:
        def make() -> Any:
            return OnlineLearningProgress(DiscreteTaskSpace(task_space.num_tasks), update_interval=update_interval)

        super().__init__(task_space, make=make, seed=seed)


class HostedSyncTest(SyllabusCurriculum):
    """Syllabus's own check of its synchronisation: it raises where steps and episodes do not add up."""

    def __init__(self, task_space: TaskSpace, *, seed: int | None = None, num_envs: int = 1) -> None:
        def make() -> Any:
            names = DiscreteTaskSpace(task_space.num_tasks, [f"task {i + 1}" for i in range(task_space.num_tasks)])
            return _sync_test_curriculum()(num_envs, task_space.num_tasks, names)

        super().__init__(task_space, make=make, seed=seed)

    def custom_update(self, **metrics: Any) -> dict[str, np.ndarray]:
        """Answer with what the hosted object has counted: episodes, returns, and episodes of each task."""
        stats = self._hosted.get_stats()
        counts = np.array([stats["task_counts"][task] for task in range(self.num_tasks)])
        return {
            "episodes": np.array(stats["total_dones"]),
            "returns": np.array(stats["total_reward"]),
            "counts": counts,
        }


class StepsAsValue:
    """In place of Syllabus's evaluator: the value of an observation is the first number of its ``place``."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def get_value(self, observations: Any, *_: Any) -> Any:
        """Values (n, 1) of n observations."""
        import torch

        for each in observations:
            self.keys |= set(each)
        return torch.tensor([[float(each["place"][0])] for each in observations]), None, {}


class HostedLevelReplay(SyllabusCurriculum):
    """Syllabus's prioritized level replay, which is sent observations and values them itself."""

    def __init__(self, task_space: TaskSpace, *, seed: int | None = None) -> None:
        self.evaluator = StepsAsValue()

        def make() -> Any:
            # Under the default schedule a draw asks an evaluator for its environments once all levels have been seen.
            return PrioritizedLevelReplay(
                DiscreteTaskSpace(task_space.num_tasks),
                None,
                task_sampler_kwargs_dict={"replay_schedule": "fixed"},
                num_steps=4,
                num_processes=2,
                evaluator=self.evaluator,
            )

        super().__init__(task_space, make=make, seed=seed)

    def custom_update(self, **metrics: Any) -> dict[str, np.ndarray]:
        """Answer with the scores of all tasks, and what the observations were made of."""
        keys = np.array(len(self.evaluator.keys - {"place"}))
        return {"scores": np.asarray(self._hosted._task_sampler.task_scores), "other_keys": keys}

"""One stage of a sequence: a curriculum on tasks of its own, within the sequence's space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace, TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw
from syllabus_service.curricula.domain_randomization import DomainRandomization
from syllabus_service.curricula.registry import create
from syllabus_service.curricula.sub_space import SubSpace

_KEYS = {"algorithm", "params", "tasks"}


class Stage:
    """A curriculum whose tasks go in and out in the encoding of an outer space.

    Attributes:
        curriculum: the inner curriculum, on its own space.
        takes_back: whether it does something with abandoned tasks.
    """

    def __init__(self, outer: TaskSpace, curriculum: Curriculum) -> None:
        self.curriculum = curriculum
        self.takes_back = type(curriculum).on_abandoned is not Curriculum.on_abandoned
        self._tasks = SubSpace(outer, curriculum.task_space)

    def draw(self, k: int) -> Draw:
        """Draw up to k tasks, in the outer encoding."""
        drawn = self.curriculum.draw(k)
        return replace(drawn, tasks=self._tasks.to_outer(drawn.tasks))

    def distribution(self) -> np.ndarray:
        """float64 (outer N,): the inner distribution, 0 for tasks of other stages."""
        return self._tasks.scatter(self.curriculum.distribution())

    def encode(self, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See ``SubSpace.to_inner``."""
        return self._tasks.to_inner(tasks)


def make_stage(outer: TaskSpace, given: Any, seed: int) -> Stage:
    """The stage that a description stands for; see ``Sequential``. Raises ValueError or TypeError."""
    if isinstance(given, Curriculum):
        return Stage(outer, given)
    if isinstance(given, TaskSpace):
        return Stage(outer, DomainRandomization(given, seed=seed))
    if not isinstance(given, Mapping):
        listed = DiscreteTaskSpace(given if isinstance(given, (list, range)) else [given])
        return Stage(outer, DomainRandomization(listed, seed=seed))
    if unknown := sorted(set(given) - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(_KEYS))}")
    if "algorithm" not in given:
        raise ValueError("algorithm: expected the name of a curriculum")
    space = outer if given.get("tasks") is None else DiscreteTaskSpace(given["tasks"])
    # A name may have come over the network, so it must not be able to import a module.
    return Stage(outer, create(given["algorithm"], space, given.get("params"), seed, allow_import=False))

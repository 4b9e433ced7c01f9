"""A curriculum whose distribution is rebuilt when it is drawn from, not when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw
from syllabus_service.curricula.categorical import Categorical
from syllabus_service.curricula.param_checks import held_tasks, whole

EXACT_UP_TO = 100_000
"""Number of tasks up to which the default distribution is never old."""


class LazyDistribution(Curriculum):
    """A curriculum with one weight a task, computed for all tasks at once in O(N).

    A subclass defines ``_weights`` as a function of its state, and calls ``_changed`` whenever that state changes.
    However many updates come between two draws, the weights are computed once.

    Where draws and updates alternate, that O(N) is spent on every batch. ``max_age`` bounds it: a distribution that
    has been built is drawn from until that many tasks have been drawn or evaluated. With N / 4 a task costs no more
    at a million tasks than at a thousand, and an evaluation of all of them is still followed at the next draw. What is
    drawn from is what ``distribution`` tells, old or not.

    Args:
        task_space: enumerable.
        seed: see ``Curriculum``.
        random_start_tasks: see ``Curriculum``.
        max_age: how many tasks may be drawn or evaluated, at least 0, before a distribution is built anew to follow
            the changes since it was built. None: 0 up to 100,000 tasks, N / 4 beyond.
    """

    state_fields: tuple[str, ...] = ("age", "outdated_weights")

    age: int
    """Number of tasks drawn or evaluated since the distribution was built; 0 where max_age is 0."""

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_age: int | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        held_tasks("task_space", self.num_tasks)
        if max_age is None:
            max_age = 0 if self.num_tasks <= EXACT_UP_TO else self.num_tasks // 4
        self.max_age = whole("max_age", max_age, 0)
        self.age = 0
        self._built: Categorical | None = None  # what was drawn from last
        self._outdated = False  # whether the state has changed since
        self._fresh: Categorical | None = None  # the present state's, when somebody has asked for it

    def _weights(self) -> np.ndarray:
        """A new float64 (N,): what the probabilities are proportional to. A function of the state."""
        raise NotImplementedError(f"{type(self).__name__} must define _weights()")

    def _changed(self, num_tasks: int = 0) -> None:
        """Take note that the weights are others now, after an evaluation of ``num_tasks`` tasks. O(1)."""
        self._outdated = True
        self._fresh = None
        if self.max_age > 0 and self._built is not None:
            self.age += num_tasks

    def _current(self) -> Categorical:
        """What the next task is drawn from. Asking changes nothing: only a draw starts the age anew."""
        if self._built is not None and not (self._outdated and self.age >= self.max_age):
            return self._built
        if self._fresh is None:
            self._fresh = Categorical(self._weights())
        return self._fresh

    def _draw(self, k: int) -> Draw:
        left = self.max_age - self.age
        if self._outdated and self._built is not None and 0 < left < k:  # the distribution reaches its age on the way
            parts = [self._draw_at_once(left), self._draw_at_once(k - left)]
            index, probability = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        else:
            index, probability = self._draw_at_once(k)
        return Draw(self.task_space.from_index(index), probability)

    def _draw_at_once(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k > 0 and self._outdated and self.age >= self.max_age:
            self._built = None  # it has had its time: what it holds is free for what follows it
        categorical = self._current()
        if k > 0 and categorical is not self._built:
            self._built, self._fresh = categorical, None
            self._outdated = False
            self.age = 0
        if self.max_age > 0:
            self.age += k
        return categorical.draw(k, self.rng)

    def _distribution(self) -> np.ndarray:
        return self._current().probabilities

    @property
    def outdated_weights(self) -> np.ndarray | None:
        """float64 (N,): the weights still drawn from though the state has changed; None where the state tells them."""
        if self.max_age == 0 or self._built is None or not self._outdated:
            return None
        return self._built.weights

    @outdated_weights.setter
    def outdated_weights(self, weights: np.ndarray | None) -> None:
        self._fresh = None
        self._outdated = weights is not None
        self._built = None if weights is None else Categorical(weights)

    def _restore(self, state: Mapping[str, Any]) -> None:
        super()._restore(state)
        if self._built is None and self.age > 0:  # it was drawn from, and the state hasn't changed since
            self._built = Categorical(self._weights())

"""Stratified curricula: in each stratum, the best task."""

from __future__ import annotations

from typing import Any

import numpy as np

from syllabus_client.task_spaces import StratifiedDiscreteTaskSpace, TaskSpace
from syllabus_service.curricula.learnability import Learnability
from syllabus_service.curricula.learning_progress import LearningProgress
from syllabus_service.curricula.online_learning_progress import OnlineLearningProgress
from syllabus_service.curricula.param_checks import choice
from syllabus_service.curricula.success_rates import SuccessRates

OTHER_WEIGHT = 0.001
"""What the weight of a task that is not the best of its stratum is multiplied by."""

_METRICS = ("success", "learnability", "score")


class BestOfStratum(SuccessRates):
    """A mix-in that moves another curriculum's distribution d to the best task of each stratum.

    ``P(i) ∝ d(i) s(i)``, where s(i) is 1 if no task of i's stratum has a greater metric, and 0.001 otherwise: several
    equal best tasks are all best, so that nothing changes before the first success rate. The metric is, by
    ``selection_metric``:

    - ``"success"``: the latest success rate, 0 where there is none;
    - ``"learnability"``: r (1-r) of that rate;
    - ``"score"``: d itself.

    Cost: O(N) on top of d.

    Args:
        task_space: a ``StratifiedDiscreteTaskSpace``.
        selection_metric: see above.
        **params: those of the curriculum that it is mixed into.
    """

    def __init__(self, task_space: TaskSpace, *, selection_metric: str = "success", **params: Any) -> None:
        if not isinstance(task_space, StratifiedDiscreteTaskSpace):
            given = type(task_space).__name__
            raise TypeError(f"task_space: expected a StratifiedDiscreteTaskSpace, got {given}")
        super().__init__(task_space, **params)
        self.selection_metric = choice("selection_metric", selection_metric, _METRICS)
        self.stratum = task_space.stratum
        self.num_strata = int(self.stratum.max()) + 1

    def _weights(self) -> np.ndarray:
        weights = super()._weights()
        weights *= self._selection(weights)
        return weights

    def _selection(self, score: np.ndarray) -> np.ndarray:
        """float64 (N,): s."""
        metric = score if self.selection_metric == "score" else self.rates()
        if self.selection_metric == "learnability":
            metric = metric * (1.0 - metric)
        best = np.full(self.num_strata, -np.inf)
        np.maximum.at(best, self.stratum, metric)
        return np.where(metric == best[self.stratum], 1.0, OTHER_WEIGHT)


class StratifiedLearningProgress(BestOfStratum, LearningProgress):
    """``LearningProgress`` (arXiv 2106.14876), moved to the best task of each stratum: see ``BestOfStratum``."""


class StratifiedOnlineLearningProgress(BestOfStratum, OnlineLearningProgress):
    """``OnlineLearningProgress``, moved to the best task of each stratum: see ``BestOfStratum``."""


class StratifiedLearnability(BestOfStratum, Learnability):
    """``Learnability`` (arXiv 2408.15099), moved to the best task of each stratum: see ``BestOfStratum``."""


class StratifiedDomainRandomization(BestOfStratum):
    """Every stratum is equally likely; within one, its best tasks are.

    ``P(i) = s(i) / (S Σ s(j))``, where S is the number of strata, the sum is over the tasks j of i's stratum, and s
    is that of ``BestOfStratum``. Before the first success rate all tasks of a stratum are equally good, so it is a
    uniform stratum and then a uniform task within. Rates come as in ``SuccessRates``: pushed, or with an update
    interval from episodes.

    Cost: O(N) for the distribution, after an evaluation. 29 bytes a task.

    Args:
        task_space: a ``StratifiedDiscreteTaskSpace``.
        selection_metric: see ``BestOfStratum``; with "score" all tasks of a stratum stay equally likely.
        **params: see ``SuccessRates``.

    Example:
        >>> space = StratifiedDiscreteTaskSpace([["easy"], ["hard", "harder"]])
        >>> StratifiedDomainRandomization(space, seed=1).distribution().tolist()
        [0.5, 0.25, 0.25]
    """

    def _weights(self) -> np.ndarray:
        selection = self._selection(np.ones(self.num_tasks))
        return selection / np.bincount(self.stratum, weights=selection)[self.stratum]

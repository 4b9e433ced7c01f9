"""OMNI: curricula that leave out what is learnable but no longer interesting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.interestingness import Interestingness, load_interestingness
from syllabus_service.curricula.learnability import Learnability
from syllabus_service.curricula.learning_progress import LearningProgress
from syllabus_service.curricula.success_rates import SuccessRates

__all__ = ["BORING_WEIGHT", "OMNI", "InterestingOnly", "OMNILearnability", "load_interestingness"]

BORING_WEIGHT = 0.001
"""What the weight of a boring task is multiplied by, as in the authors' experiments (arXiv 2306.01711)."""


class InterestingOnly(SuccessRates):
    """A mix-in that keeps another curriculum's distribution d off boring tasks (Zhang et al., arXiv 2306.01711).

    ``P(i) ∝ d(i) m(i)``, where m(i) is 0.001 for a boring task and 1 for an interesting one. Which are boring follows
    from
    a model of interestingness, given as a table, and the latest success rates: see ``Interestingness.boring``.

    Cost: O(E), for E boring entries in the table, or O(E log E) at worst, on top of d, after an evaluation: see
    ``Interestingness.boring``.

    Args:
        task_space: enumerable.
        interestingness: a table: see ``Interestingness``; ``load_interestingness`` reads one from a file.
        **params: those of the curriculum that it is mixed into.
    """

    def __init__(
        self, task_space: TaskSpace, *, interestingness: Mapping[Any, Any] | Any | None = None, **params: Any
    ) -> None:
        super().__init__(task_space, **params)
        self.interestingness = Interestingness(task_space, interestingness)

    def boring(self) -> np.ndarray:
        """bool (N,): the tasks that are boring by now."""
        return self.interestingness.boring(self.rates())

    def _weights(self) -> np.ndarray:
        weights = super()._weights()
        np.multiply(weights, BORING_WEIGHT, out=weights, where=self.boring())
        return weights


class OMNI(InterestingOnly, LearningProgress):
    """``LearningProgress`` among interesting tasks (arXiv 2306.01711): see ``InterestingOnly``.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> curriculum = OMNI(DiscreteTaskSpace(["collect wood", "collect 2 wood", "make a pick"]), seed=1,
        ...                   interestingness={"collect wood": {"collect 2 wood": False}})
        >>> curriculum.custom_update(success_rates=[0.9, 0.3, 0.1])
        >>> curriculum.distribution().round(4).tolist()
        [0.4998, 0.0005, 0.4998]
    """


class OMNILearnability(InterestingOnly, Learnability):
    """``Learnability`` (arXiv 2408.15099) among interesting tasks (arXiv 2306.01711): see ``InterestingOnly``."""

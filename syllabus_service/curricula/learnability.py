"""Learnability: tasks that are neither solved nor out of reach."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.blocks import blocks
from syllabus_service.curricula.param_checks import choice, share, whole
from syllabus_service.curricula.success_rates import SuccessRates

_SAMPLINGS = ("topk", "dist")
_MOST_LEARNABLE = 0.25


class Learnability(SuccessRates):
    """Sampling for learnability (Rutherford et al., arXiv 2408.15099) over evaluations by the learner.

    1. A task's learnability is ``x (1-x)``, where x is its latest success rate, or what that gained over its first one
       (see ``SuccessRates``). A task that was never evaluated counts as most learnable, with 1/4.
    2. q: with ``sampling="topk"``, uniform over the K = ``topk`` most learnable tasks (of equals the one with the
       lowest index); with ``"dist"``, proportional to the learnability. Uniform over all tasks where none is
       learnable.
    3. ``P = ρ q + (1-ρ) / N`` with ρ = ``learnable_prob``.

    Before the first evaluation the distribution is uniform; so it is with K ≥ N. With an update interval it learns
    from
    episodes, too: then let ρ be less than 1, or a task that was left out is never tried again.

    Cost: an evaluation of n tasks O(n); the distribution O(N), at the draw after it. 29 bytes a task.

    Args:
        task_space: enumerable.
        topk: K, at least 1.
        learnable_prob: ρ, in [0, 1].
        sampling: "topk" or "dist".
        normalize_success: whether x is what was gained over the first evaluation, or the rate itself.
        update_interval, update_interval_steps, success_threshold: to learn from episodes; see ``SuccessRates``.
        seed, random_start_tasks, max_age: see ``LazyDistribution``.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> curriculum = Learnability(DiscreteTaskSpace(4), seed=1, topk=2, learnable_prob=0.8)
        >>> curriculum.custom_update(success_rates=[0.0, 0.4, 0.7, 1.0])
        >>> curriculum.distribution().round(3).tolist()
        [0.05, 0.45, 0.45, 0.05]
    """

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        topk: int = 1000,
        learnable_prob: float = 1.0,
        sampling: str = "topk",
        normalize_success: bool = False,
        update_interval: int | None = None,
        update_interval_steps: int | None = None,
        success_threshold: float = 1.0,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_age: int | None = None,
    ) -> None:
        super().__init__(
            task_space,
            seed=seed,
            random_start_tasks=random_start_tasks,
            max_age=max_age,
            update_interval=update_interval,
            update_interval_steps=update_interval_steps,
            success_threshold=success_threshold,
            normalize_success=normalize_success,
        )
        self.topk = whole("topk", topk, 1)
        self.learnable_prob = share("learnable_prob", learnable_prob)
        self.sampling = choice("sampling", sampling, _SAMPLINGS)

    def learnability(self) -> np.ndarray:
        """float64 (N,): step 1, in [0, 1/4]. O(N)."""
        learnability, rates = np.empty(self.num_tasks), self.rates()
        for at in blocks(self.num_tasks):
            gained = self._gained(at, rates[at])
            learnability[at] = np.where(np.isnan(self.baseline[at]), _MOST_LEARNABLE, gained * (1.0 - gained))
        return learnability

    def _weights(self) -> np.ndarray:
        weights = self.learnability()
        if np.isnan(self.baseline).all():
            return weights
        if self.sampling == "topk" and weights.any():
            weights = _largest(weights, self.topk)
        total = weights.sum()
        if not total > 0.0:
            return np.ones(self.num_tasks)
        weights *= self.learnable_prob / total
        weights += (1.0 - self.learnable_prob) / self.num_tasks
        return weights


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """float64 (N,): 1 for the ``count`` largest values, 0 for the others. O(N)."""
    if count >= len(values):
        return np.ones(len(values))
    border = np.partition(values, len(values) - count)[len(values) - count]
    chosen = values > border
    chosen[np.flatnonzero(values == border)[: count - np.count_nonzero(chosen)]] = True
    return chosen.astype(np.float64)

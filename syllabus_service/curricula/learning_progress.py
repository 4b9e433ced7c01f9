"""Learning progress: tasks whose success rate is changing fastest, whichever way."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.blocks import blocks, keep, put_back, standard_deviation
from syllabus_service.curricula.param_checks import share
from syllabus_service.curricula.success_rates import SuccessRates

_TINY = np.finfo(np.float64).tiny
_EPSILON = float(np.finfo(np.float64).eps)


class LearningProgress(SuccessRates):
    """Bidirectional learning progress over evaluations by the learner (Kanitscheider et al., arXiv 2106.14876).

    1. An evaluation gives a task's success rate r, and x: what was gained over its first one (see ``SuccessRates``).
    2. Two moving averages follow x. On the first evaluation both are x; later, with α = ``ema_alpha``,
       ``fast ← α x + (1-α) fast``, then ``slow ← α fast + (1-α) slow``.
    3. Learning progress is ``|R(fast) - R(slow)|``, where R magnifies low success rates, with θ = ``p_theta``:
       ``R(p) = p (1-θ) / (p + θ (1-2p))``.
    4. Tasks take part that have learning progress, or that have ever succeeded, or that were never evaluated; if none
       does, all do. The others get probability 0.
    5. The learning progress of those is brought to mean 0 and deviation 1, and ``P ∝ 1 / (1 + exp(-z))``: a sigmoid
       keeps one outlier from taking everything.

    Before the first evaluation the distribution is uniform. With an update interval it learns from episodes, too;
    then a task without an episode keeps its averages, which is what tells it from ``OnlineLearningProgress``.

    Cost: an evaluation of n tasks O(n); the distribution O(N), at the draw after it. 53 bytes a task.

    Args:
        task_space: enumerable.
        ema_alpha: α, in (0, 1].
        p_theta: θ, in (0, 1).
        normalize_success: whether x is what was gained over the first evaluation, or the rate itself.
        update_interval, update_interval_steps, success_threshold: to learn from episodes; see ``SuccessRates``.
        seed, random_start_tasks, max_age: see ``LazyDistribution``.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> curriculum = LearningProgress(DiscreteTaskSpace(3), seed=1)
        >>> for rates in ([0.0, 0.0, 0.5], [0.0, 0.4, 0.5]):
        ...     curriculum.custom_update(success_rates=rates)
        >>> curriculum.distribution().round(3).tolist()
        [0.0, 0.731, 0.269]
    """

    state_fields = (*SuccessRates.state_fields, "fast", "slow", "true_rates")

    fast: np.ndarray
    """float64 (N,): the fast average of x."""
    slow: np.ndarray
    """float64 (N,): the slow average of x."""
    true_rates: np.ndarray
    """float64 (N,): the fast average of r."""

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        ema_alpha: float = 0.1,
        p_theta: float = 0.1,
        normalize_success: bool = True,
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
        self.ema_alpha = share("ema_alpha", ema_alpha, "(0, 1]")
        self.p_theta = share("p_theta", p_theta, "(0, 1)")
        self.fast = np.zeros(self.num_tasks)
        self.slow = np.zeros(self.num_tasks)
        self.true_rates = np.zeros(self.num_tasks)

    def averages(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """float64 (N,) each: ``fast``, ``slow`` and ``true_rates`` as they are now. Not to be changed."""
        return self.fast, self.slow, self.true_rates

    def learning_progress(self) -> np.ndarray:
        """float64 (N,): step 3; zeros before the first evaluation. O(N)."""
        fast, slow, _ = self.averages()
        with np.errstate(under="ignore"):
            return np.abs(self._reweighted(fast) - self._reweighted(slow))

    def _learn(self, at: slice | np.ndarray, rates: np.ndarray) -> None:
        # Intervals may be short and their evaluations small, so what counts is the number of calls of numpy.
        first = np.isnan(self.baseline[at])
        super()._learn(at, rates)
        gained = self._gained(at, rates)
        averages = self._averages_at(at)
        with np.errstate(under="ignore"):
            averages *= 1.0 - self.ema_alpha
            averages[0] += self.ema_alpha * gained
            averages[1] += self.ema_alpha * averages[0]
            averages[2] += self.ema_alpha * rates
        if first.any():
            averages[:2, first] = gained[first]
            averages[2, first] = rates[first]
        self.fast[at], self.slow[at], self.true_rates[at] = flushed(averages)

    def _averages_at(self, at: slice | np.ndarray) -> np.ndarray:
        """float64 (3, n): a copy of the averages of the tasks ``at``, in the order of ``averages``."""
        return np.array((self.fast[at], self.slow[at], self.true_rates[at]))

    def _reweighted(self, rate: np.ndarray) -> np.ndarray:
        return rate * (1.0 - self.p_theta) / (rate + self.p_theta * (1.0 - 2.0 * rate))

    def _weights(self) -> np.ndarray:
        progress = np.empty(self.num_tasks)
        taking_part = np.empty(self.num_tasks, dtype=bool)
        largest = 0.0
        for at in blocks(self.num_tasks):
            fast, slow, true_rates = self._averages_at(at)
            with np.errstate(under="ignore"):
                high, low = self._reweighted(fast), self._reweighted(slow)
                largest = max(largest, float(high.max()), float(low.max()))
                progress[at] = np.abs(high - low)
            taking_part[at] = (progress[at] > 0.0) | (true_rates > 0.0) | np.isnan(self.baseline[at])
        noise = 8.0 * _EPSILON * largest
        if taking_part.all() or not taking_part.any():
            _squash(progress, noise)
        else:
            _squash(keep(progress, taking_part), noise)
            put_back(progress, taking_part)
        return progress


def _squash(progress: np.ndarray, noise: float) -> None:
    """Step 5, not normalised, in place. A deviation not larger than ``noise`` is that of rounding: it tells no tasks
    apart."""
    with np.errstate(under="ignore", over="ignore"):  # over: exp(-z) of a task far below all others
        mean, deviation = progress.mean(), standard_deviation(progress)
        scale = deviation if deviation > noise else 1.0
        for at in blocks(len(progress)):
            progress[at] = 1.0 / (1.0 + np.exp(-((progress[at] - mean) / scale)))


def flushed(average: np.ndarray) -> np.ndarray:
    """The array itself, with 0 for subnormal numbers, which would be slow to compute with and never reach 0."""
    average[average < _TINY] = 0.0
    return average

"""Learning progress from the training episodes themselves, without evaluations."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.blocks import blocks
from syllabus_service.curricula.learning_progress import LearningProgress, flushed
from syllabus_service.curricula.param_checks import flag, share


class OnlineLearningProgress(LearningProgress):
    """``LearningProgress`` (arXiv 2106.14876) with success rates that are counted over training episodes.

    1. Each episode is a success or not, by its progress.
    2. After every ``update_interval`` episodes the rate of each task is the share of successes among its episodes
       since the last update; *a task without an episode has rate 0*. These rates of all tasks go through
       ``LearningProgress``, whose distribution is d.
    3. ``P = (1 - u) d + u / N`` with u = ``uniform_prob``, so that every task goes on being tried.

    As unvisited tasks count as failures, an interval of about N episodes or more serves best. The distribution
    changes at updates only; before the first it is uniform. ``custom_update(refresh=True)`` makes an update at once,
    and evaluations by the learner are taken as ``LearningProgress`` takes them.

    Cost: an episode O(1); an update of n tasks O(n log n); the distribution, at the draw after it,
    O(N). 57 bytes a task. The averages of a task without an episode are brought up to date only when they are needed.

    Args:
        task_space: enumerable.
        update_interval: number of episodes between updates, at least 1. None, and no update_interval_steps: N, but at
            least 8.
        update_interval_steps: instead of it, a number of steps; see ``SuccessRates``.
        ema_alpha, p_theta, normalize_success: see ``LearningProgress``.
        uniform_prob: u, in [0, 1].
        success_threshold: progress, in (0, 1], from which on an episode is a success.
        save_last: whether each task starts every interval but the first with its last rate, which counts as one
            episode, so that an unvisited task keeps its rate instead of falling to 0.
        seed, random_start_tasks, max_age: see ``LazyDistribution``.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> curriculum = OnlineLearningProgress(DiscreteTaskSpace(2), seed=1, update_interval=2)
        >>> for task, progress in ((0, 0.0), (1, 0.0), (0, 1.0), (1, 0.0)):
        ...     curriculum.update_on_episode(0.0, 10, task, progress)
        >>> curriculum.distribution().tolist()
        [0.875, 0.125]
    """

    state_fields = (*LearningProgress.state_fields, "num_updates", "updated_at")

    num_updates: int
    """Number of updates so far."""
    updated_at: np.ndarray
    """int32 (N,): the update that each task's rate and averages are of."""

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        update_interval: int | None = None,
        update_interval_steps: int | None = None,
        ema_alpha: float = 0.1,
        p_theta: float = 0.1,
        normalize_success: bool = True,
        uniform_prob: float = 0.25,
        success_threshold: float = 1.0,
        save_last: bool = False,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_age: int | None = None,
    ) -> None:
        if update_interval is None and update_interval_steps is None:
            update_interval = max(8, task_space.num_tasks or 0)
        super().__init__(
            task_space,
            seed=seed,
            random_start_tasks=random_start_tasks,
            max_age=max_age,
            update_interval=update_interval,
            update_interval_steps=update_interval_steps,
            success_threshold=success_threshold,
            normalize_success=normalize_success,
            ema_alpha=ema_alpha,
            p_theta=p_theta,
        )
        self.uniform_prob = share("uniform_prob", uniform_prob)
        self.save_last = flag("save_last", save_last)
        self.num_updates = 0
        self.updated_at = np.zeros(self.num_tasks, dtype=np.int32)

    def averages(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``LearningProgress``. O(N)."""
        fast, slow, true_rates = self._averages_at(slice(None))
        return fast, slow, true_rates

    def rates(self) -> np.ndarray:
        """See ``SuccessRates``. O(N)."""
        if self.save_last:
            return self.success_rates
        return np.where(self.updated_at == self.num_updates, self.success_rates, 0.0)

    def _averages_at(self, at: slice | np.ndarray) -> np.ndarray:
        """See ``LearningProgress``; after the m updates that passed the tasks by.

        In each of them their x was the same, 0 or the last one. From the recurrence of ``LearningProgress``, step 2,
        with f = fast - x and s = slow - x: ``f' = (1-α)^m f`` and ``s' = (1-α)^m (s + m α f)``.
        """
        missed = self.num_updates - self.updated_at[at]
        averages = super()._averages_at(at)
        if self.save_last:
            rates = self.success_rates[at]
            gained = self._gained(at, rates)
            averages[:2] -= gained
            averages[2] -= rates
        with np.errstate(under="ignore"):
            averages[1] += missed * self.ema_alpha * averages[0]
            averages *= np.power(1.0 - self.ema_alpha, missed)
        if self.save_last:
            averages[:2] += gained
            averages[2] += rates
        return flushed(averages)

    def _learn(self, at: slice | np.ndarray, rates: np.ndarray) -> None:
        super()._learn(at, rates)
        self.updated_at[at] = self.num_updates

    def _learn_from_counts(self, visited: np.ndarray, successes: np.ndarray, episodes: np.ndarray) -> None:
        if self.num_updates == 0:  # at first, all tasks get a baseline
            for at in blocks(self.num_tasks):
                some = slice(*np.searchsorted(visited, (at.start, at.stop)))
                index, length = visited[some] - at.start, at.stop - at.start
                counted = (np.bincount(index, counts[some], length) for counts in (successes, episodes))
                self._learn_counted(at, *counted)
        else:
            for some in blocks(len(visited)):
                self._learn_counted(visited[some], successes[some], episodes[some])
        self.updated_at[slice(None) if self.num_updates == 0 else visited] = self.num_updates + 1
        self.num_updates += 1

    def _learn_counted(self, at: slice | np.ndarray, successes: np.ndarray, episodes: np.ndarray) -> None:
        if self.save_last:
            known = ~np.isnan(self.baseline[at])
            self._learn(at, (self.success_rates[at] * known + successes) / np.maximum(known + episodes, 1))
        else:
            self._learn(at, successes / np.maximum(episodes, 1))

    def _weights(self) -> np.ndarray:
        weights = super()._weights()
        weights *= (1.0 - self.uniform_prob) / weights.sum()
        weights += self.uniform_prob / self.num_tasks
        return weights

"""Learning progress from the training episodes themselves, without evaluations."""

from __future__ import annotations

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.learning_progress import LearningProgress


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

    Cost: an episode O(1); an update, and the distribution at the draw after it, O(N). 64 bytes a task.

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
        if not 0.0 <= uniform_prob <= 1.0:
            raise ValueError(f"uniform_prob: expected a number in [0, 1], got {uniform_prob}")
        self.uniform_prob = uniform_prob
        self.save_last = save_last

    def _learn_from_batch(self, visited: np.ndarray) -> None:
        successes, episodes = self.batch_successes, self.batch_episodes
        if self.save_last:
            known = ~np.isnan(self.baseline)
            rates = (self.success_rates * known + successes) / np.maximum(known + episodes, 1)
        else:
            rates = successes / np.maximum(episodes, 1)
        self._learn(slice(None), rates)

    def _weights(self) -> np.ndarray:
        weights = super()._weights()
        weights *= (1.0 - self.uniform_prob) / weights.sum()
        weights += self.uniform_prob / self.num_tasks
        return weights

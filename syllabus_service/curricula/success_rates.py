"""Curricula that learn from the success rate of each task: evaluations by the learner, or counted over episodes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.batch import EpisodeBatch
from syllabus_service.curricula.blocks import blocks
from syllabus_service.curricula.interval_counts import counts_by_interval
from syllabus_service.curricula.lazy_distribution import LazyDistribution
from syllabus_service.curricula.narrow_counts import NarrowCounts
from syllabus_service.curricula.param_checks import flag, share, whole

BASELINE_CAP = 0.75
"""A first success rate above this counts as this much of a baseline, so that there is always something left to
gain."""

_MAX_EARLY_SUCCESSES = 65_536
_NO_ENVIRONMENT = -1


class SuccessRates(LazyDistribution):
    """A curriculum over success rates.

    An *evaluation* is the success rate of all tasks, or of some. There are two ways to come by them, which may be
    mixed:

    - The learner pushes them: ``custom_update(success_rates=[...])``, with ``tasks=[...]`` where they are not all
      tasks'.
    - Episodes are counted, where ``update_interval`` or ``update_interval_steps`` is given. An episode is a success
      when its progress reached ``success_threshold``, at its end or on the way. Whenever the interval is full, the
      share of successes among each task's episodes since the last time is an evaluation of the tasks that had an
      episode.

    A task's first rate r₀ is its baseline b = min(r₀, 0.75). With ``normalize_success`` later rates count as what was
    gained over it, x = max(r - b, 0) / (1 - b); without, x = r.

    Cost: an episode O(1), an evaluation O(N) or, of n tasks, O(n). 29 bytes a task.

    Args:
        task_space: enumerable.
        seed, random_start_tasks, max_age: see ``LazyDistribution``.
        update_interval: number of finished episodes, at least 1, from one evaluation to the next.
        update_interval_steps: instead of it, a number of steps, at least 1: the evaluation comes with the end of the
            first episode after which more than that many have passed.
        success_threshold: progress, in (0, 1], from which on an episode is a success.
        normalize_success: see above.
    """

    state_fields = (
        *LazyDistribution.state_fields,
        "success_rates",
        "baseline",
        "batch_successes",
        "batch_episodes",
        "episodes_since_update",
        "steps_since_update",
        "early_successes",
    )

    success_rates: np.ndarray
    """float64 (N,): each task's success rate at its latest evaluation, 0 before the first. See ``rates``."""
    baseline: np.ndarray
    """float64 (N,): each task's baseline, NaN before its first success rate."""

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        max_age: int | None = None,
        update_interval: int | None = None,
        update_interval_steps: int | None = None,
        success_threshold: float = 1.0,
        normalize_success: bool = True,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks, max_age=max_age)
        if update_interval is not None and update_interval_steps is not None:
            raise ValueError("update_interval_steps: expected none where update_interval is given")
        for name, interval in (("update_interval", update_interval), ("update_interval_steps", update_interval_steps)):
            if interval is not None:
                whole(name, interval, 1)
        self.update_interval = update_interval
        self.update_interval_steps = update_interval_steps
        self.success_threshold = share("success_threshold", success_threshold, "(0, 1]")
        self.normalize_success = flag("normalize_success", normalize_success)
        self.success_rates = np.zeros(self.num_tasks)
        self.baseline = np.full(self.num_tasks, np.nan)
        self._successes = NarrowCounts(self.num_tasks)
        self._episodes = NarrowCounts(self.num_tasks)
        self.episodes_since_update = 0
        self.steps_since_update = 0
        # The indices of the tasks with episodes since the last update, some of them twice; None once they are so many
        # that looking at all tasks costs no more.
        self._visited: array[int] | None = array("i")
        self._early: dict[int, int] = {}  # env id -> index of the task under way, whose success has been counted

    @property
    def counts_episodes(self) -> bool:
        """Whether episodes are learnt from."""
        return self.update_interval is not None or self.update_interval_steps is not None

    @property
    def batch_successes(self) -> np.ndarray:
        """int32 (N,): successful episodes since the last update. A copy."""
        return self._successes.array

    @batch_successes.setter
    def batch_successes(self, counts: np.ndarray) -> None:
        self._successes.array = counts

    @property
    def batch_episodes(self) -> np.ndarray:
        """int32 (N,): episodes since the last update. A copy."""
        return self._episodes.array

    @batch_episodes.setter
    def batch_episodes(self, counts: np.ndarray) -> None:
        self._episodes.array = counts

    def _learn_evaluation(self, at: slice | np.ndarray, rates: np.ndarray) -> None:
        """Take an evaluation of any size; see ``_learn``. ``slice(None)`` is all tasks."""
        for some in blocks(len(rates)):
            self._learn(some if isinstance(at, slice) else at[some], rates[some])

    def _learn(self, at: slice | np.ndarray, rates: np.ndarray) -> None:
        """Take an evaluation. ``at`` selects its tasks, each once; ``rates`` are their success rates."""
        baseline = self.baseline[at]
        first = np.isnan(baseline)
        if first.any():
            self.baseline[at] = np.where(first, np.minimum(rates, BASELINE_CAP), baseline)
        self.success_rates[at] = rates
        self._changed(len(rates))

    def rates(self) -> np.ndarray:
        """float64 (N,): each task's latest success rate, 0 before the first. Not to be changed."""
        return self.success_rates

    def _gained(self, at: slice | np.ndarray, rates: np.ndarray) -> np.ndarray:
        """x for success rates of the tasks ``at``: a new array. 0 for a task without a baseline."""
        if not self.normalize_success:
            return rates.copy()
        baseline = self.baseline[at]
        gained: np.ndarray = np.maximum(rates - baseline, 0.0) / (1.0 - baseline)
        gained[np.isnan(gained)] = 0.0
        return gained

    # Evaluations by the learner

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Take an evaluation by the learner, or count the episodes so far.

        Args:
            success_rates: (N,) or (n,): shares of successful episodes, each in [0, 1].
            tasks: (n, *encoded_shape): the encoded tasks they are of, each once. Absent: all tasks, in the order of
            indices.
            refresh: True: the episodes since the last update become an evaluation now. Nothing happens without one.

        Raises:
            ValueError: an argument is not such; it is named, and nothing has changed.
        """
        unknown = sorted(set(metrics) - {"success_rates", "tasks", "refresh"})
        if unknown:
            raise ValueError(f"{unknown[0]}: {type(self).__name__} takes success_rates, tasks and refresh")
        if not isinstance(refresh := metrics.get("refresh", False), (bool, np.bool_)):
            raise ValueError(f"refresh: expected true or false, got {refresh!r}")
        if metrics.get("success_rates") is not None:
            self._learn_evaluation(*self._evaluation(metrics["success_rates"], metrics.get("tasks")))
        elif metrics.get("tasks") is not None:
            raise ValueError("success_rates: expected one for each of tasks")
        elif not refresh:
            raise ValueError("success_rates: expected, or refresh=True")
        if refresh:
            self._update()
        return None

    def _evaluation(self, success_rates: Any, tasks: Any) -> tuple[slice | np.ndarray, np.ndarray]:
        at: slice | np.ndarray = slice(None)
        count = self.num_tasks
        if tasks is not None:
            at = self._indices(tasks)
            count = len(at)
        try:
            rates = np.asarray(success_rates, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"success_rates: expected numbers, {error}") from error
        if rates.shape != (count,):
            raise ValueError(f"success_rates: expected one for each of {count} tasks, got shape {rates.shape}")
        good = (rates >= 0.0) & (rates <= 1.0)
        if not good.all():
            worst = int(np.flatnonzero(~good)[0])
            raise ValueError(f"success_rates: expected numbers in [0, 1], got {rates[worst]} at {worst}")
        return at, rates

    def _indices(self, tasks: Any) -> np.ndarray:
        try:
            given = np.asarray(tasks)
            encoded = self._as_tasks(given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"tasks: expected encoded tasks, {error}") from error
        if given.shape != encoded.shape or not np.array_equal(given, encoded):
            raise ValueError(
                f"tasks: expected encoded tasks of shape (n, {self.task_space.encoded_shape}), got {tasks!r}"
            )
        inside = self.task_space.contains_encoded(encoded)
        if not inside.all():
            raise ValueError(f"tasks: {encoded[~inside][0]} is not an encoded task of the space")
        index = self.task_space.to_index(encoded)
        if len(np.unique(index)) != len(index):
            raise ValueError("tasks: expected each task once")
        return index

    # Episodes

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        """See ``Curriculum``. O(1), and an update when the interval is full."""
        super().update_on_episode(episode_return, length, task, progress, env_id)
        if not self.counts_episodes:
            return
        index = self._index(task)
        if self._early.pop(_NO_ENVIRONMENT if env_id is None else int(env_id), None) != index:
            self._count(index, progress >= self.success_threshold)
        self.episodes_since_update += 1
        self.steps_since_update += int(length)
        if self._interval_is_full():
            self._update()

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes: exactly as one after the other. O(n), and the updates that fall into the batch."""
        self.num_episodes += len(batch)
        if not self.counts_episodes or len(batch) == 0:
            return
        index = self.task_space.to_index(batch.tasks)
        counts = np.ones(len(index), dtype=np.int32)
        if self._early:
            for row in np.flatnonzero(np.isin(batch.env_ids, list(self._early))):
                if self._early.pop(int(batch.env_ids[row]), None) == index[row]:
                    counts[row] = 0
        successes = counts * (batch.progress >= self.success_threshold)
        steps = batch.lengths
        ends = self._ends_of_intervals(steps)
        # The first and the last interval may lie in other batches, too; what is between begins and ends in this one.
        first, last = (ends[0], ends[-1]) if len(ends) else (0, 0)
        whole, rest = slice(first, last), slice(last, None)
        if first > 0:
            self._count_rows(index[:first], counts[:first], successes[:first], steps[:first])
        if first < last:
            for interval in counts_by_interval(index[whole], counts[whole], successes[whole], ends[1:] - first):
                self._learn_from_counts(*interval)
        self._count_rows(index[rest], counts[rest], successes[rest], steps[rest])

    def _count_rows(self, index: np.ndarray, counts: np.ndarray, successes: np.ndarray, steps: np.ndarray) -> None:
        """Count episodes of one interval, and make an update when they fill it."""
        self._visit(index)
        self._episodes.add(index, counts)
        self._successes.add(index, successes)
        self.episodes_since_update += len(index)
        self.steps_since_update += int(steps.sum())
        if self._interval_is_full():
            self._update()

    def _ends_of_intervals(self, lengths: np.ndarray) -> np.ndarray:
        """int64: the row behind each one of a batch that fills an interval."""
        if self.update_interval is not None:
            return np.arange(self.update_interval - self.episodes_since_update, len(lengths) + 1, self.update_interval)
        passed = np.cumsum(lengths) + self.steps_since_update
        ends: list[int] = []
        before = 0
        while (row := int(passed.searchsorted(before + (self.update_interval_steps or 0), side="right"))) < len(passed):
            ends.append(row + 1)
            before = int(passed[row])
        return np.array(ends, dtype=np.int64)

    def _count(self, index: int, success: bool) -> None:
        at = np.array([index])
        self._visit(at)
        self._episodes.add(at, np.ones(1, np.int32))
        self._successes.add(at, np.array([success], np.int32))

    def _visit(self, index: np.ndarray) -> None:
        """Take note of tasks, int64 (n,), that an episode is about to be counted for."""
        if self._visited is not None:
            new = index[self._episodes[index] == 0]
            self._visited.frombytes(new.astype(np.int32).tobytes())
            if len(self._visited) > self.num_tasks // 16:
                self._visited = None

    def _interval_is_full(self) -> bool:
        if self.update_interval is not None:
            return self.episodes_since_update >= self.update_interval
        return self.update_interval_steps is not None and self.steps_since_update > self.update_interval_steps

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        """Take task completion in the middle of an episode. O(1).

        The first report that reaches ``success_threshold`` counts at once as a successful episode of the task, and
        the end of that episode then counts no second time. The episode is known by ``env_id`` and task: should two
        sessions use one env_id for the same task, the end of one may be taken for the end of the other.
        """
        if not self.counts_episodes or not progress >= self.success_threshold:
            return
        environment = _NO_ENVIRONMENT if env_id is None else int(env_id)
        index = self._index(task)
        if self._early.pop(environment, None) != index:
            self._count(index, True)
        self._early[environment] = index
        if len(self._early) > _MAX_EARLY_SUCCESSES:  # bounded: forget the oldest
            del self._early[next(iter(self._early))]

    def _index(self, task: Any) -> int:
        return int(self.task_space.to_index(self._as_tasks(task))[0])

    @property
    def early_successes(self) -> np.ndarray:
        """int64 (m, 2): env id and task index of each episode under way whose success has been counted, in order."""
        return np.array(list(self._early.items()), dtype=np.int64).reshape(-1, 2)

    @early_successes.setter
    def early_successes(self, rows: np.ndarray) -> None:
        self._early = {int(environment): int(index) for environment, index in rows}

    def _update(self) -> None:
        """Turn the episodes since the last update into an evaluation, and count from 0 again."""
        self.episodes_since_update = 0
        self.steps_since_update = 0
        if self._visited is None:
            visited = self._episodes.positive()
        else:
            visited = np.unique(np.array(self._visited, dtype=np.int64))
            visited = visited[self._episodes[visited] > 0]
        self._visited = array("i")
        if len(visited) > 0:
            successes, episodes = self._successes[visited], self._episodes[visited]
            self._episodes.clear(visited)
            self._successes.clear(visited)
            self._learn_from_counts(visited, successes, episodes)

    def _learn_from_counts(self, visited: np.ndarray, successes: np.ndarray, episodes: np.ndarray) -> None:
        """Learn from an interval: int (n,) each: the tasks with an episode, by index, ascending, and their counts."""
        for some in blocks(len(visited)):
            self._learn(visited[some], successes[some] / episodes[some])

    # State

    def _restore(self, state: Mapping[str, Any]) -> None:
        if (count := len(state["fields"]["success_rates"])) != self.num_tasks:
            raise ValueError(f"expected the state of {self.num_tasks} tasks, got that of {count}")
        super()._restore(state)
        self._visited = None  # to look at all tasks, once, is what it takes to find them, too

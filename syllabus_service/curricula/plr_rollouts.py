"""From rollouts to episode scores: what the learner saw, cut into episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from syllabus_service.curricula import plr_scores
from syllabus_service.curricula.partial_episodes import PartialEpisode, PartialEpisodes
from syllabus_service.curricula.plr_scores import Rollout

MAX_CARRIED_VALUES = 65_536
"""Most steps of an unfinished episode whose V is kept for a grounded score; of a longer one, the last ones."""


class FinishedEpisodes(NamedTuple):
    """Episodes in the order in which they ended."""

    tasks: np.ndarray
    """int64 (n,)."""
    scores: np.ndarray
    """float64 (n,): mean over the episode's steps."""
    max_scores: np.ndarray
    """float64 (n,): maximum over them."""
    returns: np.ndarray
    """float64 (n,): undiscounted."""


def read(arrays: dict[str, Any], strategy: str, shape: tuple[int, int]) -> Rollout:
    """The learner's arrays, checked. Raises ValueError, naming the array and what was expected of it.

    Args:
        arrays: ``dones``, and what the strategy needs of ``rewards``, ``values``, ``next_value`` (or ``next_values``)
            and ``logits``; each (T, A), or (A,) for a single step.
        strategy: one of plr_scores.STRATEGIES.
        shape: (T, A), that of ``tasks``.
    """
    needs_policy = strategy in plr_scores.POLICY_STRATEGIES
    needs_advantage = strategy in plr_scores.VALUE_STRATEGIES
    needs_values = needs_advantage or strategy in plr_scores.GROUNDED_STRATEGIES
    if "dones" not in arrays:
        raise ValueError("dones: expected an array of the shape of tasks")
    dones = _shaped("dones", arrays["dones"], shape) != 0
    rewards = values = next_values = logits = alt_returns = None
    if needs_values:
        rewards = _finite("rewards", _needed(arrays, "rewards", strategy), shape)
        values = _finite("values", _needed(arrays, "values", strategy), shape)
    if strategy == "alt_advantage_abs" and arrays.get("alt_returns") is not None:
        alt_returns = _finite("alt_returns", arrays["alt_returns"], shape)
    elif needs_advantage and values is not None:
        next_values = _next_values(arrays, strategy, values, dones)
    if needs_policy:
        logits = np.asarray(_needed(arrays, "logits", strategy), dtype=np.float64)
        logits = logits[np.newaxis] if logits.ndim == 2 else logits
        if logits.shape[:-1] != shape or logits.shape[-1] < 1:
            raise ValueError(f"logits: expected shape {[*shape, 'actions']}, got {list(logits.shape)}")
        if np.isnan(logits).any() or not np.isfinite(logits.max(axis=-1)).all():
            raise ValueError("logits: expected no NaN, and a finite largest one at each step")
    return Rollout(dones, rewards, values, next_values, logits, alt_returns)


def _needed(arrays: dict[str, Any], name: str, strategy: str) -> Any:
    if arrays.get(name) is None:
        raise ValueError(f"{name}: expected an array, which the strategy {strategy} needs")
    return arrays[name]


def _shaped(name: str, array: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(array)
    array = array[np.newaxis] if array.ndim == 1 and len(shape) == 2 else array
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers of shape {list(shape)}, as tasks, got {list(array.shape)}")
    return array


def _finite(name: str, array: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _shaped(name, array, shape).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers")
    return array


def _next_values(arrays: dict[str, Any], strategy: str, values: np.ndarray, dones: np.ndarray) -> np.ndarray:
    """float64 (T, A): V of the state after each step, 0 where the step is done."""
    name = "next_values" if arrays.get("next_values") is not None else "next_value"
    given = np.asarray(_needed(arrays, name, strategy), dtype=np.float64)
    if given.shape != values.shape:
        if given.shape != values.shape[1:]:
            raise ValueError(
                f"{name}: expected shape {list(values.shape[1:])}, after the last step, or {list(values.shape)}, "
                f"after each step, got {list(given.shape)}"
            )
        given = np.concatenate([values[1:], given[np.newaxis]])
    given = np.where(dones, 0.0, given)
    if not np.isfinite(given).all():
        raise ValueError(f"{name}: expected finite numbers where the step is not done")
    return given


class EpisodeScorer:
    """Scores each episode by the mean of its step scores, however many rollouts it stretches over.

    An episode that a rollout leaves unfinished is carried to the environment's next one. It is dropped, without a
    score, where that goes on with another task: the environment was reset or replaced. O(T A) a rollout.

    Args:
        strategy: one of plr_scores.STRATEGIES.
        gamma: discount factor, in [0, 1].
        gae_lambda: of the advantage estimates, in [0, 1].
        dense_rewards: a grounded score looks at an episode's first step only.
        partial: where unfinished episodes are kept.
    """

    def __init__(
        self, strategy: str, gamma: float, gae_lambda: float, dense_rewards: bool, partial: PartialEpisodes
    ) -> None:
        self._strategy = strategy
        self._gamma = gamma
        self._gae_lambda = gae_lambda
        self._dense_rewards = dense_rewards
        self._partial = partial

    def finish(
        self,
        tasks: np.ndarray,
        rollout: Rollout,
        env_ids: list[int],
        best_return: Callable[[int, float], float],
    ) -> FinishedEpisodes:
        """Take a rollout; return the episodes that ended in it.

        Args:
            tasks: int64 (T, A): index of the task at each step.
            rollout: the steps.
            env_ids: the A environments, distinct.
            best_return: where the score is grounded, called for each finished episode, in order, with its task and
                return; returns the highest return so far, this one included.
        """
        steps, actors = tasks.shape
        if steps == 0 or actors == 0:
            empty = np.empty(0)
            return FinishedEpisodes(tasks[:0, :0].reshape(-1), empty, empty, empty)
        grounded = self._strategy in plr_scores.GROUNDED_STRATEGIES
        # One long column, environment after environment, cut where an episode starts.
        scores = np.zeros(tasks.shape)
        if not grounded:
            scores = plr_scores.step_scores(self._strategy, rollout, self._gamma, self._gae_lambda)
        counted = ~rollout.dones if self._strategy == "one_step_td_error" else np.ones(tasks.shape, dtype=bool)
        starts = np.ones(tasks.shape, dtype=bool)
        starts[1:] = rollout.dones[:-1] | (tasks[1:] != tasks[:-1])
        first = np.flatnonzero(starts.T)
        last = np.append(first[1:], steps * actors) - 1
        column_scores, column_counted = scores.T.reshape(-1), counted.T.reshape(-1)
        totals = np.add.reduceat(np.where(column_counted, column_scores, 0.0), first)
        counts = np.add.reduceat(column_counted.astype(np.int64), first)
        highest = np.maximum.reduceat(np.where(column_counted, column_scores, -np.inf), first)
        earned = np.zeros(len(first))
        if rollout.rewards is not None:
            earned = np.add.reduceat(rollout.rewards.T.reshape(-1), first)
        values = rollout.values.T.reshape(-1) if grounded and rollout.values is not None else None
        values_of = [None if values is None else values[a : b + 1] for a, b in zip(first, last, strict=True)]

        # Join the first episode of each environment to what was carried, and carry its last one, if it goes on.
        actor = first // steps
        segment_tasks = tasks.T.reshape(-1)[first]
        for segment in np.flatnonzero(first % steps == 0).tolist():
            carried = self._partial.pop(env_ids[actor[segment]])
            if carried is not None and carried.task == segment_tasks[segment]:
                totals[segment] += carried.total
                counts[segment] += carried.num_scored
                highest[segment] = max(highest[segment], carried.highest)
                earned[segment] += carried.earned
                if carried.values is not None and values is not None:
                    values_of[segment] = np.concatenate([carried.values, values_of[segment]])
        done = rollout.dones.T.reshape(-1)[last]
        for segment in np.flatnonzero(~done & (last % steps == steps - 1)).tolist():
            kept = values_of[segment]
            self._partial.put(
                env_ids[actor[segment]],
                PartialEpisode(
                    int(segment_tasks[segment]),
                    float(totals[segment]),
                    int(counts[segment]),
                    float(highest[segment]),
                    float(earned[segment]),
                    None if kept is None else kept[-MAX_CARRIED_VALUES:].copy(),
                ),
            )

        ended = np.flatnonzero(done)
        ended = ended[np.lexsort((actor[ended], last[ended] % steps))]
        if grounded:
            pairs = np.zeros((len(ended), 2))
            for row, segment in enumerate(ended.tolist()):
                best = best_return(int(segment_tasks[segment]), float(earned[segment]))
                of_episode = values_of[segment]
                if of_episode is not None:
                    pairs[row] = plr_scores.grounded_score(
                        self._strategy, best, of_episode, first_only=self._dense_rewards
                    )
            return FinishedEpisodes(segment_tasks[ended], pairs[:, 0], pairs[:, 1], earned[ended])
        none = counts[ended] == 0  # one step long, and that one is left out otherwise
        alone = column_scores[last[ended]]
        means = np.where(none, alone, totals[ended] / np.maximum(counts[ended], 1))
        return FinishedEpisodes(segment_tasks[ended], means, np.where(none, alone, highest[ended]), earned[ended])

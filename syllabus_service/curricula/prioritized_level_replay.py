"""Prioritized level replay: tasks that still have something to teach are played again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace
from syllabus_service.curricula import plr_rollouts, plr_scores, plr_transforms
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import Draw, EpisodeBatch
from syllabus_service.curricula.lazy_distribution import EXACT_UP_TO
from syllabus_service.curricula.level_slots import LevelSlots
from syllabus_service.curricula.param_checks import held_tasks
from syllabus_service.curricula.partial_episodes import PartialEpisodes
from syllabus_service.curricula.plr_transforms import Transform
from syllabus_service.curricula.task_buffer import TaskBuffer

_ROLLOUT_ARRAYS = {"rewards", "values", "next_value", "next_values", "dones", "logits", "alt_returns", "env_ids"}
_SCORE_ARRAYS = {"scores", "max_scores", "num_steps"}


class PrioritizedLevelReplay(Curriculum):
    """Prioritized level replay (Jiang et al., arXiv 2010.03934, algorithm 1).

    1. With probability p a task that was *seen* (it has a score) is replayed, otherwise a new one is drawn uniformly
       from the unseen ones. Schedule ``fixed``: p = replay_prob; ``proportionate``: p = seen / N, the paper's. Before a
       share ``rho`` of the tasks is seen, p = 0; when all are, p = 1.
    2. Replays follow (1 - c) P_S + c P_C, with the staleness coefficient c; P_S is proportional to
       ``score_transform`` of the scores, such as rank(S_i)^(-1/T), and P_C to ``staleness_transform`` of the number of
       draws since a task's last one (equations 1 and 2; the transforms are described in ``plr_transforms``).
    3. When an episode of the task ends, S_i becomes (1 - alpha) S_i + alpha ((1 - m) mean + m max) of its step scores,
       with m = max_score_coef and S_i = 0 at first.

    Scores arrive in one of three ways, from rollouts (``custom_update`` with ``rewards``, ``values`` ...), ready-made
    from the learner (``custom_update`` with ``scores``), or from workers where the policy acts: the metric ``score``,
    and optionally ``max_score``, of an episode.

    A space too large to hold, such as all seeds of a level generator, is curated in a buffer of ``buffer_size`` tasks.
    Every task outside of it counts as new. One that was handed out as new enters the buffer with its first score; where
    the buffer is full it does so in place of the task with the lowest probability of replay, unless that one has a
    higher score. A report of a task that is neither in the buffer nor on its way there comes too late and is ignored.
    There is then no ``distribution`` over the space; ``buffered_tasks`` and ``distribution(replay=True)`` tell what is
    in the slots. The ``proportionate`` schedule replays with min(filled / buffer_size, replay_prob).

    k draws at one time are distributed as k draws one by one: each changes the stalenesses for the next. The
    probabilities that come with them are those of each task when it was drawn; for a staleness transform other than
    constant, and power with temperature 1, and where ``max_age`` runs out among the k, those at one of the k draws.

    Cost: with the default transforms O(log N) a draw and a score, and O(N) now and then (see ``ScoreDraws`` and
    ``StalenessDraws``); about 55 bytes a task, and about 250 an unfinished episode.

    Args:
        task_space: enumerable.
        seed: see ``Curriculum``.
        random_start_tasks: see ``Curriculum``.
        strategy: score of a step, one of ``plr_scores.STRATEGIES``. ``uniform`` scores every episode 1; ``random`` and
            ``off`` draw uniformly from the whole space, ``sequential`` in the order of ids, and nothing is scored.
        replay_schedule: ``proportionate`` or ``fixed``.
        score_transform: one of ``plr_transforms.TRANSFORMS``.
        temperature: of score_transform, above 0.
        eps: of ``eps_greedy``, in [0, 1].
        rho: share of the tasks, or slots, that are seen before one is replayed, in [0, 1].
        nu: probability of a new task in the ``fixed`` schedule: 1 - replay_prob, by another name. Give one of the two.
        replay_prob: probability of a replay in the ``fixed`` schedule, in [0, 1]; 0.5 where neither is given.
        alpha: weight of a new score, in (0, 1].
        staleness_coef: c, in [0, 1].
        staleness_transform: one of ``plr_transforms.TRANSFORMS``.
        staleness_temperature: of staleness_transform, above 0.
        max_score_coef: m, in [0, 1].
        gamma: discount factor of rollouts, in [0, 1].
        gae_lambda: of the advantage estimates of rollouts, in [0, 1].
        use_dense_rewards: the grounded scores compare the best return with V of an episode's first step only.
        num_steps: taken and not needed: rollouts may be of any length.
        num_actors: taken and not needed: rollouts may be of any environments.
        buffer_size: number of slots, at most half the number of tasks; None holds the whole space.
        max_unfinished_episodes: of how many environments unfinished episodes are kept between rollouts, at least 1.
        max_age: how many tasks may be drawn from a distribution before it is computed again, at least 0, where it takes
            O(N) or more to compute: eps_greedy, max, and ranks as staleness_transform or over scores some of which lie
            at or below 0 while tasks are unseen. ``distribution`` tells what is drawn from, old or not. None: 0 up to
            100,000 tasks, N / 16 beyond. The other transforms are always exact.
    """

    state_fields = ("replay_state",)

    def __init__(
        self,
        task_space: TaskSpace,
        *,
        seed: int | None = None,
        random_start_tasks: int = 0,
        strategy: str = "value_l1",
        replay_schedule: str = "proportionate",
        score_transform: str = "rank",
        temperature: float = 0.1,
        eps: float = 0.05,
        rho: float = 1.0,
        nu: float | None = None,
        replay_prob: float | None = None,
        alpha: float = 1.0,
        staleness_coef: float = 0.1,
        staleness_transform: str = "power",
        staleness_temperature: float = 1.0,
        max_score_coef: float = 0.0,
        gamma: float = 0.999,
        gae_lambda: float = 0.95,
        use_dense_rewards: bool = False,
        num_steps: int | None = None,
        num_actors: int | None = None,
        buffer_size: int | None = None,
        max_unfinished_episodes: int = 65_536,
        max_age: int | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if strategy not in plr_scores.STRATEGIES:
            raise ValueError(f"strategy: expected one of {', '.join(plr_scores.STRATEGIES)}, got {strategy!r}")
        if replay_schedule not in ("fixed", "proportionate"):
            raise ValueError(f"replay_schedule: expected fixed or proportionate, got {replay_schedule!r}")
        if nu is not None and replay_prob is not None:
            raise ValueError("nu: expected it or replay_prob, which is 1 - nu, got both")
        if replay_prob is None:
            replay_prob = 0.5 if nu is None else 1.0 - nu
        shares = {
            "eps": eps,
            "rho": rho,
            "replay_prob": replay_prob,
            "alpha": alpha,
            "staleness_coef": staleness_coef,
            "max_score_coef": max_score_coef,
            "gamma": gamma,
            "gae_lambda": gae_lambda,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
        if alpha == 0:
            raise ValueError("alpha: expected a number above 0, got 0")
        for name, count, least in (("max_unfinished_episodes", max_unfinished_episodes, 1), ("max_age", max_age, 0)):
            if count is not None and count < least:
                raise ValueError(f"{name}: expected at least {least}, got {count}")
        if buffer_size is not None and not 1 <= buffer_size <= self.num_tasks // 2:
            raise ValueError(f"buffer_size: expected 1 to {self.num_tasks // 2}, half the tasks, got {buffer_size}")
        self.strategy = strategy
        self.replay_schedule = replay_schedule
        self.rho = rho
        self.replay_prob = replay_prob
        self.max_score_coef = max_score_coef
        slots = held_tasks("task_space" if buffer_size is None else "buffer_size", buffer_size or self.num_tasks)
        # Both transforms have the same offset: without staleness, a task of score 0 must keep a chance.
        offset = 1e-3 if staleness_coef == 0 else 0.0
        self._buffer = None if buffer_size is None else TaskBuffer(buffer_size)
        self._slots = LevelSlots(
            slots,
            self._buffer,
            alpha=alpha,
            staleness_coef=staleness_coef,
            score_transform=plr_transforms.checked(
                "score_transform", Transform(score_transform, temperature, eps, offset)
            ),
            staleness_transform=plr_transforms.checked(
                "staleness_transform", Transform(staleness_transform, staleness_temperature, eps, offset)
            ),
            max_age=max_age if max_age is not None else (0 if slots <= EXACT_UP_TO else slots // 16),
            keeps_returns=strategy in plr_scores.GROUNDED_STRATEGIES,
        )
        self._partial = PartialEpisodes(max_unfinished_episodes)
        self._scorer = plr_rollouts.EpisodeScorer(strategy, gamma, gae_lambda, use_dense_rewards, self._partial)
        self._next_in_sequence = 0

    # What it knows

    def scores(self) -> np.ndarray:
        """float64 (N,), or (buffer_size,): the score of each task, by index, or slot; NaN where it is unseen."""
        return np.where(self._slots.seen.mask, self._slots.scores, np.nan)

    def has_score(self, tasks: np.ndarray) -> np.ndarray:
        """bool (k,): which of k encoded tasks are seen, or in the buffer."""
        slots = self._slots.slots_of(self.task_space.to_index(tasks))
        return (slots >= 0) & self._slots.seen.mask[slots]

    def buffered_tasks(self) -> np.ndarray:
        """(count, *encoded_shape): the encoded tasks that are seen, or in the buffer; in the order of ids, or slots."""
        slots = np.flatnonzero(self._slots.seen.mask)
        return self.task_space.from_index(slots if self._buffer is None else self._buffer.tasks[slots])

    @property
    def replay_probability(self) -> float:
        """p: the probability that the next task is a replay."""
        seen = self._slots.seen.count
        if seen == 0 or seen < self.rho * self._slots.num_slots:
            return 0.0
        if self._buffer is not None:
            filled = seen / self._slots.num_slots
            return self.replay_prob if self.replay_schedule == "fixed" else min(filled, self.replay_prob)
        if seen == self._slots.num_slots:
            return 1.0
        return self.replay_prob if self.replay_schedule == "fixed" else seen / self._slots.num_slots

    def distribution(self, replay: bool = False) -> np.ndarray:
        """float64 (N,): the probability of each task; with ``replay``, given that it is a replay.

        With a buffer only the latter is there, float64 (buffer_size,), by slot. All zeros for a replay when nothing is
        seen. O(N), and O(N log N) for ranks.
        """
        if replay:
            return self._slots.distribution()
        if self._buffer is not None:
            raise NotImplementedError("there is no distribution over a space that is held by a buffer")
        return super().distribution()

    def _distribution(self) -> np.ndarray:
        if self.strategy in ("random", "off"):
            return np.full(self.num_tasks, 1.0 / self.num_tasks)
        if self.strategy == "sequential":
            return (np.arange(self.num_tasks) == self._next_in_sequence).astype(np.float64)
        p = self.replay_probability
        new = np.where(self._slots.seen.mask, 0.0, 1.0 / max(1, self._slots.num_slots - self._slots.seen.count))
        return p * self._slots.distribution() + (1.0 - p) * new

    # Drawing

    def _draw(self, k: int) -> Draw:
        if self.strategy in ("random", "off"):
            return self._draw_uniform(k)
        if self.strategy == "sequential":
            index = (self._next_in_sequence + np.arange(k)) % self.num_tasks
            self._next_in_sequence = (self._next_in_sequence + k) % self.num_tasks
            return Draw(self.task_space.from_index(index), np.ones(k))
        p = self.replay_probability
        replayed = np.full(k, p == 1.0) if p in (0.0, 1.0) else self.rng.random(k) < p
        slots = np.full(k, -1, dtype=np.int64)
        probabilities = np.empty(k)
        tasks = np.empty(k, dtype=np.int64)
        new = np.flatnonzero(~replayed)
        if len(new):
            tasks[new], slots[new], chance = self._draw_new(len(new))
            probabilities[new] = (1.0 - p) * chance
        again = np.flatnonzero(replayed)
        if len(again):
            probabilities[again] = p * self._slots.draw_replays(slots, again, self.rng)
            tasks[again] = slots[again] if self._buffer is None else self._buffer.tasks[slots[again]]
        return Draw(self.task_space.from_index(tasks), probabilities)

    def _draw_new(self, k: int) -> tuple[np.ndarray, np.ndarray, float]:
        """k unseen tasks: their indices, their slots (-1 where they have none), and the probability of each."""
        if self._buffer is None:
            slots = self._slots.seen.draw_others(k, self.rng)
            return slots, slots, 1.0 / (self._slots.num_slots - self._slots.seen.count)
        tasks = self.task_space.to_index(self.task_space.sample(k, self.rng)).astype(np.int64)
        while len(held := np.flatnonzero(self._buffer.slots_of(tasks) >= 0)):
            tasks[held] = self.task_space.to_index(self.task_space.sample(len(held), self.rng))
        return tasks, np.full(k, -1, dtype=np.int64), 1.0 / (self.num_tasks - self._slots.seen.count)

    def on_sampled(self, tasks: np.ndarray) -> None:
        """Make every task staler by the draws of others since its own last one. O(k)."""
        index = self.task_space.to_index(np.asarray(tasks))
        slots = self._slots.slots_of(index)
        if self._buffer is not None:
            for position in np.flatnonzero(slots < 0).tolist():
                self._buffer.expect(int(index[position]), self._slots.staleness_draws.clock + 1 + position)
        self._slots.staleness_draws.advance(slots)

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Expect no first score of tasks that will not be run to an end."""
        if self._buffer is not None:
            for task in self.task_space.to_index(np.asarray(tasks)).tolist():
                self._buffer.arrive(task)

    # Learning

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes, and the scores of those that have the metric ``score`` (and ``max_score``).

        Raises ValueError, naming the field, for a score that is infinite or a task that is not in the space; then
        nothing has changed.
        """
        scores = batch.metrics.get("score")
        scored = np.empty(0, dtype=np.int64) if scores is None else np.flatnonzero(~np.isnan(scores))
        if scores is not None and len(scored) and self.strategy not in plr_scores.UNSCORED_STRATEGIES:
            means = scores[scored]
            highest = batch.metrics.get("max_score")
            highest = means if highest is None else np.where(np.isnan(highest[scored]), means, highest[scored])
            if not (np.isfinite(means).all() and np.isfinite(highest).all()):
                raise ValueError("metrics.score, metrics.max_score: expected finite numbers")
            self._apply_scores(self._checked_index(batch.tasks[scored], "tasks"), means, highest)
        self.num_episodes += len(batch)

    def custom_update(self, **metrics: Any) -> None:
        """Take scores, or rollouts to be scored.

        Scores: ``tasks`` (n, *encoded_shape), ``scores`` (n,), finite; optionally ``max_scores`` (n,), the largest step
        score of each episode, taken to be the score where it is missing; and ``num_steps`` (n,), which is not needed,
        as a score is a mean over a whole episode. Applied one after the other.

        Rollouts: ``tasks`` (T, A, *encoded_shape), ``dones`` (T, A): the step ended its environment's episode; and, as
        the strategy needs, ``rewards`` and ``values`` (T, A), ``next_value`` (A,): V of the state after the last step,
        or ``next_values`` (T, A): V of the state after each step; ``logits`` (T, A, actions); ``alt_returns`` (T, A).
        ``env_ids`` (A,), distinct, tell which environments they are; 0 to A - 1 where they are missing. A single step
        may leave out the first dimension. Episodes that go on are carried to the environment's next rollout.

        Raises ValueError, naming the array, for one that is missing, unknown, not of its shape or not finite, and
        TaskNotInSpaceError for a task that is not in the space; then nothing has changed.
        """
        if self.strategy in plr_scores.UNSCORED_STRATEGIES:
            raise ValueError(f"strategy: {self.strategy} takes no scores and no rollouts, got {sorted(metrics)}")
        allowed = _SCORE_ARRAYS if "scores" in metrics else _ROLLOUT_ARRAYS
        if unknown := set(metrics) - allowed - {"tasks"}:
            raise ValueError(f"{min(unknown)}: expected only tasks and {', '.join(sorted(allowed))}")
        if metrics.get("tasks") is None:
            raise ValueError("tasks: expected an array of encoded tasks")
        tasks = np.asarray(metrics.pop("tasks"))
        if "scores" in metrics:
            self._update_with_scores(tasks, **metrics)
        else:
            self._update_with_rollout(tasks, metrics)

    def _update_with_scores(
        self, tasks: np.ndarray, scores: Any, max_scores: Any = None, num_steps: Any = None
    ) -> None:
        index = self._checked_index(tasks, "tasks")
        columns = {"scores": scores, "max_scores": scores if max_scores is None else max_scores}
        if num_steps is not None:
            columns["num_steps"] = num_steps
        for name, column in columns.items():
            columns[name] = np.asarray(column, dtype=np.float64)
            if columns[name].shape != index.shape or not np.isfinite(columns[name]).all():
                raise ValueError(f"{name}: expected finite numbers of shape {list(index.shape)}, one for each task")
        self._apply_scores(index, columns["scores"], columns["max_scores"])

    def _update_with_rollout(self, tasks: np.ndarray, metrics: dict[str, Any]) -> None:
        encoded_shape = self.task_space.encoded_shape
        leading = tasks.ndim - len(encoded_shape)
        if leading == 1:
            tasks = tasks[np.newaxis]
        elif leading != 2:
            raise ValueError(f"tasks: expected shape {['T', 'A', *encoded_shape]}, got {list(tasks.shape)}")
        steps, actors = tasks.shape[:2]
        index = self._checked_index(tasks.reshape(-1, *encoded_shape), "tasks").reshape(steps, actors)
        given = metrics.get("env_ids")
        env_ids = np.arange(actors) if given is None else np.asarray(given)
        if env_ids.shape != (actors,) or env_ids.dtype.kind not in "iu" or len(np.unique(env_ids)) != actors:
            raise ValueError(f"env_ids: expected {actors} distinct whole numbers, got {env_ids.tolist()}")
        rollout = plr_rollouts.read(metrics, self.strategy, (steps, actors))
        ended = self._scorer.finish(index, rollout, env_ids.tolist(), self._slots.best_return)
        self._apply_scores(ended.tasks, ended.scores, ended.max_scores, ended.returns)

    def _checked_index(self, tasks: np.ndarray, field: str) -> np.ndarray:
        """int64 (n,): the indices of encoded tasks (n, *encoded_shape)."""
        space = self.task_space
        if tasks.size == 0:
            return np.empty(0, dtype=np.int64)
        if tasks.shape[1:] != space.encoded_shape or tasks.ndim != 1 + len(space.encoded_shape):
            raise ValueError(f"{field}: expected shape {['n', *space.encoded_shape]}, got {list(tasks.shape)}")
        if not np.can_cast(tasks.dtype, space.encoded_dtype, "same_kind"):
            raise ValueError(f"{field}: expected {space.encoded_dtype}, as tasks are encoded, got {tasks.dtype}")
        tasks = tasks.astype(space.encoded_dtype)
        inside = space.contains_encoded(tasks)
        if not inside.all():
            row = int(np.argmin(inside))
            raise TaskNotInSpaceError(f"{field}: expected tasks of the task space, got {tasks[row].tolist()}")
        return space.to_index(tasks).astype(np.int64)

    def _apply_scores(
        self, index: np.ndarray, means: np.ndarray, highest: np.ndarray, returns: np.ndarray | None = None
    ) -> None:
        self._slots.apply(index, (1.0 - self.max_score_coef) * means + self.max_score_coef * highest, returns)

    # State

    @property
    def replay_state(self) -> dict[str, Any]:
        """Everything that isn't in the parameters."""
        return {
            **self._slots.state(),
            "next_in_sequence": self._next_in_sequence,
            "partial_episodes": self._partial.state(),
        }

    @replay_state.setter
    def replay_state(self, state: Mapping[str, Any]) -> None:
        self._slots.load(state)
        self._next_in_sequence = int(state["next_in_sequence"])
        self._partial.load(state["partial_episodes"])

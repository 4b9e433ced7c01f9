"""The slots of level replay: who is in them, their scores and stalenesses, and how they are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from syllabus_service.curricula.partition import Partition
from syllabus_service.curricula.plr_score_draws import ScoreDraws
from syllabus_service.curricula.plr_staleness_draws import StalenessDraws
from syllabus_service.curricula.plr_transforms import Transform
from syllabus_service.curricula.task_buffer import TaskBuffer


class LevelSlots:
    """One slot for each task, or for each of a buffer.

    Args:
        num_slots: N, or the size of the buffer.
        buffer: of a space that is too large to hold; None: the slot of a task is its index.
        alpha: weight of a new score.
        staleness_coef: weight of staleness in a replay.
        score_transform, staleness_transform: with aliases resolved.
        max_age: see ``PrioritizedLevelReplay``.
        keeps_returns: whether the best return of each task is kept.

    Cost: see ``PrioritizedLevelReplay``.
    """

    def __init__(
        self,
        num_slots: int,
        buffer: TaskBuffer | None,
        *,
        alpha: float,
        staleness_coef: float,
        score_transform: Transform,
        staleness_transform: Transform,
        max_age: int,
        keeps_returns: bool,
    ) -> None:
        self.num_slots = num_slots
        self.buffer = buffer
        self.alpha = alpha
        self.staleness_coef = staleness_coef
        self._score_transform = score_transform
        self._staleness_transform = staleness_transform
        self._max_age = max_age
        self.scores = np.zeros(num_slots)
        """float64 (slots,): the score of each; 0 where it is unseen. Read only."""
        self._last_drawn = np.zeros(num_slots, dtype=np.int64)
        self.best_returns = np.full(num_slots if keeps_returns else 0, -np.inf)
        self.seen = Partition(np.arange(num_slots))
        """Which slots have a score."""
        self._build_draws(clock=0)

    def _build_draws(self, clock: int) -> None:
        self._score_draws = ScoreDraws(self._score_transform, self.scores, self.seen, self._max_age)
        self.staleness_draws = StalenessDraws(
            self._staleness_transform, self._last_drawn, self.seen, clock, self._max_age
        )

    def slots_of(self, index: np.ndarray) -> np.ndarray:
        """int64 (k,): the slot of each task, -1 where it has none."""
        index = index.astype(np.int64)
        return index if self.buffer is None else self.buffer.slots_of(index)

    # Drawing

    def distribution(self) -> np.ndarray:
        """float64 (slots,): the probability of each to be replayed; zeros where none is seen. O(N)."""
        mixture = self._score_draws.distribution()
        if self.staleness_coef > 0:
            mixture *= 1.0 - self.staleness_coef
            mixture += self.staleness_coef * self.staleness_draws.distribution()
        return mixture

    def draw_replays(self, slots: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Fill ``positions`` of ``slots`` with replays; return the probability of each."""
        coefficient = self.staleness_coef
        self._score_draws.prepare()
        stale = rng.random(len(positions)) < coefficient if coefficient > 0 else np.zeros(len(positions), bool)
        by_score = positions[~stale]
        if len(by_score):
            slots[by_score] = self._score_draws.draw(len(by_score), rng)
        self.staleness_draws.draw_into(slots, positions[stale], rng)
        probabilities = (1.0 - coefficient) * self._score_draws.probability(slots[positions])
        if coefficient > 0:
            probabilities += coefficient * self.staleness_draws.probability(slots, positions)
        return probabilities

    # Scores

    def best_return(self, task: int, episode_return: float) -> float:
        """The best return of a task so far, this one counted."""
        slot = int(self.slots_of(np.array([task]))[0])
        if slot < 0:
            return episode_return
        self.best_returns[slot] = max(self.best_returns[slot], episode_return)
        return float(self.best_returns[slot])

    def apply(self, index: np.ndarray, scores: np.ndarray, returns: np.ndarray | None = None) -> None:
        """Blend episode scores, float64 (n,), into those of the tasks of these indices, in order.

        ``returns`` are those of the episodes, where they are known. A task that is neither in the buffer nor on its way
        there is passed over.
        """
        if self.buffer is not None:
            rest = self._admit(self.buffer, index, scores, returns)
            index, scores = self.buffer.slots_of(index[rest]), scores[rest]
        if len(index) == 0:
            return
        # Of one task, m scores s_1..s_m: (1 - alpha)^m S + alpha sum_i (1 - alpha)^(m - i) s_i.
        order = np.argsort(index, kind="stable")
        slots, first, counts = np.unique(index[order], return_index=True, return_counts=True)
        later = np.repeat(first + counts, counts) - 1 - np.arange(len(index))
        kept = 1.0 - self.alpha
        blended = np.add.reduceat(self.alpha * kept**later * scores[order], first)
        self._set_scores(slots, kept**counts * self.scores[slots] + blended)

    def _set_scores(self, slots: np.ndarray, scores: np.ndarray) -> None:
        newly_seen = ~self.seen.mask[slots]
        old_scores = self.scores[slots]
        self.scores[slots] = scores
        added = self.seen.add(slots)
        self._score_draws.update(slots, old_scores, newly_seen)
        self.staleness_draws.on_seen(added)

    def _admit(
        self, buffer: TaskBuffer, index: np.ndarray, scores: np.ndarray, returns: np.ndarray | None
    ) -> np.ndarray:
        """Give slots to expected tasks; return the rows that are about tasks which had one, or have it now.

        Who has to leave is decided by the probabilities before the update, or, where there are more new tasks than
        slots, before each buffer's worth of them.
        """
        pending: list[tuple[int, int]] = []  # row, clock of the draw
        for row in np.flatnonzero(buffer.slots_of(index) < 0).tolist():
            drawn_at = buffer.arrive(int(index[row]))
            if drawn_at is not None:  # not evicted meanwhile, nor about to enter by an earlier row
                pending.append((row, drawn_at))
        while pending:
            some, pending = pending[: self.num_slots], pending[self.num_slots :]
            filled = self.seen.count  # slots are filled in their order
            free = list(range(filled, min(self.num_slots, filled + len(some))))[::-1]
            leaving: list[int] = []
            if len(some) > len(free):
                leaving = self._least_probable(len(some) - len(free))[::-1].tolist()
            rows, slots, drawn = [], [], []
            for row, drawn_at in some:
                if free:
                    slots.append(free.pop())
                elif self.scores[leaving[-1]] <= self.alpha * scores[row]:
                    slots.append(leaving.pop())
                else:
                    continue
                rows.append(row)
                drawn.append(drawn_at)
            places = np.array(slots, dtype=np.int64)
            buffer.put(index[rows], places)
            self.staleness_draws.on_replaced(places, np.array(drawn, dtype=np.int64))
            self._set_scores(places, self.alpha * scores[rows])
            if len(self.best_returns):
                self.best_returns[places] = -np.inf if returns is None else returns[rows]
            scores[rows] = np.nan  # these rows are used up
        return np.flatnonzero((buffer.slots_of(index) >= 0) & ~np.isnan(scores))

    def _least_probable(self, count: int) -> np.ndarray:
        """int64: the ``count`` seen slots that are least likely to be replayed, the least first; of equals, by slot.

        O(N), and O(N log N) for ranks; but of a full buffer with ranks of scores and linear staleness, nearly always a
        pass over the last draws, and O(log N) for each of a few times ``count`` slots.
        """
        seen = self._bounded_candidates(count)
        if seen is None:
            seen = np.flatnonzero(self.seen.mask)
            probabilities = self.distribution()[seen]
        else:
            probabilities = self._ranked_probability(seen)
        if count < len(seen):
            low = probabilities <= np.partition(probabilities, count - 1)[count - 1]
            seen, probabilities = seen[low], probabilities[low]
        return seen[np.argsort(probabilities, kind="stable")[:count]]

    def _bounded_candidates(self, count: int) -> np.ndarray | None:
        """int64, ascending: slots among which the ``count`` least probable of all are. None where no bound tells them.

        A threshold algorithm (Fagin, Lotem and Naor 2003): the slots drawn last are the least stale; the count-th
        smallest of their probabilities is a bound, and whoever is so stale that it would exceed it even with the worst
        rank is out.
        """
        staleness, coefficient = self.staleness_draws, self.staleness_coef
        if self.seen.count < self.num_slots or not self._score_draws.ranks_all_seen:
            return None
        if coefficient == 0:
            return np.sort(self._score_draws.worst_ranked(count))
        if not staleness.is_linear or staleness.total <= 0:
            return None
        window = 4 * count
        while len(latest := staleness.drawn_within(window)) < 2 * count:
            window *= 2
            if len(latest) == self.num_slots or window > staleness.clock:
                return None
        bound = np.partition(self._ranked_probability(latest), count - 1)[count - 1]
        spare = bound - (1.0 - coefficient) * self._score_draws.worst_probability
        stalest = int(np.ceil(spare / coefficient * staleness.total * (1.0 + 1e-9))) + 1  # rounding must exclude nobody
        if stalest > window:
            latest = staleness.drawn_within(stalest)
        return latest if len(latest) <= self.num_slots // 16 else None

    def _ranked_probability(self, slots: np.ndarray) -> np.ndarray:
        """float64 (k,): of slots of a full buffer, with ranks of scores and linear staleness."""
        probabilities = self._score_draws.probability(slots)
        if self.staleness_coef > 0:
            probabilities *= 1.0 - self.staleness_coef
            probabilities += self.staleness_coef * self.staleness_draws.linear_share(slots)
        return probabilities

    # State

    def state(self) -> dict[str, Any]:
        """Arrays and plain values, not copied."""
        score_draws, staleness_draws = self._score_draws, self.staleness_draws
        return {
            "task_scores": self.scores,
            "last_drawn": self._last_drawn,
            "best_returns": self.best_returns,
            "seen_order": self.seen.order,
            "num_seen": self.seen.count,
            "buffer": None if self.buffer is None else self.buffer.state(),
            "scores": {
                "scale": score_draws.scale,
                "built": self._built_weights(score_draws),
                "age": score_draws.age,
            },
            "staleness": {
                "clock": staleness_draws.clock,
                "horizon": staleness_draws.horizon,
                "origin": staleness_draws.origin,
                "built": self._built_weights(staleness_draws),
                "age": staleness_draws.age,
            },
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` gave. Raises ValueError, and nothing has changed, for other slots. O(N)."""
        if len(state["task_scores"]) != self.num_slots or (state["buffer"] is None) != (self.buffer is None):
            raise ValueError(f"expected the state of {self.num_slots} tasks, got that of {len(state['task_scores'])}")
        if len(state["best_returns"]) != len(self.best_returns):
            raise ValueError("expected the state of the same strategy, got that of another")
        self.scores = state["task_scores"]
        self._last_drawn = state["last_drawn"]
        self.best_returns = state["best_returns"]
        self.seen = Partition(state["seen_order"], int(state["num_seen"]))
        if self.buffer is not None:
            self.buffer.load(state["buffer"])
        scores, staleness = state["scores"], state["staleness"]
        self._build_draws(int(staleness["clock"]))
        self._score_draws.restore(scores["scale"], scores["built"], scores["age"])
        self.staleness_draws.restore(staleness["horizon"], staleness["origin"], staleness["built"], staleness["age"])

    def _built_weights(self, draws: ScoreDraws | StalenessDraws) -> np.ndarray | None:
        """What is drawn from though it may be old; None where the present state tells it."""
        return None if draws.built is None or self._max_age == 0 else draws.built.weights

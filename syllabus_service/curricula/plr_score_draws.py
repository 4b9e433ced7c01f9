"""Drawing tasks in proportion to a transform of their scores, kept up while scores change."""

from __future__ import annotations

import math

import numpy as np

from syllabus_service.curricula import plr_transforms
from syllabus_service.curricula.block_sums import BlockSums
from syllabus_service.curricula.categorical import Categorical
from syllabus_service.curricula.partition import Partition
from syllabus_service.curricula.plr_transforms import Transform
from syllabus_service.curricula.ranking import Ranking

_WIDEST = 500.0  # largest difference of two logarithms that are held beside each other as weights


class ScoreDraws:
    """Draws seen tasks from P(i) = f(score_i) / sum over seen j of f(score_j).

    Each transform has the structure that fits it:

    * power, softmax, match: block sums of the weights. O(64) a changed score, O(64) a draw.
    * constant: nothing to keep.
    * rank, match_rank: a ranking, and the fixed running sum of rank^(-1/T). O(log N) a changed score and a draw. That
      holds where the seen tasks take the first ranks: all are seen, or no score lies at or below the 0 of the unseen.
    * otherwise, and for eps_greedy and max: the whole distribution is computed when it is drawn from, O(N) or, for
      ranks, O(N log N); up to ``max_age`` tasks are drawn from it before changed scores are followed.

    It reads the arrays that it is given and never writes them. Except for ``scale`` and ``built``, all that it holds is
    a function of them.

    Args:
        transform: with aliases resolved.
        scores: float64 (N,), 0 where unseen.
        seen: the seen tasks.
        max_age: in tasks drawn.
    """

    def __init__(self, transform: Transform, scores: np.ndarray, seen: Partition, max_age: int) -> None:
        self._transform = transform
        self._scores = scores
        self._seen = seen
        self._max_age = max_age
        self.scale = 0.0
        """Logarithm of the weight that the block sums hold as 1. State."""
        self.built: Categorical | None = None
        """The whole distribution as it is drawn from; None where it isn't, or is a function of the scores. State."""
        self.age = 0
        """Number of tasks drawn from ``built``. State."""
        self._sums: BlockSums | None = None
        self._ranking: Ranking | None = None
        self._weightless = False  # no seen task has a weight, as far as the sums were looked at
        self._running: np.ndarray | None = None
        if transform.name in ("rank", "match_rank"):
            self._running = np.cumsum(plr_transforms.rank_weights(len(scores), transform.temperature))
            self._ranking = self._new_ranking()
        elif transform.name in ("power", "softmax", "match"):
            self._weigh_all()

    def restore(self, scale: float, built: np.ndarray | None, age: int) -> None:
        """Take over the parts of the state that the arrays don't tell."""
        if self._sums is not None:
            self._weigh_all(scale)
        self.built = None if built is None else Categorical(built)
        self.age = age

    def update(self, slots: np.ndarray, old_scores: np.ndarray, newly_seen: np.ndarray) -> None:
        """Learn that the scores of distinct ``slots`` changed.

        Args:
            slots: int64 (m,); their new scores, and that they are seen, are in the arrays.
            old_scores: float64 (m,): what the scores were.
            newly_seen: bool (m,): which of them were unseen before.
        """
        if self._max_age == 0:
            self.built = None
        if self._sums is not None:
            self._weightless = False
            logs = plr_transforms.log_weights(self._transform, self._scores[slots])
            if logs.max(initial=-np.inf) > self.scale + _WIDEST:
                self._weigh_all()
            else:
                self._sums.update(slots, np.exp(logs - self.scale))
        if self._ranking is not None:
            if len(slots) > 1024 + len(self._scores) // 8:
                self._ranking = self._new_ranking()
                return
            keys = plr_transforms.ranking_key(self._transform, self._scores[slots])
            old = ~newly_seen
            old_keys = plr_transforms.ranking_key(self._transform, old_scores[old])
            self._ranking.replace(slots[old], old_keys, keys[old])
            self._ranking.insert(slots[newly_seen], keys[newly_seen])

    def prepare(self) -> None:
        """Bring what is drawn from up to date, as far as ``max_age`` asks for it. Called before a batch of draws."""
        if self._draws_from_whole() and (self.built is None or self.age >= self._max_age > 0):
            self.built = Categorical(plr_transforms.distribution(self._transform, self._scores, self._seen.mask))
            self.age = 0

    def distribution(self) -> np.ndarray:
        """float64 (N,): the probability of each slot to be drawn; all zeros where none is seen."""
        if self._draws_from_whole() and self.built is not None and self.age < self._max_age:
            return self.built.probabilities
        return plr_transforms.distribution(self._transform, self._scores, self._seen.mask)

    def draw(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (k,): slots, drawn independently. At least one must be seen, and ``prepare`` called."""
        if self._transform.name == "constant" or (self._sums is not None and not self._ready()):
            return self._seen.draw_members(k, rng)
        if self._sums is not None:
            return self._sums.draw(k, rng)
        if self._ranking is not None and self._running is not None and self._seen_come_first(self._ranking):
            points = rng.random(k) * self._running[self._seen.count - 1]
            return self._ranking.at(self._seen.count - 1 - np.searchsorted(self._running, points, side="right"))
        if self._max_age == 0:
            return self._whole().draw(k, rng)[0]
        parts = []
        while k > 0:
            self.prepare()
            count = min(k, self._max_age - self.age)
            parts.append(self._whole().draw(count, rng)[0])
            self.age += count
            k -= count
        return np.concatenate(parts)

    def probability(self, slots: np.ndarray) -> np.ndarray:
        """float64 (k,): the probability with which ``draw`` drew each of the seen ``slots`` last."""
        if self._transform.name == "constant" or (self._sums is not None and not self._ready()):
            return np.full(len(slots), 1.0 / self._seen.count)
        if self._sums is not None:
            return self._sums[slots] / self._sums.total
        if self._ranking is not None and self._running is not None and self._seen_come_first(self._ranking):
            keys = plr_transforms.ranking_key(self._transform, self._scores[slots])
            rank = self._seen.count - self._ranking.places(keys, slots)
            return rank ** (-1.0 / self._transform.temperature) / self._running[self._seen.count - 1]
        whole = self._whole()
        return whole.weights[slots] / whole.total

    @property
    def ranks_all_seen(self) -> bool:
        """Whether tasks are drawn by the ranks of their scores, and the seen ones have the first ranks."""
        return self._ranking is not None and self._seen_come_first(self._ranking)

    def worst_ranked(self, count: int) -> np.ndarray:
        """int64: the ``count`` seen slots of the worst ranks, the worst first. Only where ``ranks_all_seen``."""
        if self._ranking is None:
            raise ValueError("worst_ranked: expected a transform by ranks")
        return self._ranking.at(np.arange(count))

    @property
    def worst_probability(self) -> float:
        """The probability of the seen slot of the worst rank. Only where ``ranks_all_seen``."""
        if self._running is None:
            raise ValueError("worst_probability: expected a transform by ranks")
        count = self._seen.count
        return float(count) ** (-1.0 / self._transform.temperature) / float(self._running[count - 1])

    def _seen_come_first(self, ranking: Ranking) -> bool:
        return self._seen.count == len(self._scores) or ranking.lowest() > 0

    def _ready(self) -> bool:
        """Whether the block sums can be drawn from; False where no seen task has a weight."""
        if self._sums is not None and not self._weightless and not self._sums.total > math.exp(-_WIDEST):
            self._weigh_all()  # the largest weights are gone: make the largest of the rest 1
            self._weightless = not self._sums.total > 0
        return not self._weightless

    def _weigh_all(self, scale: float | None = None) -> None:
        seen = self._seen.mask
        logs = np.where(seen, plr_transforms.log_weights(self._transform, self._scores), -np.inf)
        if scale is None:
            top = float(logs.max(initial=-np.inf))
            scale = top if np.isfinite(top) else 0.0
        self.scale = scale
        self._sums = BlockSums(np.exp(logs - scale))

    def _new_ranking(self) -> Ranking:
        slots = np.sort(self._seen.members)
        return Ranking(plr_transforms.ranking_key(self._transform, self._scores[slots]), slots)

    def _draws_from_whole(self) -> bool:
        if self._ranking is not None:
            return not self._seen_come_first(self._ranking)
        return self._sums is None and self._transform.name != "constant"

    def _whole(self) -> Categorical:
        if self.built is None:
            raise ValueError("prepare: expected to be called before a batch of draws")
        return self.built

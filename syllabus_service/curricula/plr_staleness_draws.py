"""Drawing tasks in proportion to a transform of their staleness, which every draw changes."""

from __future__ import annotations

import math

import numpy as np

from syllabus_service.curricula import plr_transforms
from syllabus_service.curricula.block_sums import BlockSums
from syllabus_service.curricula.categorical import Categorical
from syllabus_service.curricula.partition import Partition
from syllabus_service.curricula.plr_transforms import Transform

_SMALLEST = 1e-200
_NEVER = 2**63 - 1


class StalenessDraws:
    """Draws seen tasks from P(i) = f(staleness_i) / sum over seen j of f(staleness_j).

    The staleness of a task is the number of draws, of any task, since its own last one. A ``clock`` counts draws, and
    a task keeps the clock's value at its last draw, so a draw costs O(1) though it makes every other task staler.

    k draws at one time are drawn one after the other, each with the stalenesses that the ones before it left:

    * power and softmax: rejection. Block sums hold for each task a weight that it cannot exceed until the clock reaches
      ``horizon`` (power), or that has a constant ratio to the true one until the task is drawn (softmax). They are
      built anew when the clock gets there: the horizon is as far ahead as tasks are stale on average, so O(N) is spent
      once in about that many draws, and about half of the proposals are accepted. Where there are no more tasks than
      draws at one time, those draws would outdate the sums, and all weights are computed for each: O(N).
    * constant: nothing to keep.
    * otherwise the whole distribution is computed for each draw, O(N) or, for ranks, O(N log N); or, where ``max_age``
      is above 0, once for up to that many draws.

    Args:
        transform: with aliases resolved.
        last_drawn: int64 (N,): the clock at each task's last draw, 0 before it. Written by ``advance``.
        seen: the seen tasks. Read only.
        clock: number of draws so far.
        max_age: in tasks drawn.
    """

    def __init__(self, transform: Transform, last_drawn: np.ndarray, seen: Partition, clock: int, max_age: int) -> None:
        self._transform = transform
        self._last_drawn = last_drawn
        self._seen = seen
        self._max_age = max_age
        self.clock = clock
        """Number of draws so far. State."""
        self.horizon = -1
        """Clock up to which the block sums hold. State."""
        self.origin = 0
        """Clock that the block sums' weights are relative to. State."""
        self.built: Categorical | None = None
        """The whole distribution as it is drawn from, where it may be old. State."""
        self.age = 0
        """Number of draws since ``built`` was. State."""
        self._sums: BlockSums | None = None
        self._sum_of_last = int(last_drawn[seen.members].sum())  # over seen tasks

    def restore(self, horizon: int, origin: int, built: np.ndarray | None, age: int) -> None:
        """Take over the parts of the state that ``last_drawn`` doesn't tell."""
        self.horizon, self.origin, self.age = horizon, origin, age
        self.built = None if built is None else Categorical(built)
        self._sums = None if horizon < 0 else BlockSums(self._bounds_of_seen(self._last_drawn))

    @property
    def stalenesses(self) -> np.ndarray:
        """float64 (N,): the staleness of each task."""
        return (self.clock - self._last_drawn).astype(np.float64)

    def on_seen(self, slots: np.ndarray) -> None:
        """Learn that distinct ``slots`` have become seen."""
        self._sum_of_last += int(self._last_drawn[slots].sum())
        self._update_bounds(slots)

    def on_replaced(self, slots: np.ndarray, drawn_at: np.ndarray) -> None:
        """Learn that distinct slots hold other tasks now, last drawn at these clocks."""
        seen = slots[self._seen.mask[slots]]
        self._sum_of_last -= int(self._last_drawn[seen].sum())
        self._last_drawn[slots] = drawn_at
        self._sum_of_last += int(self._last_drawn[seen].sum())
        self._update_bounds(seen)

    def advance(self, slots: np.ndarray) -> None:
        """Learn that k tasks were drawn, one after the other; -1 for one that has no slot. O(k)."""
        held = np.flatnonzero(slots >= 0)
        drawn = np.unique(slots[held])
        seen = drawn[self._seen.mask[drawn]]
        self._sum_of_last -= int(self._last_drawn[seen].sum())
        self._last_drawn[slots[held]] = self.clock + 1 + held  # of a task drawn twice, the later draw stays
        self._sum_of_last += int(self._last_drawn[seen].sum())
        self.clock += len(slots)
        if self._max_age > 0:
            self.age += len(slots)
        self._update_bounds(seen)

    def draw_into(self, slots: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> None:
        """Fill ``positions`` (ascending) of k draws; the others hold what is drawn there, -1 for what has no slot."""
        if len(positions) == 0:
            return
        if self._transform.name == "constant" or self._seen.count == 1:
            slots[positions] = self._seen.draw_members(len(positions), rng)
        elif self._transform.name not in ("power", "softmax"):
            self._draw_from_whole(slots, positions, rng)
        elif len(self._last_drawn) > len(slots):
            self._draw_by_rejection(slots, positions, rng)
        else:
            self._draw_from_few(slots, positions, rng)

    def probability(self, slots: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """float64 (r,): the probability of the seen tasks at ``positions`` of k draws ``slots``.

        Exact for the first of k draws. Further ones are exact, too, for constant and for power with temperature 1; for
        the other transforms they are the probabilities of the first draw.
        """
        drawn = slots[positions]
        if self._transform.name == "constant":
            return np.full(len(positions), 1.0 / self._seen.count)
        if self._transform.name == "power" and self._transform.temperature == 1.0:
            return self._linear_probability(slots)[positions]
        if self._max_age > 0 and self._transform.name not in ("power", "softmax"):
            return self.distribution()[drawn]
        return self._distribution(self._last_drawn, self.clock)[drawn]

    @property
    def is_linear(self) -> bool:
        """Whether tasks are drawn in proportion to their staleness itself."""
        return self._transform.name == "power" and self._transform.temperature == 1.0 and self._transform.offset == 0.0

    @property
    def total(self) -> int:
        """Sum of the stalenesses of the seen tasks."""
        return self._seen.count * self.clock - self._sum_of_last

    def drawn_within(self, draws: int) -> np.ndarray:
        """int64, ascending: the slots whose last draw is one of the last ``draws``, and one more. O(N)."""
        return np.flatnonzero(self._last_drawn >= self.clock - draws)

    def linear_share(self, slots: np.ndarray) -> np.ndarray:
        """float64 (k,): the probability of seen slots, where ``is_linear`` and ``total`` is above 0."""
        return (self.clock - self._last_drawn[slots]) / self.total

    def distribution(self) -> np.ndarray:
        """float64 (N,): the probability of each slot to be drawn. O(N), and O(N log N) for ranks."""
        if self.built is not None and self.age < self._max_age:
            return self.built.probabilities
        return self._distribution(self._last_drawn, self.clock)

    def _distribution(self, last_drawn: np.ndarray, clock: int) -> np.ndarray:
        stalenesses = (clock - last_drawn).astype(np.float64)
        return plr_transforms.distribution(self._transform, stalenesses, self._seen.mask)

    def _draw_from_whole(self, slots: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> None:
        last_drawn: np.ndarray | None = None
        done = 0
        for position in positions.tolist():
            if self.built is None or self.age + position >= self._max_age:
                last_drawn = self._last_drawn.copy() if last_drawn is None else last_drawn
                held = done + np.flatnonzero(slots[done:position] >= 0)
                last_drawn[slots[held]] = self.clock + 1 + held
                done = position
                self.built = Categorical(self._distribution(last_drawn, self.clock + position))
                self.age = -position  # ``advance`` adds the draws of this batch, those before this one, too
            slots[position] = self.built.draw(1, rng)[0][0]
        if self._max_age == 0:
            self.built, self.age = None, 0

    def _draw_from_few(self, slots: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> None:
        last_drawn = self._last_drawn.astype(np.float64)
        last_drawn[~self._seen.mask] = np.inf  # no weight
        exponent = 1.0 / self._transform.temperature
        done = 0
        for position, uniform in zip(positions.tolist(), rng.random(len(positions)).tolist(), strict=True):
            for drawn in slots[done:position].tolist():
                done += 1
                if drawn >= 0 and self._seen.mask[drawn]:
                    last_drawn[drawn] = self.clock + done
            oldest = last_drawn.min()
            if self._transform.name == "softmax":
                weights = np.exp((oldest - last_drawn) * exponent)
            elif self.clock + position == oldest:  # nothing was ever drawn: all stalenesses are 0
                weights = self._seen.mask.astype(np.float64)
            else:
                share = np.maximum(self.clock + position - last_drawn, 0.0) / (self.clock + position - oldest)
                weights = share if exponent == 1.0 else share**exponent
            cumulative = weights.cumsum()
            slots[position] = cumulative.searchsorted(uniform * cumulative[-1], side="right")

    def _linear_probability(self, slots: np.ndarray) -> np.ndarray:
        """staleness / sum of the seen tasks' stalenesses, at each of k draws; whole numbers until the division."""
        order = np.argsort(slots, kind="stable")
        again = slots[order][1:] == slots[order][:-1]
        last = self._last_drawn[slots]
        last[order[1:][again]] = self.clock + 1 + order[:-1][again]  # drawn before among these k
        at = self.clock + np.arange(len(slots))
        seen = self._seen.mask[slots] & (slots >= 0)
        advanced = np.where(seen, at + 1 - last, 0)
        sum_of_last = self._sum_of_last + np.cumsum(advanced) - advanced
        total = self._seen.count * at - sum_of_last
        return np.where(total > 0, (at - last) / np.maximum(total, 1), 1.0 / max(self._seen.count, 1))

    def _bounds(self, last_drawn: np.ndarray) -> np.ndarray:
        """What the block sums hold of seen tasks with these last draws, none of them before ``origin``: at most 1."""
        if self._transform.name == "softmax":
            return np.exp((self.origin - last_drawn) / self._transform.temperature)
        share = (self.horizon - last_drawn) / (self.horizon - self.origin)
        return share ** (1.0 / self._transform.temperature)

    def _weight(self, last_drawn: int, clock: int) -> float:
        """The weight of a task, on the scale of the block sums."""
        if self._transform.name == "softmax":
            return math.exp((self.origin - last_drawn) / self._transform.temperature)
        return ((clock - last_drawn) / (self.horizon - self.origin)) ** (1.0 / self._transform.temperature)

    def _bounds_of_seen(self, last_drawn: np.ndarray) -> np.ndarray:
        bounds = np.zeros(len(last_drawn))
        members = self._seen.members
        bounds[members] = self._bounds(last_drawn[members])
        return bounds

    def _update_bounds(self, slots: np.ndarray) -> None:
        if self._sums is None or len(slots) == 0:
            return
        last_drawn = self._last_drawn[slots]
        if last_drawn.min() < self.origin or last_drawn.max() > self.horizon:
            self._sums = None  # off the scale: build anew when it is drawn from
            self.horizon = -1
        else:
            self._sums.update(slots, self._bounds(last_drawn))

    def _draw_by_rejection(self, slots: np.ndarray, positions: np.ndarray, rng: np.random.Generator) -> None:
        recent: dict[int, int] = {}  # the last draw of what was drawn among these k
        done = 0
        proposals: list[tuple[int, float, float]] = []
        for filled, position in enumerate(positions.tolist()):
            for drawn in slots[done:position].tolist():
                done += 1
                recent[drawn] = self.clock + done
            clock = self.clock + position
            if clock == 0:  # nothing was ever drawn: all stalenesses are 0
                slots[position] = self._seen.draw_members(1, rng)[0]
                continue
            if self._sums is None or clock > self.horizon or not self._sums.total > _SMALLEST:
                self._sums = self._new_bounds(recent, clock)
                proposals = []
            while True:
                if not proposals:
                    some = self._sums.draw(2 * (len(positions) - filled) + 2, rng)
                    uniforms = rng.random(len(some))
                    proposals = list(zip(some.tolist(), self._sums[some].tolist(), uniforms.tolist(), strict=True))
                slot, bound, uniform = proposals.pop()
                again = slot in recent
                weight = self._weight(recent[slot] if again else int(self._last_drawn[slot]), clock)
                if uniform * bound < weight:
                    slots[position] = slot
                    break
                if again:  # a bound from before its last draw: it would be proposed, and refused, over and over
                    self._sums.update(np.array([slot]), self._bounds(np.array([recent[slot]])))
                    proposals = []

    def _new_bounds(self, recent: dict[int, int], clock: int) -> BlockSums:
        last_drawn = self._last_drawn
        recent = {slot: last for slot, last in recent.items() if slot >= 0}
        if recent:
            last_drawn = last_drawn.copy()
            last_drawn[list(recent)] = list(recent.values())
        of_seen = last_drawn[self._seen.members]
        self.origin = int(of_seen.min())
        if self._transform.name == "softmax":
            self.horizon = _NEVER
        else:
            mean = clock - float(of_seen.mean())
            self.horizon = clock + max(1, int(mean * min(self._transform.temperature, 1.0)))
        return BlockSums(self._bounds_of_seen(last_drawn))

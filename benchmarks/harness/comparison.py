"""Comparison: arms run in turn, round after round, until enough runs count."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.harness.arms import Arm, ArmFailedError, Run
from benchmarks.harness.noise import Rule

MOST_FAILURES = 2
"""A baseline that has failed so often is given up."""


@dataclass(frozen=True)
class Spread:
    """One figure over several runs."""

    median: float
    low: float
    high: float
    noisy: bool
    """Whether runs had to be taken that did not count."""


@dataclass
class Comparison:
    """The runs of all arms."""

    rule: Rule
    pairs: Sequence[tuple[str, str]] = ()
    """Arms that are compared, each with its baseline."""
    rounds: list[dict[str, Run]] = field(default_factory=list)
    """The run of each arm that came to its end, by round."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Arms that cannot be run here, and why."""
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Runs of baselines that failed, and why."""
    out_of_time: bool = False
    """Whether it ended for want of time, before enough runs counted."""

    @property
    def arms(self) -> list[str]:
        """Those that have a run."""
        return list(dict.fromkeys(arm for runs in self.rounds for arm in runs))

    def runs(self, arm: str) -> list[Run]:
        """All runs of an arm."""
        return [runs[arm] for runs in self.rounds if arm in runs]

    def accepted(self, arm: str) -> list[Run]:
        """The runs that count."""
        return [run for run in self.runs(arm) if self.rule.accepts(run.noise)]

    def is_noisy(self, arm: str) -> bool:
        """Whether too few runs count."""
        return len(self.accepted(arm)) < self.rule.accepted

    def used(self, arm: str) -> list[Run]:
        """The runs that figures are of: those that count or, on a noisy machine, all."""
        return self.runs(arm) if self.is_noisy(arm) else self.accepted(arm)

    def spread(self, arm: str, value: str) -> Spread:
        """Median and range of a figure. Raises KeyError where the arm has no run."""
        values = [run.values[value] for run in self.used(arm)]
        if not values:
            raise KeyError(arm)
        return Spread(statistics.median(values), min(values), max(values), self.is_noisy(arm))

    def neighbours(self, arm: str, baseline: str) -> list[tuple[Run, Run]]:
        """Runs of both arms in the same round."""
        return [(runs[arm], runs[baseline]) for runs in self.rounds if arm in runs and baseline in runs]

    def counting_neighbours(self, arm: str, baseline: str) -> list[tuple[Run, Run]]:
        """Those of which both count."""
        return [
            (one, other)
            for one, other in self.neighbours(arm, baseline)
            if self.rule.accepts(one.noise) and self.rule.accepts(other.noise)
        ]

    def ratio(self, value: str, arm: str, baseline: str) -> Spread | None:
        """Median and range, over rounds, of an arm's figure divided by its baseline's in the same round.

        Of rounds in which both runs count or, where these are too few, of all. None where there is no such round.
        """
        counting = self.counting_neighbours(arm, baseline)
        noisy = len(counting) < self.rule.accepted
        ratios = [
            one.values[value] / other.values[value] if other.values[value] else math.inf
            for one, other in (self.neighbours(arm, baseline) if noisy else counting)
        ]
        return Spread(statistics.median(ratios), min(ratios), max(ratios), noisy) if ratios else None

    def is_complete(self, arms: Sequence[str]) -> bool:
        """Whether enough runs of these arms count, and enough pairs of them."""
        return not any(self.is_noisy(arm) for arm in arms) and all(
            len(self.counting_neighbours(arm, baseline)) >= self.rule.accepted
            for arm, baseline in self.pairs
            if arm in arms and baseline in arms
        )

    def to_json(self) -> dict[str, Any]:
        """Everything: each run with its noise, and what was made of them."""
        return {
            "rule": asdict(self.rule),
            "skipped": self.skipped,
            "failures": dict(self.failures),
            "out_of_time": self.out_of_time,
            "arms": {
                arm: {
                    "tries": len(self.runs(arm)),
                    "discarded": len(self.runs(arm)) - len(self.accepted(arm)),
                    "noisy": self.is_noisy(arm),
                    "figures": {name: asdict(self.spread(arm, name)) for name in self.runs(arm)[0].values},
                }
                for arm in self.arms
            },
            "rounds": [
                {arm: {**asdict(run), "counts": self.rule.accepts(run.noise)} for arm, run in runs.items()}
                for runs in self.rounds
            ],
        }


def compare(
    arms: Sequence[Arm], rule: Rule, *, pairs: Sequence[tuple[str, str]] = (), deadline: float = math.inf
) -> Comparison:
    """Run the arms in rounds: each round all of them, every other round in reverse.

    A run of a baseline that fails is recorded, and the baseline given up after ``MOST_FAILURES`` of them. Raises
    ArmFailedError where a run of any other arm fails.

    Args:
        arms: what is run.
        rule: which runs count, and how many must.
        pairs: arms that are compared, each with its baseline.
        deadline: no round but the first is begun that would end after it (time.monotonic), were it as long as the
            longest so far.
    """
    comparison = Comparison(rule, pairs)
    comparison.skipped = {arm.name: arm.missing for arm in arms if arm.missing}
    present = [arm for arm in arms if not arm.missing]
    longest = 0.0
    for round_number in range(rule.max_rounds):
        started = time.monotonic()
        if round_number and started + longest > deadline:
            comparison.out_of_time = True
            break
        runs: dict[str, Run] = {}
        for arm in present if round_number % 2 == 0 else reversed(present):
            if (run := _run(arm, comparison)) is not None:
                runs[arm.name] = run
                _tell(f"round {round_number + 1}, {arm.name}", run, rule)
        comparison.rounds.append({arm.name: runs[arm.name] for arm in present if arm.name in runs})
        present = [arm for arm in present if len(comparison.failures.get(arm.name, ())) < MOST_FAILURES]
        longest = max(longest, time.monotonic() - started)
        if comparison.is_complete([arm.name for arm in present]):
            break
    return comparison


def _run(arm: Arm, comparison: Comparison) -> Run | None:
    try:
        return arm.run()
    except Exception as error:
        if not arm.is_baseline:
            raise ArmFailedError(f"{arm.name}: {error}") from error
        comparison.failures[arm.name].append(str(error))
        print(f"  {arm.name} failed: {error}", file=sys.stderr, flush=True)
        return None


def _tell(what: str, run: Run, rule: Rule) -> None:
    verdict = "" if rule.accepts(run.noise) else "  discarded"
    noise = f"foreign {run.noise.foreign:.1%}, steal {run.noise.steal:.1%}"
    print(f"  {what}: {noise}{verdict}", file=sys.stderr, flush=True)

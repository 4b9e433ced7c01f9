"""Comparison: arms run in turn, round after round, until each has enough runs that count."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.harness.arms import Arm, Run
from benchmarks.harness.noise import Rule


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
    runs: dict[str, list[Run]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Arms that cannot be run here, and why."""

    def accepted(self, arm: str) -> list[Run]:
        """The runs that count."""
        return [run for run in self.runs[arm] if self.rule.accepts(run.noise)]

    def is_noisy(self, arm: str) -> bool:
        """Whether too few runs count."""
        return len(self.accepted(arm)) < self.rule.accepted

    def used(self, arm: str) -> list[Run]:
        """The runs that figures are of: those that count or, on a noisy machine, all."""
        return self.runs[arm] if self.is_noisy(arm) else self.accepted(arm)

    def spread(self, arm: str, value: str) -> Spread:
        """Median and range of a figure."""
        values = [run.values[value] for run in self.used(arm)]
        return Spread(statistics.median(values), min(values), max(values), self.is_noisy(arm))

    def ratio(self, value: str, arm: str, baseline: str) -> Spread:
        """Of the medians; range: over the rounds, each arm's run by its neighbour's."""
        medians = self.spread(arm, value), self.spread(baseline, value)
        used = {name: {id(run) for run in self.used(name)} for name in (arm, baseline)}
        pairs = [
            one.values[value] / other.values[value]
            for one, other in zip(self.runs[arm], self.runs[baseline], strict=True)
            if id(one) in used[arm] and id(other) in used[baseline]
        ]
        ratio = medians[0].median / medians[1].median
        pairs = pairs or [ratio]
        return Spread(ratio, min(pairs), max(pairs), any(each.noisy for each in medians))

    def to_json(self) -> dict[str, Any]:
        """Everything: each run with its noise, and what was made of them."""
        return {
            "rule": asdict(self.rule),
            "skipped": self.skipped,
            "arms": {
                arm: {
                    "tries": len(runs),
                    "discarded": len(runs) - len(self.accepted(arm)),
                    "noisy": self.is_noisy(arm),
                    "figures": {name: asdict(self.spread(arm, name)) for name in runs[0].values},
                    "runs": [{**asdict(run), "counts": self.rule.accepts(run.noise)} for run in runs],
                }
                for arm, runs in self.runs.items()
            },
        }


def compare(arms: Sequence[Arm], rule: Rule) -> Comparison:
    """Run the arms in rounds: each round all of them, every other round in reverse."""
    comparison = Comparison(rule)
    comparison.skipped = {arm.name: arm.missing for arm in arms if arm.missing}
    present = [arm for arm in arms if not arm.missing]
    comparison.runs = {arm.name: [] for arm in present}
    for round_number in range(rule.max_rounds):
        for arm in present if round_number % 2 == 0 else reversed(present):
            run = arm.run()
            comparison.runs[arm.name].append(run)
            verdict = "" if rule.accepts(run.noise) else "  discarded"
            print(
                f"  round {round_number + 1}, {arm.name}: foreign {run.noise.foreign:.1%}, "
                f"steal {run.noise.steal:.1%}{verdict}",
                file=sys.stderr,
                flush=True,
            )
        if not any(comparison.is_noisy(arm.name) for arm in present):
            break
    return comparison

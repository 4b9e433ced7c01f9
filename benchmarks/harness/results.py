"""Result: what a program measured, as a table for people and JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.comparison import Comparison, Spread


@dataclass(frozen=True)
class Verdict:
    """One row of the budget, and how it stands."""

    work: str
    must_reach: str
    measured: str
    met: bool | None
    """None where it could not be measured."""
    noisy: bool = False
    """Whether the figure comes from runs that do not count."""


@dataclass
class Result:
    """What came of one program."""

    program: str
    question: str
    """What it measures, in a sentence."""
    header: Sequence[str]
    rows: list[list[str]]
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader must know beside the table."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """All figures, for programs."""

    def print(self) -> None:
        """The table, the notes and the verdicts."""
        print(f"\n{self.program}: {self.question}\n")
        print(text_table(self.header, self.rows))
        for note in self.notes:
            print(f"  {note}")
        for verdict in self.verdicts:
            state = {True: "met", False: "NOT MET", None: "not measured"}[verdict.met]
            noisy = " (noisy machine)" if verdict.noisy else ""
            print(f"  {verdict.work}: {verdict.measured}; must reach {verdict.must_reach}: {state}{noisy}")

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """As a JSON file."""
        path.write_text(json.dumps(self.to_json(), indent=1, default=float) + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """What ``Result.write`` wrote."""
    return result_of_json(json.loads(path.read_text(encoding="utf-8")))


def result_of_json(content: Mapping[str, Any]) -> Result:
    """What ``Result.to_json`` made."""
    return Result(**{**content, "verdicts": [Verdict(**each) for each in content["verdicts"]]})


def failed_result(program: str, why: str) -> Result:
    """That a program did not come to its end."""
    verdict = Verdict(program, "it comes to its end", f"it failed: {brief(why)}", False)
    return Result(
        program, "it failed", ["", "why"], [[f"{program} failed", brief(why)]], [verdict], [], {"failed": why}
    )


def brief(why: str) -> str:
    """The first line of an error and, where it goes on, the last, which is what a traceback ends in."""
    lines = [line.strip() for line in why.strip().splitlines()] or ["no reason was told"]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1][:200]}"


def all_of(*conditions: bool | None) -> bool | None:
    """Whether all hold: False where one does not, else None where one could not be measured."""
    if False in conditions:
        return False
    return None if None in conditions else True


def comparison_table(
    comparison: Comparison, columns: Mapping[str, str], ratio_of: str | None = None
) -> tuple[list[str], list[list[str]], list[str]]:
    """Header, rows and notes of a comparison: one row an arm, ``median (low to high)`` of each figure.

    Args:
        comparison: the runs.
        columns: heading by name of the figure.
        ratio_of: the figure whose ratio to the baseline is told of each pair; None: no column of ratios.
    """
    header = ["", *columns.values()]
    pairs = {arm: baseline for arm, baseline in comparison.pairs if comparison.neighbours(arm, baseline)}
    has_ratio = bool(pairs) and ratio_of is not None
    if has_ratio:
        baselines = set(pairs.values())
        header.append(f"{columns[ratio_of]}, / {baselines.pop() if len(baselines) == 1 else 'baseline'}")
    rows = []
    for arm in comparison.arms:
        row = [arm, *(spread_text(comparison.spread(arm, name)) for name in columns)]
        if has_ratio:
            ratio = comparison.ratio(ratio_of, arm, pairs[arm]) if arm in pairs else None
            row.append(spread_text(ratio) if ratio else "")
        rows.append(row)
    return header, rows, run_notes(comparison)


def run_notes(comparison: Comparison) -> list[str]:
    """What could not be run, how many runs there were, and whether the machine was too noisy, or the time too short."""
    notes = [f"{name}: not run: {why}." for name, why in comparison.skipped.items()]
    notes += [f"{name}: {len(each)} runs failed: {brief(each[-1])}." for name, each in comparison.failures.items()]
    tries = {arm: len(comparison.runs(arm)) for arm in comparison.arms}
    counted = {arm: f"{n} tries, {n - len(comparison.accepted(arm))} discarded" for arm, n in tries.items()}
    alike = set(counted.values())
    each = ", ".join(f"{arm} {what}" for arm, what in counted.items())
    notes.append(f"Runs: {each if len(alike) > 1 else f'each {alike.pop()}'}.")
    if not comparison.is_complete(comparison.arms):
        why = "for want of time" if comparison.out_of_time else "the machine was too noisy"
        notes.append(f"Too few runs count ({why}): the figures marked ~ are of all runs.")
    return notes


def spread_text(spread: Spread) -> str:
    """``median (low to high)``, with ~ before it where the runs did not count."""
    return f"{'~' if spread.noisy else ''}{number(spread.median)} ({number(spread.low)} to {number(spread.high)})"


def number(value: float) -> str:
    """Three significant digits, thousands separated; an en dash for NaN, which is what was not measured."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never" if value > 0 else "-inf"
    if abs(value) >= 100:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }

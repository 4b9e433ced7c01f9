"""How throughput, waits and memory grow: environments, processes, sessions, tasks, episode length.

    python -m benchmarks.growth [--quick] [--only CURVE ...] [--json FILE]

One thing grows, the rest is that of the main job (8 processes, 5-step episodes, 1,000 tasks) or, for sessions, that of
`benchmarks.sessions` flat out. The points of a curve take turns. Beside tasks stands Syllabus, beside episode length
the same environments without a curriculum.

| curve | what grows | a wait is |
|---|---|---|
| environments | environments of one process, vectorised by hand, under VectorSyncWrapper | a step of all |
| processes | processes with one environment each | a reset |
| sessions | sessions that send 8 episodes as soon as the last were answered | from a batch to its answer |
| tasks | tasks of the curriculum | a reset |
| length | steps of an episode | a reset |
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Arm, Comparison, compare, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, number
from benchmarks.harness.surroundings import SYLLABUS_PYTHON, why_no_syllabus

OURS = "this service"


@dataclass(frozen=True)
class Curve:
    """One thing that grows."""

    name: str
    module: str
    grows: str
    """The arm's parameter."""
    points: Sequence[int]
    quick_points: Sequence[int]
    work: dict[str, Any]
    beside: str = ""
    """Another arm, at the points below."""
    beside_module: str = ""
    beside_points: Sequence[int] = ()


_JOB = {"processes": 8, "tasks": 1_000, "length": 5}
CURVES = [
    Curve("environments", "job_vector", "environments", (1, 4, 16, 64, 256, 1024, 4096), (1, 16), {}),
    Curve("processes", "job", "processes", (1, 2, 4, 8, 16, 32, 64), (1,), {"tasks": 1_000}),
    Curve("sessions", "streams_service", "sessions", (1, 10, 100, 1_000), (2,), {"rows": 8, "in_flight": 1}),
    Curve(
        "tasks", "job", "tasks", (10, 100, 1_000, 10_000, 100_000, 1_000_000), (10,), _JOB,
        "Syllabus 0.7", "job_syllabus", (10, 1_000, 100_000),
    ),
    Curve(
        "length", "job", "length", (1, 5, 20, 100, 1_000), (20,), _JOB,
        "no curriculum", "job_without_curriculum", (1, 5, 20, 100, 1_000),
    ),
]  # fmt: skip


def run(options: Options) -> Result:
    """Run all curves."""
    rows, data = [], {}
    for curve in CURVES:
        if options.arguments.only and curve.name not in options.arguments.only:
            continue
        arms = _arms(curve, options)
        comparison = compare(list(arms.values()), options.rule)
        points = [_point(comparison, arm.name, who, at) for (who, at), arm in arms.items() if not arm.missing]
        rows += [
            [
                f"{'~' if point['noisy'] else ''}{curve.name} {point['at']:,}{_who(point['arm'])}",
                *(number(point[name]) for name in ("episodes_per_s", "wait_p50_us", "wait_p99_us", "rss_mib")),
            ]
            for point in points
        ]
        data[curve.name] = {"points": points, **comparison.to_json()}
    header = ["", "episodes/s", "wait p50, us", "wait p99, us", "service's RSS, MiB"]
    question = "throughput, waits and memory as one thing grows"
    notes = ["~: taken on a noisy machine."]
    return Result("growth", question, header, rows, [], notes, {"curves": data})


def _who(arm: str) -> str:
    return "" if arm == OURS else f", {arm}"


def _arms(curve: Curve, options: Options) -> dict[tuple[str, int], Arm]:
    seconds = options.seconds(1.5)
    arms = {}
    for at in curve.quick_points if options.quick else curve.points:
        work = {**curve.work, curve.grows: at, "seconds": seconds}
        if curve.module == "streams_service":
            work["processes"] = min(2, at)
        arms[OURS, at] = process_arm(f"{curve.name} {at}", curve.module, work)
    for at in () if options.quick else curve.beside_points:
        work = {**curve.work, curve.grows: at, "seconds": seconds}
        is_syllabus = curve.beside_module == "job_syllabus"
        if not is_syllabus:
            del work["tasks"]
        arms[curve.beside, at] = process_arm(
            f"{curve.name} {at}, {curve.beside}",
            curve.beside_module,
            work,
            python=SYLLABUS_PYTHON if is_syllabus else None,
            missing=why_no_syllabus() if is_syllabus else "",
        )
    return arms


def _point(comparison: Comparison, name: str, who: str, at: int) -> dict[str, Any]:
    """The figures of a point, by the same names on all curves."""
    figures = {value: comparison.spread(name, value).median for value in comparison.runs[name][0].values}
    if "latency_p50_ms" in figures:
        figures["wait_p50_us"] = figures["latency_p50_ms"] * 1e3
        figures["wait_p99_us"] = figures["latency_p99_ms"] * 1e3
    rss = figures.get("service_rss_mib", figures.get("rss_mib", float("nan")))
    return {**figures, "arm": who, "at": at, "rss_mib": rss, "noisy": comparison.is_noisy(name)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this program has."""
    parser.add_argument("--only", nargs="+", default=[], help="curves; default: all")


if __name__ == "__main__":
    run_program(__doc__, run, accepted=1, max_rounds=3, add_arguments=add_arguments)

"""How throughput, waits, CPU and memory grow: environments, processes, sessions, tasks, episode length.

    python -m benchmarks.growth [--quick] [--only CURVE ...] [--json FILE]

One thing grows, the rest is that of the main job (8 processes, 5-step episodes, 1,000 tasks) or, for sessions, that of
`benchmarks.sessions` flat out. The points of a curve take turns, and each curve has its share of the time. Beside tasks
stands Syllabus, beside processes and episode length the same environments without a curriculum.

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
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.harness import Arm, Comparison, Spread, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, brief, spread_text
from benchmarks.harness.surroundings import SYLLABUS_PYTHON, why_no_syllabus

OURS = "this service"


COLUMNS = {
    "episodes_per_s": "episodes/s",
    "wait_p50_us": "wait p50, us",
    "wait_p99_us": "wait p99, us",
    "cpu_us_per_episode": "CPU us/episode, all",
    "client_rss_mib": "a client's RSS, MiB",
    "service_rss_mib": "service's RSS, MiB",
}


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
    beside_points: Sequence[int] = ()


@dataclass(frozen=True)
class Point:
    """One arm at one point of a curve."""

    who: str
    at: int
    arm: Arm


SYLLABUS, NOTHING = "Syllabus 0.7", "no curriculum"
_JOB = {"processes": 8, "tasks": 1_000, "length": 5}
_PROCESSES, _LENGTHS = (1, 2, 4, 8, 16, 32, 64), (1, 5, 20, 100, 1_000)
CURVES = [
    Curve("environments", "job_vector", "environments", (1, 4, 16, 64, 256, 1_024, 4_096), (1, 16), {}),
    Curve("processes", "job", "processes", _PROCESSES, (1,), {"tasks": 1_000}, NOTHING, _PROCESSES),
    Curve("sessions", "streams_service", "sessions", (1, 3, 10, 30, 100, 300, 1_000), (2,), {"rows": 8}),
    Curve(
        "tasks", "job", "tasks", (10, 100, 1_000, 10_000, 100_000, 1_000_000), (10,), _JOB,
        SYLLABUS, (10, 1_000, 100_000),
    ),
    Curve("length", "job", "length", _LENGTHS, (20,), _JOB, NOTHING, _LENGTHS),
]  # fmt: skip


def run(options: Options) -> Result:
    """Run all curves."""
    rows, data = [], {}
    chosen = [curve for curve in CURVES if not options.arguments.only or curve.name in options.arguments.only]
    points = {curve.name: _points(curve, options) for curve in chosen}
    notes = []
    for number, curve in enumerate(chosen):
        left = sum(len(points[each.name]) for each in chosen[number:])
        own = points[curve.name]
        comparison = options.share(len(own) / left).compare([point.arm for point in own])
        present = [point for point in own if point.arm.name in comparison.arms]
        rows += [
            [f"{curve.name} {point.at:,}{_who(point)}", *(_cell(comparison, point, name) for name in COLUMNS)]
            for point in present
        ]
        figures = [{**_figures(comparison, point), "arm": point.who, "at": point.at} for point in present]
        data[curve.name] = {"points": figures, **comparison.to_json()}
        counting = [len(comparison.accepted(point.arm.name)) for point in present]
        notes.append(
            f"{curve.name}: {len(comparison.rounds)} runs of each point, of which {min(counting)} to {max(counting)} "
            f"count{', for want of time' if comparison.out_of_time else ''}."
        )
        notes += [f"{name}: not run: {why}." for name, why in comparison.skipped.items()]
        notes += [f"{name}: a run failed: {brief(each[-1])}." for name, each in comparison.failures.items()]
    notes.append("~: fewer than three runs count, so that the figure is of all; a bend that is seen in it is a guess.")
    question = "throughput, waits, CPU and memory as one thing grows"
    return Result("growth", question, ["", *COLUMNS.values()], rows, [], notes, {"curves": data})


def _who(point: Point) -> str:
    return "" if point.who == OURS else f", {point.who}"


def _points(curve: Curve, options: Options) -> list[Point]:
    seconds = options.seconds(1.5)
    points = []
    for at in curve.quick_points if options.quick else curve.points:
        work = {**curve.work, curve.grows: at, "seconds": seconds}
        if curve.module == "streams_service":
            work["processes"] = min(2, at)
        points.append(Point(OURS, at, process_arm(f"{curve.name} {at}", curve.module, work)))
    for at in () if not curve.beside else curve.quick_points if options.quick else curve.beside_points:
        work = {**curve.work, curve.grows: at, "seconds": seconds}
        name = f"{curve.name} {at}, {curve.beside}"
        if curve.beside == SYLLABUS:
            there = {"python": SYLLABUS_PYTHON, "missing": why_no_syllabus()}
            arm = process_arm(name, "job_syllabus", work, is_baseline=True, **there)
        else:
            del work["tasks"]
            arm = process_arm(name, "job_without_curriculum", work, is_baseline=True)
        points.append(Point(curve.beside, at, arm))
    return points


_OF_STREAMS = {"latency_p50_ms": "wait_p50_us", "latency_p99_ms": "wait_p99_us", "rss_mib": "service_rss_mib"}
"""What streams call otherwise, where it is told in other units a thousand times as much."""


def _spread(comparison: Comparison, point: Point, name: str) -> Spread | None:
    """A figure by the name that it has on all curves; None where there is none."""
    values = comparison.runs(point.arm.name)[0].values
    if name in values:
        return comparison.spread(point.arm.name, name)
    for theirs, ours in _OF_STREAMS.items():
        if ours == name and theirs in values:
            spread, scale = comparison.spread(point.arm.name, theirs), 1e3 if theirs.endswith("_ms") else 1.0
            return Spread(spread.median * scale, spread.low * scale, spread.high * scale, spread.noisy)
    return None


def _cell(comparison: Comparison, point: Point, name: str) -> str:
    spread = _spread(comparison, point, name)
    return "–" if spread is None else spread_text(spread)


def _figures(comparison: Comparison, point: Point) -> dict[str, dict[str, Any]]:
    """Its figures for the picture, by name, where there are any."""
    spreads = {name: _spread(comparison, point, name) for name in COLUMNS}
    return {name: asdict(spread) for name, spread in spreads.items() if spread is not None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this program has."""
    parser.add_argument("--only", nargs="+", default=[], help="curves; default: all")


if __name__ == "__main__":
    run_program(__doc__, run, max_rounds=5, add_arguments=add_arguments)

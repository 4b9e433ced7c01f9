"""Front doors on Ray: one curriculum behind one and two of them, one and four curricula, and what a message costs.

    .ci/with-loopback-only .venv-ray/bin/python -m benchmarks.ray_front_doors [--quick] [--json FILE]

A Ray cluster of a head and two nodes, PostgreSQL and all front doors on this machine. Eight sessions, from two load
processes, spread over front doors and curricula, each with two batches in flight: episodes up, as many new tasks down,
committed by PostgreSQL with fsync. On two cores everything shares the two: that two front doors carry more is not to
be expected here, so the CPU time of each kind of process is told, which is what docs/scaling.md reckons with.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.harness import Arm, Run, Window, compare, process_cpu_seconds
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, comparison_table
from syllabus_client import CurriculumClient, DiscreteTaskSpace
from tests.postgresql import PostgresServer
from tests.ray.doors import FrontDoors
from tests.ray.nodes import RayNodes

_TASKS = 1_000
_SESSIONS = 8
COLUMNS = {
    "episodes_per_s": "episodes/s",
    "batches_per_s": "batches/s",
    "batches_per_commit": "batches/commit",
    "latency_p50_ms": "answer p50, ms",
    "door_us": "front door, CPU us/batch",
    "link_us": "its link",
    "actor_us": "actor",
    "database_us": "database",
}


@dataclass(frozen=True)
class Work:
    """What one arm does."""

    doors: int
    curricula: int
    rows: int
    """Episodes of a batch."""

    @property
    def name(self) -> str:
        """As the table says it."""
        doors = "1 door" if self.doors == 1 else f"{self.doors} doors"
        curricula = "1 curriculum" if self.curricula == 1 else f"{self.curricula} curricula"
        return f"{doors}, {curricula}, {self.rows} episodes a batch"


ARMS = [Work(1, 1, 256), Work(2, 1, 256), Work(2, 4, 256), Work(2, 1, 1), Work(2, 1, 2048)]


class Stage:
    """Everything that runs, for all arms."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stack = ExitStack()
        self._number = 0
        try:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self._database = self._stack.enter_context(PostgresServer())
            self._nodes = self._stack.enter_context(RayNodes(2))
            url = self._database.create_database("benchmark")
            self._doors = self._stack.enter_context(FrontDoors(directory, url, self._nodes))
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """End it."""
        self._stack.close()

    def run(self, work: Work) -> Run:
        """One run of an arm, on curricula of its own."""
        self._number += 1
        names = [f"run-{self._number}-{number}" for number in range(work.curricula)]
        targets = [door.target for door in self._doors.doors[: work.doors]]
        clients = [CurriculumClient(targets[0], curriculum=name) for name in names]
        for client in clients:
            client.create("domain_randomization", DiscreteTaskSpace(_TASKS), seed=1)
        loads = self._loads(work, names, targets)
        for load in loads:
            load.start()
        try:
            time.sleep(1.0)
            commits, before = self._commits(), self._cpu()
            with Window() as window:
                answered = sum(int(load.answered().sum()) for load in loads)
                time.sleep(self._seconds)
                answered = sum(int(load.answered().sum()) for load in loads) - answered
            after, commits = self._cpu(), self._commits() - commits
        finally:
            told = [load.stop() for load in loads]
        for each in told:
            if each.errors:
                raise RuntimeError(each.errors[0])
        for client in clients:
            client.delete()
            client.close()
        batches = answered / work.rows
        latencies = sorted(seconds for each in told for _, seconds in each.latencies.tolist())
        figures = {
            "episodes_per_s": answered / window.noise.seconds,
            "batches_per_s": batches / window.noise.seconds,
            "batches_per_commit": batches / max(commits, 1),
            "latency_p50_ms": latencies[len(latencies) // 2] * 1e3,
            **{f"{kind}_us": (after[kind] - before[kind]) / batches * 1e6 for kind in after},
        }
        return Run(figures, window.noise)

    def _loads(self, work: Work, names: Sequence[str], targets: Sequence[str]) -> list[Load]:
        pairs = [(name, target) for name in names for target in targets]
        return [
            Load(
                LoadSettings(
                    target=target,
                    curriculum=name,
                    sessions=_SESSIONS // len(pairs),
                    rows=work.rows,
                    in_flight=2,
                    name=f"load-{number}",
                )
            )
            for number, (name, target) in enumerate(pairs)
        ]

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        doors = [psutil.Process(door.pid) for door in self._doors.doors]
        links = [child for door in doors for child in door.children(recursive=True)]
        database = psutil.Process(self._database.pid).children()
        return {
            "door": sum(process_cpu_seconds(each.pid) for each in doors),
            "link": sum(process_cpu_seconds(each.pid) for each in links),
            "actor": sum(process_cpu_seconds(pid) for pid in self._nodes.actors()),
            "database": sum(process_cpu_seconds(each.pid) for each in database),
        }

    def _commits(self) -> int:
        """Journal writes so far."""
        with self._database.connect("benchmark") as connection:
            row = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = 'benchmark'").fetchone()
            return int(row[0]) if row else 0


def run(options: Options) -> Result:
    """Run all arms."""
    stage = Stage(options.seconds(5.0))
    try:
        arms = [Arm(work.name, lambda work=work: stage.run(work)) for work in ARMS]
        comparison = compare(arms, options.rule)
    finally:
        stage.close()
    first, second, four = (work.name for work in ARMS[:3])
    header, rows, notes = comparison_table(comparison, COLUMNS, first, "episodes_per_s")
    doors = comparison.ratio("episodes_per_s", second, first)
    curricula = comparison.ratio("episodes_per_s", four, second)
    notes = [
        *notes,
        f"two front doors carried {doors.median:.2f} times as many episodes of one curriculum as one did",
        f"four curricula behind two front doors had {curricula.median:.2f} times as many episodes as one",
    ]
    question = "StreamMetrics through front doors to Ray actors, journalled to PostgreSQL with fsync"
    return Result("ray_front_doors", question, header, rows, [], notes, comparison.to_json())


if __name__ == "__main__":
    sys.exit(run_program(__doc__, run))

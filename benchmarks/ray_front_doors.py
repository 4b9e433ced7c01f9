"""Front doors on Ray: one curriculum behind one and two of them, one and four curricula, and what a message costs.

    python -m benchmarks --only ray_front_doors
    .ci/with-loopback-only .venv-ray/bin/python -m benchmarks.ray_front_doors [--quick] [--json FILE]

A Ray cluster of a head and two nodes, PostgreSQL and all front doors on this machine. In every arm eight sessions, held
by two load processes, spread over front doors and curricula, each with two batches in flight: episodes up, as many new
tasks down, committed by PostgreSQL with fsync. Every episode that was sent must have been counted. On two cores
everything shares the two: that two front doors carry more is not to be expected here, so the CPU time of each kind of
process is told, which is what docs/scaling.md reckons with.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.harness import Arm, Run, Window, process_cpu_seconds
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, comparison_table, spread_text
from syllabus_client import CurriculumClient, DiscreteTaskSpace
from tests.postgresql import PostgresServer
from tests.ray.doors import FrontDoors
from tests.ray.nodes import RayNodes

_TASKS = 1_000
_SESSIONS, _LOAD_PROCESSES = 8, 2
_TOLD_SECONDS = 1.5
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
        name = f"load-{self._number}"
        load = Load(
            LoadSettings(targets, names, _SESSIONS, work.rows, in_flight=2, processes=_LOAD_PROCESSES, name=name)
        )
        commits = self._commits()
        load.start()
        try:
            time.sleep(1.0)
            before = self._cpu()
            with Window() as window:
                answered = int(load.answered().sum())
                time.sleep(self._seconds)
                answered = int(load.answered().sum()) - answered
            after = self._cpu()
        finally:
            told = load.stop()
        commits = self._commits() - commits
        if told.errors:
            raise RuntimeError(told.errors[0])
        if (counted := sum(client.summary().num_episodes for client in clients)) != told.sent:
            raise RuntimeError(f"{told.sent} episodes were sent, and {counted} counted")
        for client in clients:
            client.delete()
            client.close()
        batches = answered / work.rows
        figures = {
            "episodes_per_s": answered / window.noise.seconds,
            "batches_per_s": batches / window.noise.seconds,
            "batches_per_commit": len(told.latencies) / max(commits, 1),
            "latency_p50_ms": float(np.median(told.latencies[:, 1])) * 1e3,
            **{f"{kind}_us": (after[kind] - before[kind]) / batches * 1e6 for kind in after},
        }
        return Run(figures, window.noise)

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
        """Journal writes so far: of the whole load, since PostgreSQL counts what its processes tell once a second."""
        time.sleep(_TOLD_SECONDS)
        with self._database.connect("benchmark") as connection:
            row = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = 'benchmark'").fetchone()
            return int(row[0]) if row else 0


def run(options: Options) -> Result:
    """Run all arms."""
    stage = Stage(options.seconds(5.0))
    try:
        arms = [Arm(work.name, lambda work=work: stage.run(work)) for work in ARMS]
        first, second, four = (work.name for work in ARMS[:3])
        comparison = options.compare(arms, [(second, first), (four, second)])
    finally:
        stage.close()
    header, rows, notes = comparison_table(comparison, COLUMNS)
    if doors := comparison.ratio("episodes_per_s", second, first):
        notes.append(f"Two front doors carried {spread_text(doors)} times as many episodes of one curriculum as one.")
    if curricula := comparison.ratio("episodes_per_s", four, second):
        notes.append(f"Four curricula behind two front doors had {spread_text(curricula)} times as many as one.")
    question = "StreamMetrics through front doors to Ray actors, journalled to PostgreSQL with fsync"
    data = {**comparison.to_json(), "reckoned_from": [first, four]}
    return Result("ray_front_doors", question, header, rows, [], notes, data)


if __name__ == "__main__":
    run_program(__doc__, run)

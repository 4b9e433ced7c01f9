"""How long a service is away after `kill -9`, with 10,000,000 episodes behind it and 1,000,000 tasks.

    python -m benchmarks.restart [--quick] [--json FILE]

Once, a service takes the episodes, in batches of 8,192. Each run then goes on with what is stored: it puts it under
load again, kills it in the middle of that, starts a process anew, and measures from its start to the first answer of
GetTask. The time of the kill differs from run to run, so that there is more or less to replay; one arm's load is of
batches of 8,192 episodes, the other's of batches of 8, of which there are more. Every acknowledged episode must be
there each time. The verdict is on the longest of the runs that count. The baseline is the same with no episode behind
it. What was left is in the page cache.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.harness import Arm, Run, Window, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

LARGE, SMALL, NOTHING = "killed in batches of 8,192", "killed in batches of 8", "no episode"
COLUMNS = {
    "away_s": "until it serves, s",
    "cpu_s": "CPU, s",
    "loaded_s": "killed after, s",
    "episodes": "episodes",
    "stored_mib": "stored, MiB",
    "rss_mib": "RSS, MiB",
}
AWAY_S = 5.0
MOST_SECONDS = 300.0
KILL_AFTER_SECONDS = (1.0, 2.3, 0.4, 3.1, 1.7, 2.7)
"""Under load, in turn."""


@dataclass
class Victim:
    """A service that is killed again and again, and the episodes of it that were acknowledged."""

    service: ServiceProcess
    data_dir: Path
    acknowledged: int = 0
    moments: Iterator[float] = field(default_factory=lambda: itertools.cycle(KILL_AFTER_SECONDS))

    def fill(self, episodes: int, rows: int) -> None:
        """Take so many episodes."""
        load = self._load(rows)
        load.start()
        deadline = time.monotonic() + MOST_SECONDS
        while load.answered().sum() < episodes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{load.answered().sum():,} episodes were taken in {MOST_SECONDS:.0f} s")
            time.sleep(0.05)
        told = load.stop()
        if told.errors:
            raise RuntimeError(told.errors[0])
        self.acknowledged += told.sent
        self.service.check_episodes(self.acknowledged)

    def kill_and_restart(self, rows: int, scale: float = 1.0) -> Run:
        """Kill it while it takes batches of so many episodes, none for 0, and start it again."""
        seconds = scale * next(self.moments) if rows else 0.0
        if rows:
            load = self._load(rows)
            load.start()
            time.sleep(seconds)
            self.service.kill()
            load.stop()  # its streams have broken
            self.acknowledged += int(load.answered().sum())
        else:
            self.service.kill()
        stored = sum(path.stat().st_size for path in self.data_dir.rglob("*") if path.is_file())
        with Window() as window:
            self.service.start()
            _first_task(self.service.target)
        with self.service.client() as client:
            counted = client.summary().num_episodes
        if counted < self.acknowledged:
            raise RuntimeError(f"{self.acknowledged} episodes were acknowledged, and {counted} are there")
        self.acknowledged = counted  # what was under way may have been taken, too
        noise = window.noise
        values = {"away_s": noise.seconds, "cpu_s": noise.cpu_seconds, "loaded_s": seconds, "episodes": float(counted)}
        rss = rss_bytes(self.service.pid) / 2**20
        return Run({**values, "stored_mib": stored / 2**20, "rss_mib": rss}, noise)

    def _load(self, rows: int) -> Load:
        settings = LoadSettings(
            [self.service.target], [CURRICULUM], sessions=4, rows=rows, in_flight=2, name=uuid.uuid4().hex
        )
        return Load(settings)


def run(options: Options) -> Result:
    """Fill a store, and kill the service on it."""
    tasks, episodes = options.count(1_000_000, 1_000), options.count(10_000_000, 5_000)
    large, scale = options.count(8192, 256), options.count(10, 1) / 10
    with scratch() as directory, ExitStack() as stack:

        def victim(name: str) -> Victim:
            service = stack.enter_context(ServiceProcess(directory / name))
            service.create(tasks, "online_learning_progress")
            return Victim(service, directory / name)

        behind, nothing = victim("behind"), victim("nothing")
        behind.fill(episodes, large)
        arms = [
            Arm(LARGE, lambda: behind.kill_and_restart(large, scale)),
            Arm(SMALL, lambda: behind.kill_and_restart(8, scale)),
            Arm(NOTHING, lambda: nothing.kill_and_restart(0)),
        ]
        comparison = options.compare(arms, [(LARGE, NOTHING), (SMALL, NOTHING)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "away_s")
    every = [run.values["away_s"] for arm in (LARGE, SMALL) for run in comparison.used(arm)]
    away = [comparison.spread(arm, "away_s") for arm in (LARGE, SMALL)]
    verdict = Verdict(
        "restart after `kill -9`, 10,000,000 episodes behind it, 1,000,000 tasks",
        f"serving again within {AWAY_S:.0f} s",
        f"{number(away[0].median)} s and, in small batches, {number(away[1].median)} s; "
        f"the longest of {len(every)} {number(max(every))} s",
        max(every) < AWAY_S,
        any(each.noisy for each in away),
    )
    question = f"from the start of a process after kill -9 to its first answer, {tasks:,} tasks"
    return Result("restart", question, header, rows, [verdict], notes, comparison.to_json())


def _first_task(target: str) -> None:
    """Ask until there is an answer."""
    deadline = time.monotonic() + MOST_SECONDS
    while True:
        request = pb.GetTaskRequest(curriculum=CURRICULUM, session_id=uuid.uuid4().hex, sequence=1, num_tasks=1)
        with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                pb_grpc.CurriculumServiceStub(channel).GetTask(request, timeout=MOST_SECONDS)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


if __name__ == "__main__":
    run_program(__doc__, run)

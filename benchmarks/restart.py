"""How long a service is away after `kill -9`, with 10,000,000 episodes behind it and 1,000,000 tasks.

    python -m benchmarks.restart [--quick] [--json FILE]

Once, a service takes the episodes, in batches of 8,192, and is killed in the middle of it. Each run then starts a
process on a copy of what that left, and measures from its start to the first answer of GetTask. Every acknowledged
episode must be there. The baseline is the same with no episode behind it. What was left is in the page cache.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

import grpc

from benchmarks.harness import Arm, ArmFailedError, Run, Window, compare, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

BEHIND, NOTHING = "10,000,000 episodes behind it", "none"
COLUMNS = {
    "away_s": "until it serves, s",
    "cpu_s": "CPU, s",
    "stored_mib": "stored, MiB",
    "rss_mib": "RSS, MiB",
}
AWAY_S = 5.0
MOST_SECONDS = 300.0


def run(options: Options) -> Result:
    """Fill a store, and start services on copies of it."""
    tasks, episodes = options.count(1_000_000, 1_000), options.count(10_000_000, 5_000)
    with scratch() as directory:
        acknowledged = _fill(directory / "behind", tasks, episodes)
        _fill(directory / "nothing", tasks, 0)
        arms = [
            Arm(BEHIND, lambda: _restart(directory / "behind", directory / "copy", acknowledged)),
            Arm(NOTHING, lambda: _restart(directory / "nothing", directory / "copy", 0)),
        ]
        comparison = compare(arms, options.rule)
    header, rows, notes = comparison_table(comparison, COLUMNS, NOTHING, "away_s")
    away = comparison.spread(BEHIND, "away_s")
    verdict = Verdict(
        "restart after `kill -9`, 10,000,000 episodes behind it, 1,000,000 tasks",
        f"serving again within {AWAY_S:.0f} s",
        f"{number(away.median)} s, the longest {number(away.high)} s",
        away.high < AWAY_S,
        away.noisy,
    )
    question = f"from the start of a process after kill -9 to its first answer, {tasks:,} tasks"
    return Result("restart", question, header, rows, [verdict], notes, comparison.to_json())


def _fill(data_dir: Path, tasks: int, episodes: int) -> int:
    """Leave what a killed service leaves; returns how many episodes were acknowledged."""
    with ServiceProcess(data_dir) as service:
        service.create(tasks, "online_learning_progress")
        if not episodes:
            service.kill()
            return 0
        rows = min(8192, episodes // 10)
        load = Load(LoadSettings(service.target, CURRICULUM, sessions=4, rows=rows, in_flight=2))
        load.start()
        deadline = time.monotonic() + MOST_SECONDS
        while load.answered().sum() < episodes:
            if time.monotonic() > deadline:
                raise ArmFailedError(f"{load.answered().sum():,} episodes were taken in {MOST_SECONDS:.0f} s")
            time.sleep(0.05)
        service.kill()
        load.stop()  # its streams have broken
        return int(load.answered().sum())


def _restart(left: Path, copy: Path, acknowledged: int) -> Run:
    shutil.copytree(left, copy)
    service = ServiceProcess(copy)
    try:
        with Window() as window:
            service.start()
            _first_task(service.target)
        with service.client() as client:
            counted = client.summary().num_episodes
        if counted < acknowledged:
            raise RuntimeError(f"{acknowledged} episodes were acknowledged, and {counted} are there")
        noise = window.noise
        stored = sum(path.stat().st_size for path in left.rglob("*") if path.is_file())
        values = {"away_s": noise.seconds, "cpu_s": noise.cpu_seconds, "stored_mib": stored / 2**20}
        return Run({**values, "rss_mib": rss_bytes(service.pid) / 2**20}, noise)
    finally:
        service.__exit__()
        shutil.rmtree(copy)


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

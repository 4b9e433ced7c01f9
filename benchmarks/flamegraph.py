"""Flame graphs of client processes and of a service: where the time of a step, a reset, a batch and a call goes.

    python -m benchmarks.flamegraph [--seconds 5] [--to DIRECTORY]

Five pictures, by py-spy, which samples all threads of a process 250 times a second and leaves out those that wait; each
says of which commit it is:

- `flame-client.svg`: an environment's process in the main job, of which there are eight;
- `flame-service.svg`: the embedded service of that job;
- `flame-cartpole.svg`: an environment's process with CartPole-v1, of which there are four;
- `flame-ingest.svg`: a service that takes columns of 2,048 episodes, as in `benchmarks.ingest`;
- `flame-get-task.svg`: a service that is asked for one task a call, as in `benchmarks.get_task`.

py-spy reads other processes' memory: it needs to be root, or a kernel that allows it (`kernel.yama.ptrace_scope` 0).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.process_tree import tree
from benchmarks.harness.revision import of_commit, revision
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch
from benchmarks.harness.unary_load import GetTaskCaller, UnaryLoad

_RATE = 250
_START_SECONDS = 60.0
_WARM_UP_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="to sample each process")
    parser.add_argument("--to", type=Path, default=ROOT / "benchmarks" / "results", help="where the pictures go")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)

    def record(pid: int, name: str) -> None:
        picture = options.to / f"flame-{name}.svg"
        _record(pid, options.seconds, picture)
        print(f"wrote {picture}")

    lasting = 3 * options.seconds + 10
    with _job({"processes": 8, "tasks": 1_000, "seconds": lasting}) as (workers, services):
        record(workers[0], "client")
        record(services[0], "service")
    with _job({"processes": 4, "tasks": 1_000, "seconds": lasting, "environment": "CartPole-v1"}) as (workers, _):
        record(workers[0], "cartpole")
    with scratch() as directory, ServiceProcess(directory) as service:
        service.create(1_000)
        load = Load(LoadSettings([service.target], [CURRICULUM], sessions=4, rows=2048, in_flight=2))
        load.start()
        time.sleep(_WARM_UP_SECONDS)
        record(service.pid, "ingest")
        load.stop()
        calls = UnaryLoad(service.target, GetTaskCaller(CURRICULUM, "calls"), 16)
        calls.start()
        time.sleep(_WARM_UP_SECONDS)
        record(service.pid, "get-task")
        calls.stop()


@contextmanager
def _job(params: dict[str, Any]) -> Iterator[tuple[list[int], list[int]]]:
    """The arm `job` while it runs: its workers and its service, warmed up."""
    temporary = tempfile.mkdtemp(prefix="bench-")  # of its own, since it is killed
    job = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.arms.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": temporary},
        text=True,
    )
    try:
        if job.stdin is None:
            raise RuntimeError("the job has no standard input")
        json.dump(params, job.stdin)
        job.stdin.close()
        processes = _children(job.pid, params["processes"])
        time.sleep(_WARM_UP_SECONDS)
        yield processes
    finally:
        for pid in reversed(tree(job.pid)[1:]):
            subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)
        job.kill()
        job.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def _children(root: int, workers: int) -> tuple[list[int], list[int]]:
    """Wait for a job's processes: forked workers, which have its command line, and services, which have their own."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        own, found = _command_line(root), tree(root)[1:]
        forked = [pid for pid in found if own and _command_line(pid) == own]
        if len(forked) == workers:
            return forked, [pid for pid in found if pid not in forked]
        time.sleep(0.1)
    raise RuntimeError("the job did not start")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def py_spy() -> str | None:
    """Where py-spy is; None where it is not installed."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def _record(pid: int, seconds: float, picture: Path) -> None:
    if (program := py_spy()) is None:
        raise SystemExit("py-spy is missing: pip install -e '.[dev]'")
    duration = max(1, round(seconds))
    command = [program, "record", "--pid", str(pid), "--output", str(picture), "--rate", str(_RATE)]
    done = subprocess.run(
        [*command, "--duration", str(duration), "--threads"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"py-spy: {done.stderr}")
    # Its heading is the command line, with this machine's paths.
    svg, title = picture.read_text(encoding="utf-8"), picture.stem + of_commit(revision())
    picture.write_text(re.sub(r">[^<>]*py-spy[^<>]*<", f">{title}<", svg), encoding="utf-8")


if __name__ == "__main__":
    main()

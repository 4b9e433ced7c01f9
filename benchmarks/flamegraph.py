"""Flame graphs of a client process and of a service: where the time of a step, a reset and a batch goes.

    python -m benchmarks.flamegraph [--seconds 5] [--to DIRECTORY]

Three pictures, by py-spy, which samples all threads of a process 250 times a second and leaves out those that wait:

- `flame-client.svg`: an environment's process in the main job;
- `flame-service.svg`: the embedded service of that job;
- `flame-ingest.svg`: a service that takes columns of 2,048 episodes, as in `benchmarks.ingest`.

py-spy reads other processes' memory: it needs to be root, or a kernel that allows it (`kernel.yama.ptrace_scope` 0).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import ROOT
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.process_tree import tree
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch

_RATE = 250
_START_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="to sample each process")
    parser.add_argument("--to", type=Path, default=ROOT / "benchmarks" / "results", help="where the pictures go")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    pictures = {name: options.to / f"flame-{name}.svg" for name in ("client", "service", "ingest")}
    _main_job(options.seconds, pictures["client"], pictures["service"])
    _ingest(options.seconds, pictures["ingest"])
    for path in pictures.values():
        print(f"wrote {path}")


def _main_job(seconds: float, client: Path, service: Path) -> None:
    """Sample a worker and the service while the job runs."""
    job = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.arms.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    )
    try:
        if job.stdin is None:
            raise RuntimeError("the job has no standard input")
        json.dump({"processes": 4, "tasks": 1_000, "seconds": 2 * seconds + 5}, job.stdin)
        job.stdin.close()
        workers, services = _children(job.pid, 4)
        time.sleep(1.0)
        _record(workers[0], seconds, client)
        _record(services[0], seconds, service)
    finally:
        for pid in reversed(tree(job.pid)[1:]):
            subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)
        job.kill()
        job.wait()


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


def _ingest(seconds: float, picture: Path) -> None:
    with scratch() as directory, ServiceProcess(directory) as service:
        service.create(1_000)
        load = Load(LoadSettings(service.target, CURRICULUM, sessions=4, rows=2048, in_flight=2))
        load.start()
        time.sleep(1.0)
        _record(service.pid, seconds, picture)
        load.stop()


def _record(pid: int, seconds: float, picture: Path) -> None:
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        raise SystemExit("py-spy is missing: pip install -e '.[bench]'")
    duration = max(1, round(seconds))
    command = [py_spy, "record", "--pid", str(pid), "--output", str(picture), "--rate", str(_RATE)]
    done = subprocess.run(
        [*command, "--duration", str(duration), "--threads"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"py-spy: {done.stderr}")
    # Its heading is the command line, with this machine's paths.
    svg = picture.read_text(encoding="utf-8")
    picture.write_text(re.sub(r">[^<>]*py-spy[^<>]*<", f">{picture.stem}<", svg), encoding="utf-8")


if __name__ == "__main__":
    main()

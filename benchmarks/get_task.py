"""GetTask, unary: one task a call, beside a bare echo handler on the same gRPC server.

    python -m benchmarks.get_task [--quick] [--json FILE]

16 callers in one process, on one connection, each with its next call as soon as one is answered. The echo is a handler
of bytes beside the service's, on its server, and gets the bytes of the same requests. Once the service keeps nothing,
as when it is embedded, and once it answers after the fsync of its journal. Every call that was answered must have
handed out a task.
"""

from __future__ import annotations

import itertools
import time

import numpy as np

from benchmarks.harness import Arm, Run, Window, process_cpu_seconds
from benchmarks.harness.both_server import BothServer, both_server
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number
from benchmarks.harness.service import CURRICULUM, scratch
from benchmarks.harness.unary_load import EchoCaller, GetTaskCaller, UnaryLoad
from syllabus_client import CurriculumClient, DiscreteTaskSpace

OURS, DURABLE, ECHO = "GetTask", "GetTask, journalled to disk", "echo"
COLUMNS = {
    "calls_per_s": "calls/s",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_us_per_call": "CPU us/call, both sides",
    "server_cpu_us_per_call": "CPU us/call, server",
}
CONCURRENCY = 16
WARM_UP_SECONDS = 0.5
OF_ECHO = 0.8


def run(options: Options) -> Result:
    """Run the three arms."""
    seconds = options.seconds(3.0)
    with scratch() as directory, both_server(None) as volatile, both_server(directory) as durable:
        for server in (volatile, durable):
            with CurriculumClient(server.target, curriculum=CURRICULUM) as client:
                client.create("domain_randomization", DiscreteTaskSpace(1_000))
        arms = [
            Arm(OURS, lambda: _get_task(volatile, seconds)),
            Arm(DURABLE, lambda: _get_task(durable, seconds)),
            Arm(ECHO, lambda: _call(volatile, EchoCaller(_caller()), seconds)[0], is_baseline=True),
        ]
        comparison = options.compare(arms, [(OURS, ECHO), (DURABLE, ECHO)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "calls_per_s")
    ours, on_disk = (comparison.ratio("calls_per_s", arm, ECHO) for arm in (OURS, DURABLE))
    verdict = Verdict(
        "GetTask, unary",
        f"at least {OF_ECHO:.0%} of a bare echo handler on the same gRPC server",
        f"{number(ours.median)} of the echo; journalled to disk {number(on_disk.median)}"
        if ours and on_disk
        else "the echo did not run",
        ours.median >= OF_ECHO if ours else None,
        ours.noisy if ours else False,
    )
    question = f"unary calls for one task, {CONCURRENCY} callers, and a bare echo on the same server"
    return Result("get_task", question, header, rows, [verdict], notes, comparison.to_json())


def _get_task(server: BothServer, seconds: float) -> Run:
    with CurriculumClient(server.target, curriculum=CURRICULUM) as client:
        before = client.summary().num_assignments
        run, calls = _call(server, _caller(), seconds)
        handed_out = client.summary().num_assignments - before
    if handed_out != calls:
        raise RuntimeError(f"{calls} calls were answered, and {handed_out} tasks handed out")
    return run


_numbers = itertools.count()


def _caller() -> GetTaskCaller:
    """Callers of sessions of their own."""
    return GetTaskCaller(CURRICULUM, f"load-{next(_numbers)}")


def _call(server: BothServer, caller: GetTaskCaller | EchoCaller, seconds: float) -> tuple[Run, int]:
    """A run, and the number of all calls that were answered."""
    load = UnaryLoad(server.target, caller, CONCURRENCY)
    load.start()
    time.sleep(min(WARM_UP_SECONDS, seconds))
    with Window() as window:
        cpu, start = process_cpu_seconds(server.pid), time.monotonic()
        time.sleep(seconds)
        cpu, end = process_cpu_seconds(server.pid) - cpu, time.monotonic()
    at, latency = load.stop().T
    calls = len(latency)
    latency = latency[(at >= start) & (at < end)]
    values = {
        "calls_per_s": len(latency) / (end - start),
        "p50_ms": float(np.percentile(latency, 50)) * 1e3,
        "p99_ms": float(np.percentile(latency, 99)) * 1e3,
        "cpu_us_per_call": window.noise.cpu_seconds / len(latency) * 1e6,
        "server_cpu_us_per_call": cpu / len(latency) * 1e6,
    }
    return Run(values, window.noise), calls


if __name__ == "__main__":
    run_program(__doc__, run)

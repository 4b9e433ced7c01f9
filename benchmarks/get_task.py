"""GetTask, unary: one task a call, beside a bare echo handler on the same gRPC server.

    python -m benchmarks.get_task [--quick] [--json FILE]

16 callers in one process, on one connection, each with its next call as soon as one is answered. The echo is a handler
of bytes beside the service's, on its server, and gets the bytes of the same requests. Once the service keeps nothing,
as when it is embedded, and once it answers after the fsync of its journal.
"""

from __future__ import annotations

import itertools
import time
from functools import partial

import numpy as np

from benchmarks.harness import Arm, Run, Window, compare
from benchmarks.harness.both_server import both_server
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number
from benchmarks.harness.service import CURRICULUM, scratch
from benchmarks.harness.unary_load import Caller, EchoCaller, GetTaskCaller, UnaryLoad
from syllabus_client import CurriculumClient, DiscreteTaskSpace

OURS, DURABLE, ECHO = "GetTask", "GetTask, journalled to disk", "echo"
COLUMNS = {
    "calls_per_s": "calls/s",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_us_per_call": "CPU us/call, both sides",
}
CONCURRENCY = 16
WARM_UP_SECONDS = 0.5
OF_ECHO = 0.8


def run(options: Options) -> Result:
    """Run the three arms."""
    seconds = options.seconds(3.0)
    numbers = itertools.count()
    with scratch() as directory, both_server(None) as volatile, both_server(directory) as durable:
        for target in (volatile, durable):
            with CurriculumClient(target, curriculum=CURRICULUM) as client:
                client.create("domain_randomization", DiscreteTaskSpace(1_000))

        def get_task() -> GetTaskCaller:
            return GetTaskCaller(CURRICULUM, f"load-{next(numbers)}")

        arms = [
            Arm(OURS, lambda: _call(volatile, get_task(), seconds)),
            Arm(DURABLE, lambda: _call(durable, get_task(), seconds)),
            Arm(ECHO, partial(_call, volatile, EchoCaller(get_task()), seconds)),
        ]
        comparison = compare(arms, options.rule)
    header, rows, notes = comparison_table(comparison, COLUMNS, ECHO, "calls_per_s")
    ours, on_disk = (comparison.ratio("calls_per_s", arm, ECHO) for arm in (OURS, DURABLE))
    verdict = Verdict(
        "GetTask, unary",
        f"at least {OF_ECHO:.0%} of a bare echo handler on the same gRPC server",
        f"{number(ours.median)} of the echo; journalled to disk {number(on_disk.median)}",
        ours.median >= OF_ECHO,
        ours.noisy,
    )
    question = f"unary calls for one task, {CONCURRENCY} callers, and a bare echo on the same server"
    return Result("get_task", question, header, rows, [verdict], notes, comparison.to_json())


def _call(target: str, caller: Caller, seconds: float) -> Run:
    load = UnaryLoad(target, caller, CONCURRENCY)
    load.start()
    time.sleep(min(WARM_UP_SECONDS, seconds))
    with Window() as window:
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
    at, latency = load.stop().T
    latency = latency[(at >= start) & (at < end)]
    return Run(
        {
            "calls_per_s": len(latency) / (end - start),
            "p50_ms": float(np.percentile(latency, 50)) * 1e3,
            "p99_ms": float(np.percentile(latency, 99)) * 1e3,
            "cpu_us_per_call": window.noise.cpu_seconds / len(latency) * 1e6,
        },
        window.noise,
    )


if __name__ == "__main__":
    run_program(__doc__, run)

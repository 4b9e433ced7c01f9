"""Playing for memory: what a service holds that has played, by tasks, environments and curriculum."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.harness import Run, Window, peak_rss_bytes, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch

_MOST_SECONDS = 120.0


_TOLD_AT_ONCE = 100_000


def play(
    tasks: int,
    environments: int,
    algorithm: str,
    episodes: int,
    params: Mapping[str, Any],
    learner: str = "",
    durable: bool = False,
) -> Run:
    """Play some episodes, so that what is allocated was touched, and look.

    Args:
        tasks: how many there are.
        environments: how many hold a task.
        algorithm: the curriculum.
        episodes: how many, at least.
        params: of the curriculum.
        learner: the array of a custom update in which the learner says something of every task first; "": nothing.
        durable: whether it is kept on disk; then it plays until a snapshot was written, too.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch()) if durable else None
        service = stack.enter_context(ServiceProcess(directory, metrics=durable))
        window = stack.enter_context(Window())
        service.create(tasks, algorithm, params)
        if learner:
            _tell(service, tasks, learner)
        batches = -(-environments // 4096)  # which are in flight, of a session with at most eight of them
        sessions = -(-batches // 8)
        rows, in_flight = environments // batches, batches // sessions
        load = Load(LoadSettings([service.target], [CURRICULUM], sessions, rows, in_flight))
        load.start()
        _wait(lambda: load.answered().sum() >= episodes, "too few episodes")
        if durable:
            _wait(lambda: service.metrics().get("syllabus_snapshot_seconds_count", 0) > 0, "no snapshot")
        told = load.stop()
        if told.errors:
            raise RuntimeError(told.errors[0])
        service.check_episodes(told.sent)
        rss, peak = rss_bytes(service.pid), peak_rss_bytes(service.pid)
    return Run({"rss_mib": rss / 2**20, "peak_rss_mib": peak / 2**20}, window.noise)


def _tell(service: ServiceProcess, tasks: int, name: str) -> None:
    with service.client() as client:
        if name == "success_rates":
            client.custom_update(success_rates=np.full(tasks, 0.5))
            return
        for start in range(0, tasks, _TOLD_AT_ONCE):
            some = np.arange(start, min(start + _TOLD_AT_ONCE, tasks))
            client.custom_update(tasks=some, **{name: some / tasks})


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _MOST_SECONDS
    while not until():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} within {_MOST_SECONDS:.0f} s")
        time.sleep(0.05)

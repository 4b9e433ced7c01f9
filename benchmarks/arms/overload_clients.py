"""The arm of overload with clients of this project: Sessions that offer more rows than the service takes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.harness import Run, Window, arm_main, rss_bytes
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch
from syllabus_client import BufferFullError, SessionSettings, open_session

_SETTINGS = SessionSettings(max_pending_rows=100_000, timeout=120.0)
_PAUSE_SECONDS = 0.05
_COLUMNS = ("episode_returns", "lengths", "progress", "env_ids")


@dataclass(frozen=True)
class Told:
    """What a client tells at its end."""

    accepted: int
    """Rows that the session took."""
    refused: int
    """Rows of reports that raised BufferFullError."""
    undelivered: int
    """Rows that the session gave up, or that the service did not count."""
    waits: np.ndarray
    """float64 (n,): seconds that each wait for tasks took."""
    seconds: float
    """For how long it played and reported,"""
    delivered_seconds: float
    """and until all of it was in the service's journal."""
    rss: int


def run(environments: int, players: int, reporters: int, seconds: float) -> Run:
    """Clients that play and report, and clients that only report, as fast as their sessions let them.

    Args:
        environments: of a player. It waits for a task of each, and reports seven further episodes beside each task's.
        players: processes that play.
        reporters: processes that report as many rows and never wait for a task, so that their sessions must refuse.
        seconds: for how long.
    """
    with scratch() as directory, ServiceProcess(directory) as service:
        service.create(1_000)
        alone = _run_clients(service.target, environments, 1, 0, seconds / 4, pause=_PAUSE_SECONDS)
        counted = alone[0].accepted
        with Window() as window:
            told = _run_clients(service.target, environments, players, reporters, seconds)
        rss = rss_bytes(service.pid)
        counted += sum(each.accepted for each in told)
        service.check_episodes(counted)
    if lost := sum(each.undelivered for each in [*alone, *told]):
        raise RuntimeError(f"{lost} rows were not delivered")
    waits = np.concatenate([each.waits for each in told])
    accepted = sum(each.accepted for each in told)
    # What a client would say if it never had to wait.
    offered = sum((each.accepted + each.refused) / max(each.seconds - each.waits.sum(), 1e-3) for each in told)
    return Run(
        {
            "offered_rows_per_s": offered,
            "taken_rows_per_s": accepted / max(each.delivered_seconds for each in told),
            "alone_wait_p50_ms": float(np.percentile(alone[0].waits, 50)) * 1e3,
            "wait_p50_ms": float(np.percentile(waits, 50)) * 1e3,
            "wait_p99_ms": float(np.percentile(waits, 99)) * 1e3,
            "refused_rows": float(sum(each.refused for each in told)),
            "client_rss_mib": max(each.rss for each in told) / 2**20,
            "rss_mib": rss / 2**20,
        },
        window.noise,
    )


def _run_clients(
    target: str, environments: int, players: int, reporters: int, seconds: float, pause: float = 0.0
) -> list[Told]:
    context = multiprocessing.get_context("spawn")
    clients = []
    for number in range(players + reporters):
        ours, theirs = context.Pipe()
        arguments = (theirs, target, environments, number < players, seconds, pause)
        clients.append((context.Process(target=_client, args=arguments, daemon=True), ours))
    for process, _ in clients:
        process.start()
    for _, pipe in clients:
        pipe.recv()
    for _, pipe in clients:
        pipe.send("go")
    told = [pipe.recv() for _, pipe in clients]
    for process, _ in clients:
        process.join()
    return told


def _client(pipe: Connection, target: str, environments: int, plays: bool, seconds: float, pause: float) -> None:
    session = open_session(target, curriculum=CURRICULUM, settings=_SETTINGS)
    session.add_environments(environments)
    first = session.next_tasks(environments)
    session.release(first.ids)
    rows = 8 * environments
    columns: Mapping[str, Any] = {name: np.zeros(rows) for name in _COLUMNS[:1]} | {
        name: np.ones(rows, np.int64) for name in _COLUMNS[1:]
    }
    tasks = np.tile(first.encoded, 8)
    none = np.zeros(rows, np.uint64)
    pipe.send("ready")
    pipe.recv()
    accepted = refused = 0
    waits = []
    end = (start := time.monotonic()) + seconds
    while time.monotonic() < end:
        ids = none
        if plays:
            before = time.monotonic()
            drawn = session.next_tasks(environments)
            waits.append(time.monotonic() - before)
            ids = np.concatenate([drawn.ids, none[environments:]])
            tasks = np.tile(drawn.encoded, 8)
        try:
            session.report_episodes(ids, tasks, **columns)
            accepted += rows
        except BufferFullError:
            refused += rows
            time.sleep(_PAUSE_SECONDS)
        time.sleep(pause)
    elapsed, rss = time.monotonic() - start, rss_bytes(multiprocessing.current_process().pid or 0)
    session.flush()
    delivered = time.monotonic() - start
    statistics = session.statistics
    undelivered = statistics.rows_undelivered + statistics.episodes_invalid + sum(statistics.rows_rejected.values())
    session.close()
    pipe.send(Told(accepted, refused, undelivered, np.array(waits), elapsed, delivered, rss))


if __name__ == "__main__":
    arm_main(run)

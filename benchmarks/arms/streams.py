"""Streams under load: what a number of sessions get through a server, and how long they wait."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Run, Window, peak_rss_bytes, process_cpu_seconds, rss_bytes
from benchmarks.harness.load import Load, LoadSettings

WARM_UP_SECONDS = 1.0


def run_load(
    settings: LoadSettings, server_pid: int, seconds: float, check: Callable[[int], None] = lambda sent: None
) -> Run:
    """Put a load on a server for some seconds, after a warm-up.

    Args:
        settings: the load.
        server_pid: process id of the server.
        seconds: to measure.
        check: called at the end with the number of episodes sent.
    """
    load = Load(settings)
    idle, opened = rss_bytes(server_pid), 0

    def look() -> None:
        nonlocal opened
        opened = rss_bytes(server_pid)

    load.start(look)
    time.sleep(min(WARM_UP_SECONDS, 3 * seconds))
    with Window() as window:
        before, cpu, start = load.answered(), process_cpu_seconds(server_pid), time.monotonic()
        time.sleep(seconds)
        each, cpu, end = load.answered() - before, process_cpu_seconds(server_pid) - cpu, time.monotonic()
    rss = rss_bytes(server_pid)
    told = load.stop()
    if told.errors:
        raise RuntimeError(f"{len(told.errors)} sessions failed: {told.errors[0]}")
    check(told.sent)
    due, latency = told.latencies.T
    batches = int(((due + latency >= start) & (due + latency < end)).sum())
    of_window = latency[(due >= start) & (due < end)]
    if not len(of_window):  # nobody was answered: the wait was at least this long
        of_window = np.array([end - start])
    episodes = int(each.sum())
    return Run(
        {
            "episodes_per_s": episodes / (end - start),
            "batches_per_s": batches / (end - start),
            "cpu_us_per_episode": window.noise.cpu_seconds / max(1, episodes) * 1e6,
            "server_cpu_us_per_episode": cpu / max(1, episodes) * 1e6,
            "server_cpu_us_per_batch": cpu / max(1, batches) * 1e6,
            "latency_p50_ms": float(np.percentile(of_window, 50)) * 1e3,
            "latency_p99_ms": float(np.percentile(of_window, 99)) * 1e3,
            "latency_max_ms": float(of_window.max()) * 1e3,
            "fewest_over_median_episodes": float(each.min() / max(1.0, np.median(each))),
            "most_over_median_episodes": float(each.max() / max(1.0, np.median(each))),
            "silent_sessions": float((each == 0).sum()),
            "idle_rss_mib": idle / 2**20,
            "opened_rss_mib": opened / 2**20,
            "rss_mib": rss / 2**20,
            "peak_rss_mib": peak_rss_bytes(server_pid) / 2**20,
        },
        window.noise,
    )

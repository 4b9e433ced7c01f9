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
    idle = rss_bytes(server_pid)
    opening = load.start()
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
    at, latency = told.latencies.T
    latency = latency[(at >= start) & (at < end)]
    episodes = int(each.sum())
    return Run(
        {
            "episodes_per_s": episodes / (end - start),
            "batches_per_s": len(latency) / (end - start),
            "server_cpu_us_per_episode": cpu / max(1, episodes) * 1e6,
            "latency_p50_ms": float(np.percentile(latency, 50)) * 1e3,
            "latency_p99_ms": float(np.percentile(latency, 99)) * 1e3,
            "latency_max_ms": float(latency.max()) * 1e3,
            "fewest_over_median_episodes": float(each.min() / max(1.0, np.median(each))),
            "most_over_median_episodes": float(each.max() / max(1.0, np.median(each))),
            "silent_sessions": float((each == 0).sum()),
            "opening_s": opening,
            "idle_rss_mib": idle / 2**20,
            "rss_mib": rss / 2**20,
            "peak_rss_mib": peak_rss_bytes(server_pid) / 2**20,
        },
        window.noise,
    )

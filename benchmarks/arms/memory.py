"""The arm of memory: what a service holds that has played, by tasks, environments and curriculum."""

from __future__ import annotations

import time

from benchmarks.harness import Run, Window, arm_main, peak_rss_bytes, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.service import CURRICULUM, ServiceProcess

_MOST_SECONDS = 120.0


def run(tasks: int, environments: int, algorithm: str, episodes: int) -> Run:
    """Play some episodes, so that what is allocated was touched, and look.

    Args:
        tasks: how many there are.
        environments: how many hold a task, in four sessions.
        algorithm: the curriculum.
        episodes: how many, at least.
    """
    with ServiceProcess(None) as service, Window() as window:
        service.create(tasks, algorithm)
        per_session = environments // 4
        in_flight = -(-per_session // 4096)
        load = Load(LoadSettings(service.target, CURRICULUM, 4, per_session // in_flight, in_flight))
        load.start()
        deadline = time.monotonic() + _MOST_SECONDS
        while load.answered().sum() < episodes:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{load.answered().sum()} episodes in {_MOST_SECONDS:.0f} s")
            time.sleep(0.05)
        told = load.stop()
        if told.errors:
            raise RuntimeError(told.errors[0])
        rss, peak = rss_bytes(service.pid), peak_rss_bytes(service.pid)
    return Run({"rss_mib": rss / 2**20, "peak_rss_mib": peak / 2**20}, window.noise)


if __name__ == "__main__":
    arm_main(run)

"""The arm `this service` of streams: a service on a directory of this disk, every answer after its fsync."""

from __future__ import annotations

from benchmarks.arms.streams import run_load
from benchmarks.harness import Run, arm_main
from benchmarks.harness.load import LoadSettings
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch


def run(
    sessions: int,
    rows: int,
    seconds: float,
    in_flight: int = 1,
    every: float = 0.0,
    processes: int = 1,
    tasks: int = 1_000,
    algorithm: str = "domain_randomization",
) -> Run:
    """Load a service; every episode that was sent must have been counted."""
    with scratch() as directory, ServiceProcess(directory) as service:
        service.create(tasks, algorithm)
        settings = LoadSettings([service.target], [CURRICULUM], sessions, rows, in_flight, every, processes)
        return run_load(settings, service.pid, seconds, service.check_episodes)


if __name__ == "__main__":
    arm_main(run)

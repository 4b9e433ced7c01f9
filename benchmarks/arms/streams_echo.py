"""The arms `byte echo` of streams: a bare grpc.aio server, as many bytes up and down."""

from __future__ import annotations

from benchmarks.arms.streams import run_load
from benchmarks.harness import Run, arm_main
from benchmarks.harness.echo import echo_server
from benchmarks.harness.load import BuildingEchoExchange, EchoExchange, LoadSettings, reply
from benchmarks.harness.service import scratch


def run(
    sessions: int,
    rows: int,
    seconds: float,
    in_flight: int = 1,
    every: float = 0.0,
    processes: int = 1,
    journal: bool = False,
    build: bool = False,
) -> Run:
    """Load an echo.

    Args:
        sessions, rows, in_flight, every, processes: of the load.
        seconds: to measure.
        journal: whether the echo appends what it gets to a file of this disk, and answers after an fsync of it.
        build: whether the load makes its messages, and reads the answers, as it does with the service.
    """
    exchange = BuildingEchoExchange if build else EchoExchange
    with scratch() as directory, echo_server(reply(rows), directory / "journal" if journal else None) as (target, pid):
        settings = LoadSettings([target], [""], sessions, rows, in_flight, every, processes, exchange)
        return run_load(settings, pid, seconds)


if __name__ == "__main__":
    arm_main(run)

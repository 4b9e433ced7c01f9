"""The arm `byte echo` of streams: a bare grpc.aio server, as many bytes up and down."""

from __future__ import annotations

from benchmarks.arms.streams import run_load
from benchmarks.harness import Run, arm_main
from benchmarks.harness.echo import echo_server
from benchmarks.harness.load import EchoExchange, LoadSettings, reply_size


def run(sessions: int, rows: int, in_flight: int, seconds: float, pause: float = 0.0, processes: int = 1) -> Run:
    """Load an echo."""
    with echo_server(bytes(reply_size(rows))) as (target, pid):
        settings = LoadSettings(target, "", sessions, rows, in_flight, pause, processes, EchoExchange)
        return run_load(settings, pid, seconds)


if __name__ == "__main__":
    arm_main(run)

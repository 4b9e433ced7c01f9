"""The arm of overload: a service before, under and after more load than it can take, seen by a small client."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.harness import Run, Window, arm_main, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch

_POLL_SECONDS = 0.1
_HEALTH_SECONDS = 30.0


@dataclass
class Watch:
    """Asks for health and looks at memory, ten times a second, in a thread."""

    target: str
    pid: int
    health: list[tuple[float, float, str]] = field(default_factory=list)
    """When asked, seconds until the answer, the answer."""
    rss: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while not self._over.wait(_POLL_SECONDS):
                start = time.monotonic()
                try:
                    status = check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS).status
                    answer = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
                except grpc.RpcError as error:
                    answer = error.code().name
                self.health.append((start, time.monotonic() - start, answer))
                self.rss.append((start, rss_bytes(self.pid)))


def run(sessions: int, rows: int, in_flight: int, seconds: float, quiet_seconds: float) -> Run:
    """A small client alone, beside a flood, and alone again.

    Args:
        sessions: of the flood.
        rows: episodes of each of its batches.
        in_flight: batches of each session without an answer.
        seconds: how long the flood lasts.
        quiet_seconds: how long before and after it are looked at.
    """
    with scratch() as directory, ServiceProcess(directory) as service, service.client() as client:
        service.create(1_000)
        probe = Load(LoadSettings(service.target, CURRICULUM, 1, 8, 1, pause=0.02, name="probe"))
        flood = Load(LoadSettings(service.target, CURRICULUM, sessions, rows, in_flight, processes=2, name="flood"))
        probe.start()
        time.sleep(min(1.0, quiet_seconds))
        watch = Watch(service.target, service.pid)
        marks = [time.monotonic()]
        with Window() as window:
            time.sleep(quiet_seconds)
            marks.append(time.monotonic())
            flood.start()
            started = time.monotonic()
            time.sleep(seconds)
            answered, elapsed = int(flood.answered().sum()), time.monotonic() - started
            asked_to_stop = time.monotonic()
            flooded = flood.stop()
            marks.append(time.monotonic())
            time.sleep(quiet_seconds)
            marks.append(time.monotonic())
        watch.stop()
        probed = probe.stop()
        if errors := [*flooded.errors, *probed.errors]:
            raise RuntimeError(f"{len(errors)} sessions failed: {errors[0]}")
        counted, sent = client.summary().num_episodes, flooded.sent + probed.sent
        if counted != sent:
            raise RuntimeError(f"{sent} episodes were sent, and {counted} counted")
    before, during, after = (_latencies(probed.latencies, start, end) for start, end in itertools.pairwise(marks))
    rss = [
        max([size for at, size in watch.rss if start <= at < end], default=0) / 2**20
        for start, end in itertools.pairwise(marks)
    ]
    usual = 2 * float(np.percentile(before, 99))
    calm = probed.latencies[(probed.latencies[:, 0] >= marks[2]) & (probed.latencies[:, 1] < usual)]
    return Run(
        {
            "flood_episodes_per_s": answered / elapsed,
            "flood_latency_p50_ms": float(np.percentile(flooded.latencies[:, 1], 50)) * 1e3,
            **_percentiles("before", before),
            **_percentiles("during", during),
            **_percentiles("after", after),
            "rss_before_mib": rss[0],
            "rss_during_mib": rss[1],
            "rss_after_mib": rss[2],
            "health_checks": float(len(watch.health)),
            "health_not_serving": float(sum(answer != "SERVING" for *_, answer in watch.health)),
            "health_longest_ms": max(took for _, took, _ in watch.health) * 1e3,
            "drain_s": marks[2] - asked_to_stop,
            "recovery_s": float(calm[0, 0]) - marks[2] if len(calm) else float("inf"),
        },
        window.noise,
    )


def _latencies(latencies: np.ndarray, start: float, end: float) -> np.ndarray:
    at, latency = latencies.T
    return latency[(at >= start) & (at < end)]


def _percentiles(phase: str, latencies: np.ndarray) -> dict[str, float]:
    return {f"{phase}_p{percent}_ms": float(np.percentile(latencies, percent)) * 1e3 for percent in (50, 99)}


if __name__ == "__main__":
    arm_main(run)

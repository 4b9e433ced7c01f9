"""The arm of overload: a service before, under and after more load than it can take, seen by a small client."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.harness import Run, Window, arm_main, rss_bytes
from benchmarks.harness.load import Load, LoadSettings
from benchmarks.harness.service import CURRICULUM, ServiceProcess, scratch

PROBE_SECONDS = 0.02
_POLL_SECONDS = 0.1
_HEALTH_SECONDS = 30.0
_HICCUP_SECONDS = 0.025


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

    def most_mib(self, start: float, end: float) -> float:
        """The most memory that was seen between two moments."""
        return max([size for at, size in self.rss if start <= at < end], default=rss_bytes(self.pid)) / 2**20

    def _run(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            while not self._over.wait(_POLL_SECONDS):
                start = time.monotonic()
                self.rss.append((start, rss_bytes(self.pid)))
                try:
                    status = check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS).status
                    answer = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
                except grpc.RpcError as error:
                    answer = error.code().name
                self.health.append((start, time.monotonic() - start, answer))


def run(
    sessions: int,
    rows: int,
    in_flight: int,
    seconds: float,
    quiet_seconds: float,
    ramp_seconds: float,
    settle_seconds: float,
) -> Run:
    """A small client alone, beside a flood, and alone again. It sends on a schedule, and waits from when that says.

    Args:
        sessions: of the flood.
        rows: episodes of each of its batches.
        in_flight: batches of each session without an answer.
        seconds: how long the flood is looked at.
        quiet_seconds: how long before it is looked at.
        ramp_seconds: how long the flood runs before it is looked at.
        settle_seconds: how long is waited after all is answered before memory is looked at.
    """
    with scratch() as directory, ServiceProcess(directory) as service:
        service.create(1_000)
        place = [service.target], [CURRICULUM]
        probe = Load(LoadSettings(*place, sessions=1, rows=8, every=PROBE_SECONDS, name="probe"))
        flood = Load(LoadSettings(*place, sessions, rows, in_flight, processes=2, name="flood"))
        probe.start()
        time.sleep(min(1.0, quiet_seconds))
        watch = Watch(service.target, service.pid)
        with Window() as window:
            quiet_at = time.monotonic()
            time.sleep(quiet_seconds)
            quiet_until = time.monotonic()
            flood.start()
            time.sleep(ramp_seconds)
            answered, flooded_at = flood.answered().sum(), time.monotonic()
            time.sleep(seconds)
            answered, flooded_until = int(flood.answered().sum() - answered), time.monotonic()
            flooded = flood.stop()
            drained_at = time.monotonic()
            time.sleep(settle_seconds)
            settled_at = time.monotonic()
        settled = rss_bytes(service.pid)
        watch.stop()
        probed = probe.stop()
        if errors := [*flooded.errors, *probed.errors]:
            raise RuntimeError(f"{len(errors)} sessions failed: {errors[0]}")
        service.check_episodes(flooded.sent + probed.sent)
    due, latency = probed.latencies.T
    before = latency[(due >= quiet_at) & (due < quiet_until)]
    during = latency[(due >= flooded_at) & (due < flooded_until)]
    after = latency[(due >= drained_at) & (due < settled_at)]
    half = (flooded_at + flooded_until) / 2
    quiet, first, second = (
        watch.most_mib(*span) for span in ((quiet_at, quiet_until), (flooded_at, half), (half, flooded_until))
    )
    return Run(
        {
            "flood_episodes_per_s": answered / (flooded_until - flooded_at),
            "flood_latency_p50_ms": float(np.percentile(flooded.latencies[:, 1], 50)) * 1e3,
            **_percentiles("before", before),
            **_percentiles("during", during),
            **_percentiles("after", after),
            "rss_before_mib": quiet,
            "rss_during_mib": max(first, second),
            "rss_after_mib": settled / 2**20,
            "rss_growth": second / first,
            "mib_per_session": (max(first, second) - quiet) / sessions,
            "health_checks": float(len(watch.health)),
            "health_not_serving": float(sum(answer != "SERVING" for *_, answer in watch.health)),
            "health_longest_ms": max(took for _, took, _ in watch.health) * 1e3,
            "drain_s": drained_at - flooded_until,
            "recovery_s": recovery_seconds(due - flooded_until, latency, usual_seconds(before)),
        },
        window.noise,
    )


def usual_seconds(before: np.ndarray) -> float:
    """Up to which wait is a usual one: twice the p99 of before, or what a scheduler's hiccup takes."""
    return max(2 * float(np.percentile(before, 99)), _HICCUP_SECONDS)


def recovery_seconds(due: np.ndarray, latency: np.ndarray, usual: float) -> float:
    """Seconds from the end of a load, which is at 0, to the first whole second in which all waits are usual.

    Args:
        due: float64 (n,), ascending; when something was due.
        latency: float64 (n,); how long it then waited.
        usual: the longest usual wait.

    Returns infinity where there is no such second.
    """
    last = due[-1] if len(due) else 0.0
    for start in due[due >= 0]:
        if start + 1.0 > last:
            break
        if (latency[(due >= start) & (due < start + 1.0)] <= usual).all():
            return float(start)
    return float("inf")


def _percentiles(phase: str, latencies: np.ndarray) -> dict[str, float]:
    if not len(latencies):
        raise RuntimeError(f"nothing was due {phase} the flood")
    return {f"{phase}_p{percent}_ms": float(np.percentile(latencies, percent)) * 1e3 for percent in (50, 99)}


if __name__ == "__main__":
    arm_main(run)

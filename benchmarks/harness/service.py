"""A service of its own for a benchmark: `syllabus-service serve` on a Unix socket, on a directory of this disk."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.harness.arms import ROOT
from syllabus_client import CurriculumClient, DiscreteTaskSpace

CURRICULUM = "benchmark"
_MAIN = """
from benchmarks.harness.named_threads import name_threads
from syllabus_service.cli import main
name_threads()
main(prog_name='syllabus-service')
"""
_COMMAND = [sys.executable, "-c", _MAIN]
_START_SECONDS = 60.0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk of this checkout, which is gone after the block. (/tmp may be memory.)"""
    parent = ROOT / "build" / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class ServiceProcess:
    """A service, through however many processes; ends with the block: ``with ServiceProcess(...) as service``.

    Args:
        data_dir: where it keeps its curricula; None: nowhere.
        metrics: whether it offers metrics, on a free port of loopback.
    """

    def __init__(self, data_dir: Path | None, *, metrics: bool = False) -> None:
        # Not in the data directory: paths of Unix sockets are bounded.
        self._directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.target = f"unix:{self._directory / 'socket'}"
        self._arguments = ["serve", "--listen", self.target, "--log-level", "warning"]
        if data_dir is not None:
            self._arguments += ["--data-dir", str(data_dir)]
        self._metrics_address = f"127.0.0.1:{_free_port()}" if metrics else None
        if self._metrics_address:
            self._arguments += ["--metrics-listen", self._metrics_address]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServiceProcess:
        self.start()
        self.wait_until_serving()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info and exc_info[0] is not None:
            sys.stderr.write((self._directory / "log").read_text(errors="replace")[-4000:])
        with contextlib.suppress(RuntimeError):
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._running().pid

    def start(self) -> None:
        """Start the process, and return at once."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*_COMMAND, *self._arguments], stdout=log, stderr=log, cwd=ROOT)

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._process = None

    def wait_until_serving(self) -> None:
        """Wait until it says that it serves. Raises RuntimeError, with its log, where it doesn't."""
        deadline = time.monotonic() + _START_SECONDS
        while self.health() != "SERVING":
            if self._running().poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start: {(self._directory / 'log').read_text()}")
            time.sleep(0.02)

    def health(self, timeout: float = 1.0) -> str:
        """What it says of the curriculum service, or the status that came instead."""
        with grpc.insecure_channel(self.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="syllabus.v1.CurriculumService")
            try:
                status = stub.Check(request, timeout=timeout).status
            except grpc.RpcError as error:
                return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(status)

    def metrics(self) -> dict[str, float]:
        """What it counts, by name, with a stage where there is one: ``syllabus_batch_stage_seconds_sum/apply``."""
        with urllib.request.urlopen(f"http://{self._metrics_address}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {
            "/".join(
                [sample.name, *(sample.labels[name] for name in ("stage",) if name in sample.labels)]
            ): sample.value
            for family in families
            for sample in family.samples
            if "le" not in sample.labels
        }

    def create(
        self, num_tasks: int, algorithm: str = "domain_randomization", params: Mapping[str, Any] | None = None
    ) -> None:
        """Create the curriculum that benchmarks use, named CURRICULUM."""
        with self.client() as client:
            client.create(algorithm, DiscreteTaskSpace(num_tasks), dict(params or {}), seed=0)

    def client(self) -> CurriculumClient:
        """The learner's handle."""
        return CurriculumClient(self.target, curriculum=CURRICULUM)

    def check_episodes(self, sent: int) -> None:
        """Raise RuntimeError unless so many episodes of the curriculum have been counted."""
        with self.client() as client:
            counted = client.summary().num_episodes
        if counted != sent:
            raise RuntimeError(f"{sent} episodes were sent, and {counted} counted")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service does not run")
        return self._process


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

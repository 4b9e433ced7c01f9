"""Two real front doors, ``syllabus-service serve --engine ray``, on one Ray cluster and one database."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from tests.ray.nodes import RayNodes
from tests.service_process import ServiceProcess

_READY_SECONDS = 120.0
_SERVICE = "syllabus.v1.CurriculumService"


class FrontDoors:
    """Front doors on loopback, each of which may be killed and started again at its address.

    Args:
        directory: for their logs.
        url: of the database.
        nodes: the Ray cluster.
        arguments: further arguments of ``serve``.
    """

    def __init__(self, directory: Path, url: str, nodes: RayNodes, *arguments: str) -> None:
        self._directory = directory
        self._options = ["--engine", "ray", "--store", url, "--ray-address", nodes.address]
        self._options += ["--metrics-listen", "127.0.0.1:0", *arguments]
        self._another: ServiceProcess | None = None
        self.doors = [self._make(f"door-{number}") for number in range(2)]

    @property
    def targets(self) -> list[str]:
        """For clients: both addresses, one order for each half of them. gRPC takes the first that answers."""
        first, second = (door.target for door in self.doors)
        return [f"ipv4:{first},{second}", f"ipv4:{second},{first}"]

    @property
    def metrics(self) -> list[str]:
        """Where each tells its metrics."""
        return [door.events("metrics_listening")[-1]["address"] for door in self.doors]

    def start_another(self, *arguments: str) -> ServiceProcess:
        """A third front door, with further options, that is ready."""
        self._another = self._make("another", *arguments)
        self._another.start()
        _wait_until_ready(self._another)
        return self._another

    def _make(self, name: str, *arguments: str) -> ServiceProcess:
        place = self._directory / name
        place.mkdir()
        listen = f"127.0.0.1:{_free_port()}"
        return ServiceProcess(place, *self._options, *arguments, data_dir=None, listen=listen)

    def wait_until_ready(self) -> None:
        """Until every front door says that it serves."""
        for door in self.doors:
            _wait_until_ready(door)

    @contextlib.contextmanager
    def stubs(self) -> Iterator[list[pb_grpc.CurriculumServiceStub]]:
        """A client of each."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(door.stub()) for door in self.doors]

    def __enter__(self) -> Self:
        for door in self.doors:
            door.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for door in (*self.doors, self._another):
            if door is not None:
                door.close()


def is_ready(door: ServiceProcess) -> bool:
    """What its health says; no while it does not answer."""
    with grpc.insecure_channel(door.target) as channel, contextlib.suppress(grpc.RpcError):
        question = health_pb2.HealthCheckRequest(service=_SERVICE)
        answer = health_pb2_grpc.HealthStub(channel).Check(question, timeout=5.0, wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


def _wait_until_ready(door: ServiceProcess) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not is_ready(door):
        if time.monotonic() > deadline:
            raise TimeoutError("a front door is not ready")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])

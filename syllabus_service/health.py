"""Health (grpc.health.v1): which services are serving, told beside the service's RPCs or on a port for it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from syllabus_service.addresses import Address, AddressError, bind_tcp

_log = structlog.get_logger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_MAX_REQUEST_BYTES = 4096
_MAX_CHECKS = 256
_IDLE_SECONDS = 60  # a caller that says nothing is let go


class Health(health_pb2_grpc.HealthServicer):
    """The statuses of services by name; the empty name is the process as a whole.

    Unlike grpcio-health-checking's own servicer, whose watches last until their clients end them and so make a server
    wait for the whole of its grace, it ends each watch with UNAVAILABLE once it has told the drain.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._draining = False

    def set(self, service: str, status: int) -> None:
        """Set the status of a service; after ``drain`` nothing changes any more."""
        if not self._draining:
            self._statuses[service] = status
            self._wake()

    def drain(self) -> None:
        """Set every service to NOT_SERVING for good, and end all watches."""
        self._statuses = dict.fromkeys(self._statuses, NOT_SERVING)
        self._draining = True
        self._wake()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> Any:
        """The status of a service; NOT_FOUND for one that there is not."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of that name")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """The status of a service, now and whenever it has changed."""
        told: int | None = None
        while True:
            changed, draining = self._changed, self._draining
            status = self._statuses.get(request.service, _UNKNOWN)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            if draining:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping")
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class HealthListener:
    """A port that answers ``grpc.health.v1``'s Check, and nothing else, without TLS, for as long as it is entered.

    It is for probers that speak no TLS, such as kubelet's. It may be open to the network, whatever the service's own
    addresses ask for: there is nothing to be learnt or changed there but whether this process lives and is ready.
    Watch is not answered, so that no caller can take up the room of the probes.

    Args:
        listen: ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 takes a free one.
        health: what it tells.

    Attributes:
        address: where it listens, with the port that was taken.

    Raises:
        AddressError: on making it: the address is malformed; on entering: it is taken.
    """

    def __init__(self, listen: str, health: Health) -> None:
        self._wanted = Address.parse(listen)
        if self._wanted.path:
            raise AddressError(f"{listen}: expected HOST:PORT or [IPV6]:PORT for health")
        self._checks = _Checks(health)
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
                ("grpc.max_connection_idle_ms", _IDLE_SECONDS * 1000),
            ],
            maximum_concurrent_rpcs=_MAX_CHECKS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._checks, self._server)
        try:
            self.address = str(bind_tcp(self._server, self._wanted))
            await self._server.start()
        except BaseException:
            await self._server.stop(None)
            raise
        _log.info("health_listening", address=self.address)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.stop(None)


class _Checks(health_pb2_grpc.HealthServicer):
    """Check alone."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> Any:
        return await self._health.Check(request, context)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "only Check is answered on this port")

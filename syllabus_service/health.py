"""Health (grpc.health.v1): which services are serving; a watch ends with the drain, and holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


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

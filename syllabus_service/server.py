"""Server: an engine on the network; starting, limits, drain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from syllabus_service.addresses import Address, AddressError, bind_tcp, clear_socket_path
from syllabus_service.authorization import Authorizer
from syllabus_service.engine_interface import Engine
from syllabus_service.errors import Unavailable
from syllabus_service.health import NOT_SERVING, SERVING, Health
from syllabus_service.limits import Limits
from syllabus_service.metrics.door_tallies import DoorTallies
from syllabus_service.rpc import SERVICE, service_handler
from syllabus_service.servicer import CurriculumServicer
from syllabus_service.tls import TlsFiles, server_credentials

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """How connections are held."""

    grace_seconds: float = 10.0
    """How long a stop waits for what is under way."""
    max_concurrent_rpcs: int = 32_768
    """Most RPCs at a time, streams included; further ones are RESOURCE_EXHAUSTED."""
    keepalive_seconds: float = 30.0
    """A connection that is silent for this long is asked whether it is there,"""
    keepalive_timeout_seconds: float = 10.0
    """and closed after this long without an answer."""
    min_client_ping_seconds: float = 5.0
    """Clients that ask more often than this are disconnected."""


class Server:
    """Serves an engine with gRPC: ``async with Server(engine, listen=["127.0.0.1:0"]) as server``.

    It installs no signal handlers and starts no process; it runs in the event loop that enters it. Without an engine it
    only listens: it answers health checks, and every other RPC with UNAVAILABLE, until ``serve``. Leaving it drains:
    health becomes NOT_SERVING, new RPCs are refused, streams end with UNAVAILABLE once what they had queued is
    answered, and after ``grace_seconds`` whatever is left is cut. The engine stays: stop it afterwards.

    Health (``grpc.health.v1``): the service's own name is NOT_SERVING while a curriculum cannot be made durable: that
    is readiness. The empty name, liveness, stays SERVING until the drain, for a restart would not help.

    Args:
        engine: the curricula, started; None: see ``serve``.
        listen: addresses: ``HOST:PORT`` (port 0 takes a free one), ``[IPV6]:PORT`` or ``unix:PATH``. A Unix socket is
            for its owner only (0600); the file of a server that died is replaced.
        tls: certificate and key for the TCP addresses, and whose clients are let in.
        authorizer: who may call what. None: everybody may call everything.
        insecure: whether to listen beyond loopback without TLS.
        settings: how connections are held.
        limits: bounds for clients; None: those of the engine.
        interceptors: gRPC's, around every RPC; see ``tracing``.

    Attributes:
        addresses: where it listens, with the ports that were taken.
        tallies: what it counts, for metrics.
        health: what it answers health checks with, before it listens as well.

    Raises:
        AddressError: on entering: an address is malformed, is taken, or is open to the network without TLS.
    """

    def __init__(
        self,
        engine: Engine | None,
        *,
        listen: Sequence[str] = ("127.0.0.1:0",),
        tls: TlsFiles | None = None,
        authorizer: Authorizer | None = None,
        insecure: bool = False,
        settings: ServerSettings | None = None,
        limits: Limits | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self.addresses: list[str] = []
        self.tallies = DoorTallies()
        self._first_engine = engine
        self._limits = limits or (Limits() if engine is None else engine.limits)
        self._listen = tuple(listen)
        self._tls = tls
        self._authorizer = authorizer or Authorizer(limits=self._limits)
        self._insecure = insecure
        self._settings = settings or ServerSettings()
        self._interceptors = list(interceptors)
        self._door = _Door()
        self._engine: Engine | None = None
        self._servicer: CurriculumServicer | None = None
        self.health = Health()
        self.health.set("", SERVING)
        self.health.set(SERVICE.full_name, NOT_SERVING)
        self._sockets: list[tuple[Path, int]] = []
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, and serve the engine if there is one. Calling it again does nothing."""
        if self._server is not None:
            return
        addresses = [Address.parse(text) for text in self._listen]
        for address in addresses:
            if not (address.is_private or self._tls or self._insecure):
                raise AddressError(
                    f"{address}: will not listen beyond this machine without TLS; give a certificate, or say insecure"
                )
        credentials = None if self._tls is None else server_credentials(self._tls)
        server = grpc.aio.server(
            options=self._options(),
            maximum_concurrent_rpcs=self._settings.max_concurrent_rpcs,
            interceptors=self._interceptors,
        )
        server.add_generic_rpc_handlers([self._door])
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        reflection.enable_server_reflection((SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            for address in addresses:
                self.addresses.append(str(self._bind(server, address, credentials)))
            await server.start()
        except BaseException:
            await server.stop(None)
            self._remove_sockets()
            raise
        self._server = server
        self._authorizer.start()
        if self._first_engine is not None:
            self.serve(self._first_engine)
        self._warn_if_open(addresses)

    def serve(self, engine: Engine) -> None:
        """Serve this engine, started, from now on. Once."""
        self._engine = engine
        self._servicer = CurriculumServicer(engine, self.tallies)
        engine.on_available_change(self._set_health)
        self._set_health()
        self._door.open(service_handler(self._servicer, self._authorizer, self.tallies))
        _log.info("listening", addresses=self.addresses, tls=self._tls is not None)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Drain and stop listening; see the class. Calling it again does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        grace = self._settings.grace_seconds if grace_seconds is None else grace_seconds
        _log.info("draining", grace_seconds=grace)
        self.health.drain()
        if self._servicer is not None:
            self._servicer.drain(Unavailable("the service is stopping"))
        await server.stop(grace)
        await self._authorizer.stop()
        self._remove_sockets()
        _log.info("stopped")

    def _warn_if_open(self, addresses: Sequence[Address]) -> None:
        """Say what an operator may not have meant."""
        if all(address.is_private for address in addresses):
            return
        if self._tls is None and self._authorizer.asks_for_tokens:
            _log.warning("tokens_travel_unencrypted", reason="beyond this machine without TLS")
        if not self._authorizer.asks_for_tokens and (self._tls is None or self._tls.client_ca is None):
            _log.warning("open_to_everybody", reason="neither tokens nor client certificates are asked for")

    def _bind(self, server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None) -> Address:
        return self._bind_unix(server, address) if address.path else bind_tcp(server, address, credentials)

    def _bind_unix(self, server: grpc.aio.Server, address: Address) -> Address:
        path = Path(address.path)
        clear_socket_path(path)
        mask = os.umask(0o177)  # the file is there, with these rights, as soon as gRPC has bound it
        try:
            server.add_insecure_port(str(address))
        except RuntimeError as error:
            raise AddressError(f"{address}: cannot listen there; is the path taken?") from error
        finally:
            os.umask(mask)
        self._sockets.append((path, path.stat().st_ino))
        return address

    def _remove_sockets(self) -> None:
        for path, inode in self._sockets:
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()
        self._sockets.clear()

    def _options(self) -> list[tuple[str, int]]:
        settings, bound = self._settings, self._limits.max_message_bytes
        return [
            ("grpc.max_receive_message_length", bound),
            ("grpc.max_send_message_length", bound),
            ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
            ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_seconds * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", round(settings.min_client_ping_seconds * 1000)),
        ]

    def _set_health(self) -> None:
        is_ready = self._engine is not None and self._engine.available
        self.health.set(SERVICE.full_name, SERVING if is_ready else NOT_SERVING)


class _Door(grpc.GenericRpcHandler):
    """The service's RPCs: refused as UNAVAILABLE, which clients try again, until there is something behind it."""

    def __init__(self) -> None:
        self._handler: grpc.GenericRpcHandler | None = None

    def open(self, handler: grpc.GenericRpcHandler) -> None:
        """Let RPCs through to a handler."""
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if self._handler is not None:
            return self._handler.service(handler_call_details)
        if handler_call_details.method.startswith(f"/{SERVICE.full_name}/"):
            return grpc.stream_stream_rpc_method_handler(_refuse_as_starting)
        return None


async def _refuse_as_starting(requests: object, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is starting")

"""Where Prometheus reads: plain HTTP on a port of its own, /metrics and nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)

from syllabus_service.addresses import Address, AddressError
from syllabus_service.engine_interface import Engine
from syllabus_service.metrics.collector import ServiceCollector
from syllabus_service.metrics.door_tallies import DoorTallies

_log = structlog.get_logger(__name__)

_PATH = "/metrics"
_IDLE_SECONDS = 10.0
_MAX_CONNECTIONS = 8
_POLL_SECONDS = 0.1  # how soon a stop is noticed

_StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class MetricsEndpoint:
    """Answers ``GET /metrics`` for as long as it is entered, from threads of its own.

    Metrics hold the names of curricula and how many of everything there is; no task, no result and no secret. There is
    no TLS: beyond this machine it listens only when told to, and who can reach it is the network's business.

    Args:
        listen: ``HOST:PORT`` or ``[IPV6]:PORT``; port 0 takes a free one.
        engine: the curricula, started; None: there are none, and the service is not ready, until ``serve``.
        door: what the server counts: ``Server.tallies``.
        insecure: whether to listen beyond this machine.

    Attributes:
        address: where it listens, with the port that was taken.

    Raises:
        AddressError: on making it: the address is malformed, or open to the network; on entering: it is taken.
    """

    def __init__(self, listen: str, engine: Engine | None, door: DoorTallies, *, insecure: bool = False) -> None:
        self._wanted = parse_metrics_address(listen, insecure=insecure)
        self._engine = engine
        self._door = door
        self.address = ""
        self._server: _Server | None = None

    async def __aenter__(self) -> Self:
        self._collector = ServiceCollector(self._engine, self._door, asyncio.get_running_loop())
        registry = CollectorRegistry()
        for collector in (self._collector, ProcessCollector(registry=None), PlatformCollector(registry=None)):
            registry.register(collector)
        GCCollector(registry=registry)
        try:
            server = _server_class(self._wanted)((self._wanted.host, self._wanted.port), _QuietHandler)
        except OSError as error:
            raise AddressError(f"{self._wanted}: cannot listen there: {error}") from error
        server.set_app(_only_metrics(make_wsgi_app(registry)))
        self.address = str(Address(host=self._wanted.host, port=server.server_port))
        self._thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True)
        self._server = server
        self._thread.start()
        _log.info("metrics_listening", address=self.address)
        return self

    def serve(self, engine: Engine) -> None:
        """Tell of this engine, started, from now on."""
        self._collector.serve(engine)

    async def stop(self) -> None:
        """Stop listening. Calling it again does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._collector.stop()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(self._thread.join)

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()


def parse_metrics_address(text: str, *, insecure: bool) -> Address:
    """Where to listen. Raises AddressError for a malformed address, and for one beyond this machine unless insecure."""
    address = Address.parse(text)
    if address.path:
        raise AddressError(f"{text}: expected HOST:PORT or [IPV6]:PORT for metrics")
    if not (address.is_private or insecure):
        raise AddressError(
            f"{text}: metrics are plain HTTP; will not offer them beyond this machine unless told --metrics-insecure"
        )
    return address


def _only_metrics(metrics: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def application(environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [f"only {_PATH} is here\n".encode()]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Content-Type", "text/plain"), ("Allow", "GET, HEAD")])
            return [b"only GET is answered\n"]
        try:
            return metrics(environ, start_response)
        except TimeoutError:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"the event loop did not answer in time\n"]

    return application


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, and a bound on them: what comes beyond it is closed."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:
        self._room = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(*args)

    def server_bind(self) -> None:
        """Without asking anybody for the machine's name, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.warning("metrics_not_told", peer=str(client_address[0]), exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_class(address: Address) -> type[_Server]:
    return _Server6 if ":" in address.host else _Server


class _QuietHandler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS  # a caller that says nothing is let go

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a scrape is no event."""

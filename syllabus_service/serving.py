"""A service as a process runs it: its store, engine, config, server and metrics, from the start to the drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from syllabus_service.authorization import Authorizer
from syllabus_service.config import load_config
from syllabus_service.config_follower import ConfigFollower
from syllabus_service.engine_interface import Engine
from syllabus_service.limits import Limits
from syllabus_service.metrics.endpoint import MetricsEndpoint, parse_metrics_address
from syllabus_service.server import Server, ServerSettings
from syllabus_service.store import Store, StoreUnavailableError
from syllabus_service.tls import TlsFiles

_log = structlog.get_logger(__name__)

_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 10.0


@dataclass(frozen=True)
class ServiceOptions:
    """What a service is made from."""

    open_store: Callable[[], Store | None]
    """Opens the store; None: nothing is kept. It blocks."""
    make_engine: Callable[[Store | None], Engine]
    """Makes the engine."""
    limits: Limits
    """Bounds for clients."""
    settings: ServerSettings
    """How connections are held."""
    listen: Sequence[str]
    """Where to serve."""
    tls: TlsFiles | None = None
    """Certificate and key."""
    authorizer: Authorizer | None = None
    """Who may call what."""
    insecure: bool = False
    """Whether to listen beyond this machine without TLS."""
    config: Path | None = None
    """``curricula.yaml``."""
    store_wait_seconds: float = 0.0
    """How long a start waits for a store that is away."""
    metrics_listen: str | None = None
    """Where to tell metrics."""
    metrics_insecure: bool = False
    """Whether to tell them beyond this machine."""
    interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    """gRPC's, around every RPC."""


async def run_service(options: ServiceOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressError, ConfigError and StoreError where it cannot start.

    A store that is away is waited for: until it is there, the process listens, is alive and not ready.
    """
    if options.metrics_listen is not None:
        parse_metrics_address(options.metrics_listen, insecure=options.metrics_insecure)
    configured = await asyncio.to_thread(load_config, options.config) if options.config is not None else []
    stop = _stop_on_signals()
    server = Server(
        None,
        listen=options.listen,
        tls=options.tls,
        authorizer=options.authorizer,
        insecure=options.insecure,
        settings=options.settings,
        limits=options.limits,
        interceptors=options.interceptors,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)  # where the start fails
        engine = await _started_engine(options, server, stop, stack)
        if engine is None:
            return
        stack.push_async_callback(server.stop)  # before the engine's end
        if options.config is not None:
            follower = ConfigFollower(options.config, engine)
            if not await _unless(stop, follower.create(configured)):
                return
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, follower.look_now.set)
            await stack.enter_async_context(_in_background(follower.follow()))
        await server.start()
        if options.metrics_listen is not None:
            endpoint = MetricsEndpoint(
                options.metrics_listen, engine, server.tallies, insecure=options.metrics_insecure
            )
            await stack.enter_async_context(endpoint)
        server.serve(engine)
        await stop.wait()
        await server.stop()


async def _started_engine(
    options: ServiceOptions, server: Server, stop: asyncio.Event, stack: AsyncExitStack
) -> Engine | None:
    """The engine, on ``stack``; None where the service was told to stop before the store was there."""
    deadline = asyncio.get_running_loop().time() + options.store_wait_seconds
    delay = _FIRST_RETRY_SECONDS
    while not stop.is_set():
        attempt = AsyncExitStack()
        try:
            return await _open(options, attempt)
        except StoreUnavailableError as error:
            await attempt.aclose()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise
            _log.warning("waiting_for_store", error=str(error), seconds_left=round(left, 1))
            await server.start()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(delay, left))
            delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
        finally:
            stack.push_async_exit(attempt)  # which is empty where the attempt has failed
    return None


async def _open(options: ServiceOptions, stack: AsyncExitStack) -> Engine:
    store = await asyncio.to_thread(options.open_store)
    if store is not None:
        stack.callback(store.close)
    engine = options.make_engine(store)
    stack.push_async_exit(engine.__aexit__)  # also where entering fails: it may have begun
    await engine.__aenter__()
    return engine


def _stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the next one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        _log.info("signal", signal=signal.Signals(number).name)
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do ``work``, or give it up when ``stop`` is set. Returns whether it was done."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

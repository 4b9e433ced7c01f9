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
from syllabus_service.config_follower import ConfigFollower
from syllabus_service.engine_interface import Engine
from syllabus_service.health import HealthListener
from syllabus_service.limits import Limits
from syllabus_service.metrics.endpoint import MetricsEndpoint
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
    health_listen: str | None = None
    """Where to answer health checks, and nothing else, without TLS."""
    metrics_listen: str | None = None
    """Where to tell metrics."""
    metrics_insecure: bool = False
    """Whether to tell them beyond this machine."""
    interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    """gRPC's, around every RPC."""


async def run_service(options: ServiceOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressError, ConfigError and StoreError where it cannot start.

    It listens first: while a store that is away is waited for, curricula are recovered and those of the config are
    created, the process is alive and not ready, tells metrics, and asks its callers to try again.
    """
    follower = await asyncio.to_thread(ConfigFollower, options.config) if options.config is not None else None
    stop = _stop_on_signals()
    if follower is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, follower.look_now.set)
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
        if options.health_listen is not None:
            await stack.enter_async_context(HealthListener(options.health_listen, server.health))
        stack.push_async_callback(server.stop)  # where the start fails
        metrics = None
        if options.metrics_listen is not None:
            metrics = MetricsEndpoint(options.metrics_listen, None, server.tallies, insecure=options.metrics_insecure)
            await stack.enter_async_context(metrics)
        await server.start()
        engine = await _started_engine(options, stop, stack)
        if engine is None:
            return
        if metrics is not None:
            stack.push_async_callback(metrics.stop)  # both before the engine's end
        stack.push_async_callback(server.stop)
        if follower is not None:
            await stack.enter_async_context(_in_background(follower.follow(engine)))
            await _first_of(stop.wait(), follower.settled.wait())
            if stop.is_set():
                return
        if metrics is not None:
            metrics.serve(engine)
        server.serve(engine)
        await stop.wait()
        await server.stop()


async def _started_engine(options: ServiceOptions, stop: asyncio.Event, stack: AsyncExitStack) -> Engine | None:
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


async def _first_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is done, and give up the others."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

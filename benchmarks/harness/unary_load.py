"""Unary load: some callers in a process of their own, each with its next request as soon as one is answered."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

import grpc
import numpy as np

from syllabus_client.wire import curriculum_pb2 as pb


class Caller(Protocol):
    """Makes the requests of one caller, as bytes. Picklable."""

    method: str

    def request(self, caller: int, number: int) -> bytes:
        """Request ``number``, from 1, of a caller."""


@dataclass(frozen=True)
class GetTaskCaller:
    """One task at a time; each caller is a session."""

    curriculum: str
    name: str
    """Session ids begin with it; a new one for each load."""
    method: str = "/syllabus.v1.CurriculumService/GetTask"

    def request(self, caller: int, number: int) -> bytes:
        return pb.GetTaskRequest(
            curriculum=self.curriculum, session_id=f"{self.name}-{caller}", sequence=number, num_tasks=1
        ).SerializeToString()


@dataclass(frozen=True)
class EchoCaller:
    """The bytes of such a request, which come back."""

    inner: GetTaskCaller
    method: str = "/benchmark.Echo/Unary"

    def request(self, caller: int, number: int) -> bytes:
        return self.inner.request(caller, number)


class UnaryLoad:
    """Callers that call from ``start`` to ``stop``.

    Args:
        target: the server.
        caller: what they ask.
        concurrency: how many there are, on one connection.
    """

    def __init__(self, target: str, caller: Caller, concurrency: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(theirs, target, caller, concurrency), daemon=True)

    def start(self) -> None:
        """Returns when they are calling."""
        self._process.start()
        self._pipe.recv()

    def stop(self) -> np.ndarray:
        """float64 (n, 2): when each answer came (time.monotonic), and the seconds that it took."""
        self._pipe.send("stop")
        latencies = self._pipe.recv()
        self._process.join()
        if isinstance(latencies, str):
            raise RuntimeError(f"a call failed: {latencies}")
        return latencies


def _child(pipe: Connection, target: str, caller: Caller, concurrency: int) -> None:
    try:
        pipe.send(asyncio.run(_run(pipe, target, caller, concurrency)))
    except grpc.RpcError as error:
        pipe.send(str(error))


async def _run(pipe: Connection, target: str, caller: Caller, concurrency: int) -> np.ndarray:
    stopped = asyncio.Event()
    latencies: list[tuple[float, float]] = []
    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        call = channel.unary_unary(caller.method)

        async def ask(index: int) -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                start = time.monotonic()
                await call(caller.request(index, number))
                latencies.append((end := time.monotonic(), end - start))

        async with asyncio.TaskGroup() as tasks:
            for index in range(concurrency):
                tasks.create_task(ask(index))
            pipe.send("calling")
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            stopped.set()
    return np.array(latencies)

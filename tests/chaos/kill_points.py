"""A service's engine that kills its own process at the n-th boundary of its writes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import metrics_command
from syllabus_service.engine import LocalEngine
from syllabus_service.limits import Limits
from syllabus_service.runner import RunnerSettings
from syllabus_service.store import Durability, SqliteStore, sqlite

COMMANDS = 4
_TASKS = 20
_SPACE = DiscreteTaskSpace(_TASKS)
_SETTINGS = RunnerSettings(snapshot_after_commands=2, keep_snapshots=1)


class Boundaries:
    """Counts the boundaries that are passed; at a chosen one the process is killed, and says which it was."""

    def __init__(self, kill_at: int | None, journal: Callable[[dict[str, Any]], None]) -> None:
        self._kill_at = kill_at
        self._journal = journal
        self._passed = 0
        self._lock = threading.Lock()

    def passed(self, name: str) -> None:
        """The process is at a boundary."""
        with self._lock:
            self._passed += 1
            if self._passed == self._kill_at:
                self._journal({"killed": name})
                os.kill(os.getpid(), signal.SIGKILL)


class KilledStore(SqliteStore):
    """A SQLite store that passes a boundary before each statement, and before and after each change."""

    def __init__(self, data_dir: Path, boundaries: Boundaries) -> None:
        super().__init__(data_dir, Durability.OS)  # a killed process loses nothing with it
        self._boundaries = boundaries
        self._doing = "opening"
        self._connection.set_trace_callback(
            lambda statement: boundaries.passed(f"{self._doing}: {' '.join(statement.split()[:2])}")
        )

    def create_curriculum(self, *arguments: Any) -> None:
        with self._change("create"):
            super().create_curriculum(*arguments)

    def append(self, *arguments: Any) -> None:
        with self._change("append"):
            super().append(*arguments)

    def save_snapshot(self, *arguments: Any) -> None:
        with self._change("snapshot"):
            super().save_snapshot(*arguments)

    def trim(self, *arguments: Any) -> None:
        with self._change("trim"):
            super().trim(*arguments)

    @contextmanager
    def _change(self, name: str) -> Iterator[None]:
        self._boundaries.passed(f"{name}: before")
        self._doing = name
        yield
        self._boundaries.passed(f"{name}: after")


def serve(data_dir: Path, report: Path, kill_at: int | None, first: int) -> None:
    """In a process of its own: recover, run the commands from ``first`` on, and report each answer, durably.

    The last line of the report is the final state. Killed at boundary ``kill_at``; None: never.
    """
    sqlite._CHUNK_BYTES = 5000  # so that a snapshot is of several chunks
    descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(line: dict[str, Any]) -> None:
        os.write(descriptor, json.dumps(line).encode() + b"\n")

    asyncio.run(_serve(data_dir, Boundaries(kill_at, say), say, first))


async def _serve(data_dir: Path, boundaries: Boundaries, say: Callable[[dict[str, Any]], None], first: int) -> None:
    spec = pb.CurriculumSpec(algorithm="online_learning_progress", task_space=_SPACE.to_proto(), seed=4)
    with KilledStore(data_dir, boundaries) as store:
        async with LocalEngine(store, settings=_SETTINGS) as engine:
            await engine.create("maze", spec, allow_existing=True)
            for sequence in range(first, COMMANDS + 1):
                say({"answer": (await engine.submit("maze", _command(sequence))).SerializeToString().hex()})
            say({"state": (await engine.read("maze", lambda host: host.snapshot())).hex()})


def _command(sequence: int) -> Any:
    rng = np.random.default_rng(sequence)
    rows = 5
    episodes = pb.EpisodeBatch(
        assignment_id=codec.to_tensor(np.zeros(rows, np.uint64)),
        task=codec.to_tensor(rng.integers(_TASKS, size=rows)),
        episode_return=codec.to_tensor(rng.random(rows)),
        length=codec.to_tensor(rng.integers(100, size=rows)),
        progress=codec.to_tensor(rng.integers(2, size=rows).astype(np.float64)),
        env_id=codec.to_tensor(np.zeros(rows, np.int64)),
    )
    batch = pb.MetricsBatch(episodes=episodes, num_tasks=3)
    # The answer before is acknowledged with the next command, so that the last one can be asked for again.
    return metrics_command("worker", sequence, max(sequence - 2, 0), batch, _SPACE, Limits())

"""A power cut under SQLite: what the disk holds at any moment opens as a prefix with everything acknowledged before.

The service is stopped in the middle of whatever it does, its files are copied, and it goes on. What it had written to
the log and not yet synchronised may be lost in a power cut, wholly, from some byte on, or as garbage: copies are too.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.recovery import recover
from syllabus_service.store import SqliteStore
from syllabus_service.store.sqlite import DATABASE_NAME
from tests.chaos.audit import make_host
from tests.service.serving import TIMEOUT, episodes, spec
from tests.service_process import ServiceProcess

_SEED = 20261122
_COPIES = 12
_WAL_NAME = f"{DATABASE_NAME}-wal"


@dataclass(frozen=True)
class _Acknowledged:
    position: int
    """Commands that the service had acknowledged."""
    wal_bytes: int
    """How long its log was then: all of it was synchronised."""


class _Reporter(threading.Thread):
    """Reports one batch after another, and notes after each answer how far the log is safe."""

    def __init__(self, service: ServiceProcess, wal: Path, seed: int) -> None:
        super().__init__(name="reporter")
        self._service = service
        self._wal = wal
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self.acknowledged = _Acknowledged(0, wal.stat().st_size)
        self.counted = threading.Semaphore(0)
        self.failure: Exception | None = None

    def run(self) -> None:
        sequence = 0
        try:
            with self._service.stub() as stub:
                while not self._stopping.is_set():
                    sequence += 1
                    tasks = [self._rng.randrange(10) for _ in range(self._rng.randrange(1, 200))]
                    request = pb.ReportEpisodeRequest(
                        curriculum="maze", session_id="worker", sequence=sequence, episodes=episodes(tasks)
                    )
                    position = stub.ReportEpisode(request, timeout=TIMEOUT).reply.position
                    self.acknowledged = _Acknowledged(position, self._wal.stat().st_size)
                    self.counted.release()
        except (grpc.RpcError, OSError) as error:  # told in the test's thread
            self.failure = error
            self.counted.release(_COPIES * 100)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _copy(data_dir: Path, copy: Path) -> int:
    """Copy the files of a stopped service; how long the log is."""
    copy.mkdir()
    for name in (DATABASE_NAME, _WAL_NAME):
        shutil.copy(data_dir / name, copy / name)
    return (copy / _WAL_NAME).stat().st_size


def _tear(copy: Path, safe_bytes: int, rng: random.Random) -> None:
    """Lose what was not synchronised, in one of the ways that disks have."""
    wal = copy / _WAL_NAME
    content = wal.read_bytes()
    at = rng.randint(safe_bytes, len(content))
    match rng.randrange(3):
        case 0:
            torn = content[:at]
        case 1:
            torn = content[:at] + bytes(len(content) - at)
        case _:
            torn = content[:at] + rng.randbytes(len(content) - at)
    wal.write_bytes(torn)


@pytest.mark.parametrize("torn", [False, True], ids=["as-written", "torn-behind-the-last-sync"])
def test_files_copied_at_any_moment_recover_a_prefix_with_everything_acknowledged(
    start_service: Callable[..., ServiceProcess], tmp_path: Path, torn: bool
) -> None:
    service = start_service("--durability", "fsync")
    with service.stub() as stub:
        request = pb.CreateCurriculumRequest(name="maze", spec=spec("online_learning_progress"))
        stub.CreateCurriculum(request, timeout=TIMEOUT)
    data_dir, rng = tmp_path / "data", random.Random(_SEED)
    reporter = _Reporter(service, data_dir / _WAL_NAME, _SEED)
    reporter.start()
    taken: list[tuple[Path, _Acknowledged]] = []
    try:
        for number in range(_COPIES):
            for _ in range(rng.randrange(1, 6)):
                assert reporter.counted.acquire(timeout=TIMEOUT)
            os.kill(service.pid, signal.SIGSTOP)
            try:
                acknowledged = reporter.acknowledged
                size = _copy(data_dir, tmp_path / f"copy-{number}")
            finally:
                os.kill(service.pid, signal.SIGCONT)
            assert size >= acknowledged.wal_bytes, "the log was folded into the file: the test is too long for this"
            taken.append((tmp_path / f"copy-{number}", acknowledged))
    finally:
        reporter.stop()
    assert reporter.failure is None
    service.kill()
    with SqliteStore(data_dir) as store:
        journal = list(store.read("maze", after=0))
        stored = pb.CurriculumSpec.FromString(store.list_curricula()[0].spec)
    for copy, acknowledged in taken:
        if torn:
            _tear(copy, acknowledged.wal_bytes, rng)
        with SqliteStore(copy) as store:
            found = list(store.read("maze", after=0))
            host = recover(store, "maze", lambda: make_host(stored))
        assert found == journal[: len(found)]
        assert len(found) >= acknowledged.position
        replayed = make_host(stored)
        for _, record in found:
            replayed.replay(record)
        assert host.snapshot() == replayed.snapshot()

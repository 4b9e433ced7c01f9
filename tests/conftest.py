"""What all tests share: a service process of their own, and a look at what they leave behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from pathlib import Path

import psutil
import pytest

from tests.service_process import ServiceProcess

_PATIENCE_SECONDS = 5.0

# Python and gRPC keep these for as long as the process lives. An engine's pools grow while a fixture of wider scope
# holds it; an engine that is left behind shows by its curricula's threads.
_LASTING_THREADS = ("_poll_wrapper", "pytest_timeout", "engine_", "snapshots_")
_LASTING_PROCESSES = ("resource_tracker", "forkserver", "syllabus-pg-", "postgres: ")
_LASTING_FILES = ("pymp-", "torchinductor_")  # the latter is made, empty, when torch is imported in full


@pytest.fixture(scope="session", autouse=True)
def _temporary_directory_is_left_empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, get a temporary directory that must be empty at the end.

    Its path is short, since those of the sockets in it are bounded.
    """
    tmp_path_factory.getbasetemp()  # pytest's own stays elsewhere
    directory = Path(tempfile.mkdtemp(prefix="t-"))
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"], tempfile.tempdir = str(directory), None
    yield
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before
    tempfile.tempdir = None
    left = [path.name for path in directory.iterdir() if not path.name.startswith(_LASTING_FILES)]
    # When the process ends, and multiprocessing has removed what is its own.
    Finalize(None, shutil.rmtree, (directory,), {"ignore_errors": True}, exitpriority=-200)
    assert not left, f"left in the temporary directory: {left}"


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """No thread, process or listening socket outlives its test."""
    threads, processes, listening = set(threading.enumerate()), _children(), _listening()
    yield
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        left = [
            *(thread.name for thread in set(threading.enumerate()) - threads if not _is_lasting(thread.name)),
            *(f"process {number}: {command}" for number, command in (_children() - processes)),
            *(f"listening on {address}" for address in _listening() - listening),
        ]
        if not left:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.01)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., ServiceProcess]]:
    """Starts ``syllabus-service serve`` processes, and ends those that a test has left."""
    started: list[ServiceProcess] = []

    def start(*arguments: str, data_dir: Path | None = tmp_path / "data", listen: str | None = None) -> ServiceProcess:
        service = ServiceProcess(tmp_path, *arguments, data_dir=data_dir, listen=listen or f"unix:{tmp_path}/s")
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.close()


@pytest.fixture
def service(start_service: Callable[..., ServiceProcess]) -> ServiceProcess:
    """A service process on a Unix socket, with a data directory."""
    return start_service()


def _is_lasting(name: str) -> bool:
    return any(part in name for part in _LASTING_THREADS)


def _children() -> set[tuple[int, str]]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if not any(part in command for part in _LASTING_PROCESSES):
            found.add((child.pid, command))
    return found


def _listening() -> set[str]:
    connections = psutil.Process().net_connections(kind="inet")
    return {f"{each.laddr.ip}:{each.laddr.port}" for each in connections if each.status == psutil.CONN_LISTEN}

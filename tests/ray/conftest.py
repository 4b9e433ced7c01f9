"""A Ray cluster of this machine. It is started in a network namespace of its own: ``make test-ray``."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgresServer
from tests.ray.nodes import ENVIRONMENT, RayNodes

_TRIES = 3
_LEAST_SECONDS = 600


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray, with nothing but a loopback interface around it. Its files go to a temporary directory."""
    ray = pytest.importorskip("ray")
    _check_that_nobody_hears()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        # Directly in /tmp, because Ray's sockets have long names and their paths are bounded.
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as directory:
            _start(Path(directory))
            yield
            ray.shutdown()


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayNodes]:
    """A Ray cluster of a head and two more nodes, to which this process is not connected."""
    pytest.importorskip("ray")
    _check_that_nobody_hears()
    with RayNodes(2) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def database() -> Iterator[PostgresServer]:
    """A running PostgreSQL."""
    with PostgresServer() as server:
        yield server


def _check_that_nobody_hears() -> None:
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        pytest.skip("Ray listens on every interface: run make test-ray, which leaves it only a loopback interface")


def _start(directory: Path) -> None:
    """Start Ray. Its head was seen not to come up within 30 s, twice in a row, and then always to: so it has three
    tries of a minute each, and what it logged is shown for each that fails."""
    ray = pytest.importorskip("ray")
    for attempt in range(_TRIES):
        place = directory / str(attempt)
        try:
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(place))
        except Exception as error:
            ray.shutdown()
            logs = sorted(place.glob("session_*/logs/gcs_server*"))
            said = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in logs)
            sys.stderr.write(f"Ray did not start: {error}\n{said}\n")
            if attempt == _TRIES - 1:
                raise
        else:
            return


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test, whichever it is, waits for Ray to start: each has at least as long."""
    for item in items:
        own = item.get_closest_marker("timeout")
        if item.get_closest_marker("ray") and (own is None or own.args[0] < _LEAST_SECONDS):
            item.add_marker(pytest.mark.timeout(_LEAST_SECONDS))


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """No actor of ours outlives its test; Ray's own processes may."""
    yield
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        assert ray.util.list_named_actors(all_namespaces=True) == []

"""The hosts of these tests are hosts: they reach one another, and cables do what they are told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.network import Host, Network

pytestmark = pytest.mark.hosts

_SERVER = """
import socket
with socket.create_server(("0.0.0.0", 4000)) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(connection.recv(100))
"""
_CALL = """
import socket, sys, time
start = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 4000), timeout=float(sys.argv[2])) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        print(time.monotonic() - start)
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def network(network_directory: Path) -> Iterator[Network]:
    network = Network(network_directory, seed=1)
    yield network
    network.close()


def _call(host: Host, target: str, directory: Path, patience: float = 1.0) -> str:
    log = directory / f"call-{time.monotonic_ns()}"
    assert host.start("-c", _CALL, target, str(patience), log=log).wait(30) == 0
    return log.read_text().strip()


def test_hosts_reach_one_another_by_name_as_fast_and_as_far_as_their_cables_let_them(network, tmp_path):
    server, client = network.add("server", 2), network.add("client", 3)
    server.start("-c", _SERVER, log=tmp_path / "server")
    network.name("echo.test", server.address)
    deadline = time.monotonic() + 20
    while _call(client, "echo.test", tmp_path) == "ConnectionRefusedError" and time.monotonic() < deadline:
        time.sleep(0.05)
    server.cable.delay = 0.1  # two round trips: connecting, and the echo
    assert float(_call(client, "echo.test", tmp_path, 5.0)) >= 0.4
    server.cable.delay, server.cable.loss = 0.0, 0.3
    for _ in range(5):
        assert float(_call(client, "echo.test", tmp_path, 20.0)) < 20  # TCP sends again what was lost
    assert server.cable.lost > 0
    server.cable.loss, server.cable.unplugged = 0.0, True
    assert _call(client, "echo.test", tmp_path, 0.5) == "TimeoutError"
    server.cable.unplugged = False
    assert float(_call(client, "echo.test", tmp_path, 5.0)) < 5


def test_a_host_that_is_powered_off_is_silent_and_its_name_may_lead_to_another(network, tmp_path):
    first, client = network.add("first", 2), network.add("client", 3)
    process = first.start("-c", _SERVER, log=tmp_path / "server")
    network.name("echo.test", first.address)
    deadline = time.monotonic() + 20
    while _call(client, "echo.test", tmp_path) == "ConnectionRefusedError" and time.monotonic() < deadline:
        time.sleep(0.05)
    network.power_off("first")
    assert process.returncode == -9
    assert _call(client, "echo.test", tmp_path, 0.5) in ("TimeoutError", "OSError")
    second = network.add("second", 4)
    second.start("-c", _SERVER, log=tmp_path / "server")
    network.name("echo.test", second.address)
    deadline = time.monotonic() + 20
    while _call(client, "echo.test", tmp_path) == "ConnectionRefusedError" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert float(_call(client, "echo.test", tmp_path, 5.0)) < 5


def test_nothing_but_the_hosts_can_be_reached(network):
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert routes.split()[:2] == ["10.99.0.0/24", "dev"]
    assert len(routes.splitlines()) == 1

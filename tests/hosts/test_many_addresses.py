"""A name with many addresses, as a headless Service has: clients spread over them, and leave one that went silent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.network import Network

pytestmark = pytest.mark.hosts

_DOOR = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc

class Door(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: sys.argv[1].encode())

server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Door(),))
server.add_insecure_port(f"{sys.argv[1]}:50051")
server.start()
print("open", flush=True)
server.wait_for_termination()
"""
# Each client asks where it is, and asks again for as long as its door is silent.
_CLIENTS = """
import sys, time
import grpc
from syllabus_client.target import Target

channels = [Target("doors.test:50051", "").channel() for _ in range(int(sys.argv[1]))]
for line in sys.stdin:
    for channel in channels:
        ask = channel.unary_unary("/doors/Where")
        while True:
            try:
                print(ask(b"", timeout=2.0, wait_for_ready=True).decode(), flush=True)
                break
            except grpc.RpcError:
                pass
    print("asked", flush=True)
"""
_NUM_CLIENTS = 16
_PATIENCE_SECONDS = 60.0


@pytest.fixture
def network(network_directory: Path) -> Iterator[Network]:
    network = Network(network_directory, seed=1)
    yield network
    network.close()


def _answers(log: Path, rounds: int) -> list[str]:
    """What the clients were told in the last of so many rounds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (text := log.read_text()).count("asked") < rounds:
        if time.monotonic() > deadline:
            pytest.fail(f"the clients were not answered: {text}")
        time.sleep(0.05)
    return text.split("asked\n")[rounds - 1].split()


def test_clients_of_a_name_with_two_addresses_take_both_and_then_the_one_that_is_left(network, tmp_path):
    doors = [network.add("first", 2), network.add("second", 3)]
    for door in doors:
        door.start("-c", _DOOR, door.address, log=tmp_path / door.name)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not all("open" in (tmp_path / door.name).read_text() for door in doors):
        if time.monotonic() > deadline:
            pytest.fail("the doors do not open")
        time.sleep(0.05)
    clients = network.add("clients", 4)
    with clients.names.open("a") as names:
        names.writelines(f"{door.address} doors.test\n" for door in doors)
    log = tmp_path / "clients.log"
    process = clients.start("-c", _CLIENTS, str(_NUM_CLIENTS), log=log, takes_input=True)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    where = Counter(_answers(log, 1))
    assert sum(where.values()) == _NUM_CLIENTS
    assert set(where) == {door.address for door in doors}
    network.power_off("first")
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert Counter(_answers(log, 2)) == {doors[1].address: _NUM_CLIENTS}
    process.stdin.close()
    assert process.wait(30) == 0

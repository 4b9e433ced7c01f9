"""The proxy does what the chaos tests rely on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy

_SECONDS = 10.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """The address of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    server = threading.Thread(target=serve)
    server.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in (server, *threads):
        thread.join(_SECONDS)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[Proxy]:
    with Proxy(lambda: echo) as running:
        yield running


def _connect(proxy: Proxy) -> socket.socket:
    host, port = proxy.target.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=_SECONDS)


def _echoes(connection: socket.socket, data: bytes = b"ping") -> bool:
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = connection.recv(65536)
        if not piece:
            return False
        got += piece
    return got == data


def _is_over(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_bytes_pass_both_ways_whole(proxy: Proxy) -> None:
    with _connect(proxy) as connection:
        assert _echoes(connection, bytes(range(256)) * 4096)


def test_a_unix_socket_is_proxied_as_well(echo: tuple[str, int], tmp_path: Path) -> None:
    with Proxy(lambda: echo, listen=tmp_path / "s"), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(tmp_path / "s"))
        assert _echoes(connection)
    assert not (tmp_path / "s").exists()


def test_a_cut_ends_every_connection_and_new_ones_work(proxy: Proxy) -> None:
    connections = [_connect(proxy) for _ in range(3)]
    assert all(map(_echoes, connections))
    assert proxy.cut() == 3
    assert all(map(_is_over, connections))
    with _connect(proxy) as connection:
        assert _echoes(connection)
    for each in connections:
        each.close()


def test_refused_connections_end_at_once_and_older_ones_stay(proxy: Proxy) -> None:
    with _connect(proxy) as older:
        assert _echoes(older)
        proxy.refuse()
        with _connect(proxy) as newer:
            assert _is_over(newer)
        assert _echoes(older)
        proxy.heal()
        with _connect(proxy) as newer:
            assert _echoes(newer)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_swallowed_bytes_vanish_without_a_word_until_it_heals(proxy: Proxy, direction) -> None:
    with _connect(proxy) as connection:
        assert _echoes(connection)
        proxy.swallow(direction)
        connection.sendall(b"lost")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert proxy.swallowed == 4
        connection.settimeout(_SECONDS)
        proxy.heal()
        assert _is_over(connection)
    with _connect(proxy) as connection:
        assert _echoes(connection)


def test_who_connects_to_nobody_is_hung_up_on(tmp_path: Path) -> None:
    with Proxy(lambda: tmp_path / "nobody") as proxy, _connect(proxy) as connection:
        assert _is_over(connection)

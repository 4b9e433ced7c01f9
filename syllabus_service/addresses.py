"""Addresses to listen on: which there are, which are open to the network, and who else may be there."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

_UNIX = "unix:"
_MAX_UNIX_BYTES = 107  # sockaddr_un holds 108 with the closing zero
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


class AddressError(ValueError):
    """The service cannot, or will not, listen there."""


@dataclass(frozen=True)
class Address:
    """One place to listen.

    Example:
        >>> Address.parse("127.0.0.1:50051").is_private, Address.parse("[::]:50051").is_private
        (True, False)
        >>> str(Address.parse("unix:/run/syllabus.sock"))
        'unix:/run/syllabus.sock'
    """

    host: str = ""
    """Host name or IP address; empty for a Unix socket."""
    port: int = 0
    """TCP port; 0 takes a free one."""
    path: str = ""
    """Path of the Unix socket; empty for TCP."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:PATH``. Raises AddressError."""
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX)
            if not 1 <= len(path.encode()) <= _MAX_UNIX_BYTES:
                raise AddressError(f"{text}: expected a path of 1 to {_MAX_UNIX_BYTES} bytes")
            return cls(path=path)
        found = _HOST_PORT.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise AddressError(f"{text}: expected HOST:PORT, [IPV6]:PORT or unix:PATH")
        return cls(host=found["v6"] or found["host"], port=int(found["port"]))

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect. A name other than ``localhost`` counts as open."""
        if self.path:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def bind_tcp(server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None = None) -> Address:
    """Have a server listen on a TCP address, with TLS where there are credentials: the address, with its port.

    Raises AddressError where it cannot listen there.
    """
    try:
        if credentials is not None:
            port = server.add_secure_port(str(address), credentials)
        else:
            port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise AddressError(f"{address}: cannot listen there; is the port taken?") from error
    if port == 0:
        raise AddressError(f"{address}: cannot listen there; is the port taken?")
    return Address(host=address.host, port=port)


def clear_socket_path(path: Path) -> None:
    """Make way for a Unix socket: remove the socket file of a server that is gone.

    Raises AddressError where a server listens, or where the file is not a socket.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"unix:{path}: there is a file that is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        outcome = probe.connect_ex(str(path))
    if outcome != errno.ECONNREFUSED:
        raise AddressError(f"unix:{path}: another server listens there")
    path.unlink(missing_ok=True)

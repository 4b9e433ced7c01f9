"""Finding a service: where it is, which curriculum, and by what right."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

_MAX_RECEIVED_BYTES = 256 * 1024 * 1024
_RECONNECT_MS = (100, 1000, 2000)  # first, shortest attempt, longest wait: gRPC's own, below those of a session
_ADDRESS = re.compile(r"(unix:.+|unix-abstract:.+|(dns|ipv4|ipv6):.+|(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):\d{1,5})")


@dataclass(frozen=True)
class Target:
    """A curriculum of a service. Hashable and picklable; holds no connection."""

    address: str
    """``host:port``, ``unix:PATH``, or another gRPC name."""
    curriculum: str
    """Name of the curriculum."""
    token: str | None = field(default=None, repr=False)
    """Bearer token, or None."""
    tls_ca: str | None = None
    """File of the certificates that the service's must be signed by; None: no TLS. Empty: those of the system."""

    @classmethod
    def resolve(
        cls,
        target: str | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Target:
        """Arguments win over SYLLABUS_TARGET, SYLLABUS_CURRICULUM and SYLLABUS_TOKEN, which are read now.

        SYLLABUS_TLS_CA, a file of certificates (or ``system``), switches TLS on.

        Raises ValueError, naming what is missing or not an address.
        """
        env = os.environ if environ is None else environ
        address = target or env.get("SYLLABUS_TARGET", "")
        if not address:
            raise ValueError("target: expected the service's address, as an argument or in SYLLABUS_TARGET")
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"target: expected host:port or unix:PATH, got {address!r}")
        name = curriculum or env.get("SYLLABUS_CURRICULUM", "")
        if not name:
            raise ValueError(
                f"curriculum: expected the name of a curriculum of the service at {address}, as an argument or in "
                "SYLLABUS_CURRICULUM"
            )
        tls_ca = env.get("SYLLABUS_TLS_CA") or None
        return cls(address, name, token or env.get("SYLLABUS_TOKEN") or None, "" if tls_ca == "system" else tls_ca)

    def channel(self) -> grpc.Channel:
        """A new channel, connecting on its first call. Close it."""
        first, shortest, longest = _RECONNECT_MS
        options = [
            ("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", first),
            ("grpc.min_reconnect_backoff_ms", shortest),
            ("grpc.max_reconnect_backoff_ms", longest),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
        ]
        if self.tls_ca is None:
            return grpc.insecure_channel(self.address, options)
        roots = Path(self.tls_ca).read_bytes() if self.tls_ca else None
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(roots), options)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

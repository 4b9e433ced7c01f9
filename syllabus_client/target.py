"""Finding a service: where it is, which curriculum, and by what right."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc

from syllabus_client.wire.metadata import AUTHORIZATION

_MAX_RECEIVED_BYTES = 256 * 1024 * 1024
_RECONNECT_MS = (100, 1000, 2000)  # first, shortest attempt, longest wait: gRPC's own, below those of a session
# A host that is gone says nothing: a connection to it would live for as long as TCP tries, a quarter of an hour. The
# service lets clients ask every 5 s.
_KEEPALIVE_MS = (10_000, 5_000)  # silence until the other end is asked, patience for its answer
_RESOLVE_AGAIN_MS = 2_000  # a name that leads elsewhere is looked up again; gRPC would wait for 30 s
# Of a name with many addresses each client takes one by chance; gRPC would let all take the first.
_SERVICE_CONFIG = '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}'
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
    tls_cert: str | None = None
    """File of this client's own certificate and chain, for a service that asks for one; or None."""
    tls_key: str | None = None
    """File of its key, or None."""

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

        SYLLABUS_TLS_CA, a file of certificates (or ``system``), switches TLS on; SYLLABUS_TLS_CERT and SYLLABUS_TLS_KEY
        are the client's own certificate and key. The files are read whenever a channel is made. A Unix socket has no
        TLS.

        Raises ValueError, naming what is missing or not an address.
        """
        env = os.environ if environ is None else environ
        service = cls.of_service(target, token=token, environ=env)
        name = curriculum or env.get("SYLLABUS_CURRICULUM", "")
        if not name:
            raise ValueError(
                f"curriculum: expected the name of a curriculum of the service at {service.address}, as an argument or "
                "in SYLLABUS_CURRICULUM"
            )
        return replace(service, curriculum=name)

    @classmethod
    def of_service(
        cls, target: str | None = None, *, token: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Target:
        """The same for calls that are not about one curriculum; ``curriculum`` is empty. Raises ValueError."""
        env = os.environ if environ is None else environ
        address = target or env.get("SYLLABUS_TARGET", "")
        if not address:
            raise ValueError("target: expected the service's address, as an argument or in SYLLABUS_TARGET")
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"target: expected host:port or unix:PATH, got {address!r}")
        tls_ca, tls_cert, tls_key = (env.get(f"SYLLABUS_TLS_{each}") or None for each in ("CA", "CERT", "KEY"))
        if (tls_cert is None) != (tls_key is None):
            raise ValueError("SYLLABUS_TLS_CERT, SYLLABUS_TLS_KEY: expected both or neither")
        if tls_cert is not None and tls_ca is None:
            raise ValueError("SYLLABUS_TLS_CERT: expected SYLLABUS_TLS_CA with it, which switches TLS on")
        if address.startswith("unix"):  # a socket of this machine has no TLS, whatever other services have
            tls_ca = tls_cert = tls_key = None
        return cls(
            address,
            "",
            token=token or env.get("SYLLABUS_TOKEN") or None,
            tls_ca="" if tls_ca == "system" else tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )

    def channel(self) -> grpc.Channel:
        """A new channel, connecting on its first call. Close it. Raises OSError where a TLS file cannot be read."""
        first, shortest, longest = _RECONNECT_MS
        options = [
            ("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", first),
            ("grpc.min_reconnect_backoff_ms", shortest),
            ("grpc.max_reconnect_backoff_ms", longest),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS[0]),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS[1]),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.dns_min_time_between_resolutions_ms", _RESOLVE_AGAIN_MS),
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
        ]
        if self.tls_ca is None:
            return grpc.insecure_channel(self.address, options)
        roots, key, chain = (
            Path(path).read_bytes() if path else None for path in (self.tls_ca, self.tls_key, self.tls_cert)
        )
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(roots, key, chain), options)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return () if self.token is None else ((AUTHORIZATION, f"Bearer {self.token}"),)

"""TLS: the server's certificate, key and client authorities, read again when their files change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from syllabus_service.addresses import AddressError
from syllabus_service.file_stamps import Stamp, file_stamp

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """Where the server's certificate and key are, and whom it lets in; all PEM."""

    certificate: Path
    """The certificate, followed by its chain."""
    key: Path
    """Its private key, not encrypted."""
    client_ca: Path | None = None
    """Certificates of which one must have signed a client's; None: clients need no certificate."""


class TlsError(ValueError):
    """The files are no certificate with its key. The message names them."""


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow their files: each new connection gets what the files say then.

    Files that do not fit together (a certificate was replaced, and its key not yet) leave the credentials as they
    were; the log says so, once for each state of the files. Connections that exist go on with what they began with.

    Raises AddressError where the files are wrong from the start.
    """
    try:
        follower = _Follower(files)
    except TlsError as error:
        raise AddressError(f"cannot read the TLS files: {error}") from error
    return grpc.dynamic_ssl_server_credentials(
        follower.first,
        follower.changed,  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know
        require_client_authentication=files.client_ca is not None,
    )


class _Follower:
    """Asked at every handshake, in a thread of gRPC's, whether the certificate has changed. O(1): three stats."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = _stamp(files)
        self.first = _read(files)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """A configuration where the files have changed, and None where the last one holds. Never raises."""
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            configuration = _read(self._files)
        except TlsError as error:
            _log.error("tls_files_not_taken", error=str(error))
            return None
        _log.info("tls_files_read_again", certificate=str(self._files.certificate))
        return configuration


def _paths(files: TlsFiles) -> list[Path]:
    return [path for path in (files.certificate, files.key, files.client_ca) if path is not None]


def _stamp(files: TlsFiles) -> tuple[Stamp, ...]:
    return tuple(file_stamp(path) for path in _paths(files))


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    """Read the files, and see that they fit together: gRPC itself would only fail in every handshake."""
    before = _stamp(files)
    try:
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        roots = None if files.client_ca is None else files.client_ca.read_bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if roots is not None:
            context.load_verify_locations(cadata=roots.decode("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TlsError(f"{', '.join(map(str, _paths(files)))}: {error}") from error
    if _stamp(files) != before:
        raise TlsError(f"{', '.join(map(str, _paths(files)))}: changed while they were read")
    return grpc.ssl_server_certificate_configuration([pair], roots)


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody can be asked for its password")

"""Opening a store by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from syllabus_service.store.base import Store, StoreError
from syllabus_service.store.durability import Durability
from syllabus_service.store.memory import MemoryStore
from syllabus_service.store.sqlite import SqliteStore

_EXPECTED = "expected sqlite:///DIRECTORY, postgresql://USER@HOST:PORT/DATABASE or memory:"


def sqlite_directory(url: str) -> Path | None:
    """The directory of a SQLite store's URL, or None for a store of another kind. Raises StoreError."""
    if not url.startswith("sqlite:"):
        return None
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or parts.query or parts.fragment or not path:
        raise StoreError("store: expected sqlite:///DIRECTORY, with three slashes before a relative path")
    return Path(path)


def open_store(url: str, durability: Durability = Durability.FSYNC) -> Store:
    """Open the store that a URL names.

    Args:
        url: one of

            - ``sqlite:///relative/dir`` or ``sqlite:////absolute/dir``: a directory, made where it does not exist.
            - ``postgresql://user:password@host:5432/database?sslmode=verify-full``: any URL that libpq takes, several
              hosts included; needs the extra ``postgresql``. A password is better kept in libpq's password file.
            - ``memory:``: nothing survives the process.
        durability: what a commit waits for.

    Raises:
        StoreError: the URL is none of these, or what it needs is not installed. The message never repeats the URL,
            which may hold a password.
        StoreInUseError, StoreVersionError, StoreUnavailableError: as the store says.
    """
    scheme, _, rest = url.partition(":")
    if url == "memory:":
        return MemoryStore()
    if (directory := sqlite_directory(url)) is not None:
        return SqliteStore(directory, durability)
    if scheme in ("postgresql", "postgres"):
        try:
            from syllabus_service.store.postgresql import PostgresqlStore
        except ImportError as error:
            raise StoreError(f"store: PostgreSQL needs the extra syllabus-service[postgresql]: {error}") from error
        return PostgresqlStore(url, durability)
    raise StoreError(f"store: {_EXPECTED}, got one that begins with {scheme!r}" if rest else f"store: {_EXPECTED}")

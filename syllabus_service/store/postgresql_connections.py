"""Connections of the PostgreSQL store: set up, bounded in time, given again, and given up when they fail."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import structlog
from psycopg import conninfo

from syllabus_service.store.base import StoreError, StoreUnavailableError
from syllabus_service.store.durability import Durability
from syllabus_service.store.postgresql_schema import Opened, open_schema
from syllabus_service.store.watchdog import Watchdog

_log = structlog.get_logger(__name__)

_MAX_IDLE = 4
_CONNECT_SECONDS = 5
_DEFAULTS = {
    "connect_timeout": str(_CONNECT_SECONDS),
    "target_session_attrs": "read-write",  # of several hosts the one that is not a standby
    "application_name": "syllabus-service",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_SERVER_SHARE = 0.8  # of a call's time, so that the server gives up before its client does

# FSYNC does not lower what the operator asked for, such as remote_apply.
_SET_UP = """
SELECT set_config('search_path', %(path)s, false),
       set_config('statement_timeout', %(timeout)s, false),
       set_config('lock_timeout', %(timeout)s, false),
       set_config('idle_in_transaction_session_timeout', %(timeout)s, false),
       set_config('synchronous_commit', CASE WHEN NOT %(sync)s THEN 'off'
           WHEN current_setting('synchronous_commit') = 'off' THEN 'on'
           ELSE current_setting('synchronous_commit') END, false)
"""


class _Link:
    """One connection, and the means to end it from another thread."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._socket = socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)

    def cut(self) -> None:
        """Make whoever waits for the server fail at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come, as nothing should between two calls but the news that the server is gone."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._socket.close()
        with suppress(psycopg.Error):
            self.connection.close()


class Connections:
    """Connections to one database, each used by one thread at a time.

    Nothing is tried again here: whatever fails raises StoreUnavailableError, and the next call gets a connection that
    works, or fails in turn.

    Args:
        url: as libpq takes it.
        schema: the schema of the tables.
        durability: what a commit waits for.
        call_seconds: how long a call may take, connecting not counted.

    Raises:
        StoreError: the URL cannot be read.
        StoreUnavailableError, StoreVersionError: as opening the schema says.
    """

    def __init__(self, url: str, schema: str, durability: Durability, call_seconds: float) -> None:
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise StoreError("store: expected a URL such as postgresql://USER@HOST:PORT/DATABASE") from None
        self._conninfo = conninfo.make_conninfo("", **{**_DEFAULTS, **given})
        self._settings = {
            "path": '"' + schema.replace('"', '""') + '"',
            "timeout": f"{max(1, round(call_seconds * _SERVER_SHARE * 1000))}ms",
            "sync": durability is Durability.FSYNC,
        }
        self._seconds = call_seconds
        self._lock = threading.Lock()
        self._idle: list[_Link] = []
        self._closed = False
        self._opened: Opened | None = None
        self._watchdog = Watchdog("postgresql-watchdog")
        try:
            with self.use() as connection:
                self._opened = open_schema(connection, schema)
                if durability is Durability.FSYNC:
                    _warn_of_settings(connection)
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> int:
        """The epoch that this store took."""
        if self._opened is None:
            raise StoreUnavailableError("the store is not open")
        return self._opened.epoch

    @property
    def identity(self) -> str:
        """Which database this is."""
        if self._opened is None:
            raise StoreUnavailableError("the store is not open")
        return self._opened.identity

    @contextmanager
    def use(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection, in autocommit mode, for one call that is bounded in time."""
        with self.hold() as held, held.call() as connection:
            yield connection

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """A connection for several calls, each bounded in time. A transaction left open is rolled back."""
        link = self._take()
        try:
            yield Held(self, link)
        finally:
            self._give_back(link)

    @contextmanager
    def read(self) -> Iterator[Held]:
        """A connection for reading at leisure, in one transaction that sees one moment."""
        link = self._connect()
        try:
            held = Held(self, link)
            with held.call() as connection:
                connection.execute("SET idle_in_transaction_session_timeout TO 0")
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield held
        finally:
            link.close()

    def close(self) -> None:
        """Close what is idle, end what is under way. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
        self._watchdog.close()
        for link in idle:
            link.close()

    @contextmanager
    def _bounded(self, link: _Link) -> Iterator[None]:
        try:
            with self._watchdog.watch(self._seconds, link.cut):
                yield
        except psycopg.Error as error:
            raise StoreUnavailableError(f"the database failed: {_in_one_line(error)}") from error

    def _take(self) -> _Link:
        while True:
            with self._lock:
                self._check_open()
                link = self._idle.pop() if self._idle else None
            if link is None:
                return self._connect()
            if link.is_silent:
                return link
            link.close()

    def _give_back(self, link: _Link) -> None:
        broken: list[_Link] = []
        with self._lock:
            if link.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and not self._closed:
                if len(self._idle) < _MAX_IDLE:
                    self._idle.append(link)
                    return
            elif link.connection.closed:  # the others are as old, and probably as dead
                broken, self._idle = self._idle, []
        for each in (link, *broken):
            each.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the store is closed")

    def _connect(self) -> _Link:
        with self._lock:
            self._check_open()
        try:
            link = _Link(psycopg.connect(self._conninfo, autocommit=True))
        except psycopg.Error as error:
            raise StoreUnavailableError(f"cannot connect to the database: {_in_one_line(error)}") from error
        try:
            with self._bounded(link):
                link.connection.execute(_SET_UP, self._settings)
                self._check_identity(link.connection)
        except BaseException:
            link.close()
            raise
        return link

    def _check_identity(self, connection: psycopg.Connection[Any]) -> None:
        """Going on in another database would succeed, and be lost."""
        if self._opened is None:
            return
        row = connection.execute("SELECT identity FROM store").fetchone()
        if row is None or row[0] != self._opened.identity:
            raise StoreUnavailableError("the database was replaced by another one; put it back, or restart")


class Held:
    """A connection that is held for several calls."""

    def __init__(self, connections: Connections, link: _Link) -> None:
        self._connections = connections
        self._link = link

    @contextmanager
    def call(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, for one call that is bounded in time."""
        with self._connections._bounded(self._link):
            yield self._link.connection


def _warn_of_settings(connection: psycopg.Connection[Any]) -> None:
    for setting in ("fsync", "full_page_writes"):
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
        if row is not None and row[0] == "off":
            _log.warning("database_may_lose_data", setting=f"{setting} = off")


def _in_one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__

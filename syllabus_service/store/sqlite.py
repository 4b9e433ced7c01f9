"""A store in one SQLite file, in write-ahead-log mode."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from syllabus_service.store.base import (
    CurriculumExistsError,
    CurriculumMissingError,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreInUseError,
    StoreUnavailableError,
    StoreVersionError,
)
from syllabus_service.store.checksum import checked_records, checksum
from syllabus_service.store.durability import Durability

_log = structlog.get_logger(__name__)

DATABASE_NAME = "syllabus.sqlite3"
LOCK_NAME = "lock"
SCHEMA_VERSION = 1

_PAGE_BYTES = 8192
_WAL_PAGES = 2048  # 16 MiB of log before it is folded into the file
_BUSY_SECONDS = 1.0
_CHUNK_BYTES = 4 << 20
_TRIM_ROWS = 64

# A curriculum's number is never used again, so what a deleted one leaves behind belongs to nobody.
# A snapshot is there when its row in `snapshot` is; its chunks come first, each in a transaction of its own.
_SCHEMA = """
CREATE TABLE curriculum (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    incarnation BLOB NOT NULL,
    spec BLOB NOT NULL,
    last_position INTEGER NOT NULL
);
CREATE TABLE journal (
    curriculum_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (curriculum_id, position)
);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    curriculum_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    bytes INTEGER,
    checksum INTEGER
);
CREATE INDEX snapshot_position ON snapshot (curriculum_id, position);
CREATE TABLE snapshot_chunk (
    snapshot_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (snapshot_id, number)
);
"""

_INSERT_RECORD = "INSERT INTO journal (curriculum_id, position, checksum, record) VALUES (?, ?, ?, ?)"
_FIND = "SELECT id, last_position FROM curriculum WHERE name = ?"

_SYNCHRONOUS = {Durability.FSYNC: "FULL", Durability.OS: "NORMAL", Durability.NONE: "OFF"}


class SqliteStore(Store):
    """Journals and snapshots in ``DIR/syllabus.sqlite3``.

    One connection writes, behind a lock; each reader of a journal has its own. ``DIR/lock`` is locked while the store
    is open, so that a second process is refused; the kernel frees it when the process ends, however it ends. ``DIR``
    must be on a local file system: the write-ahead log needs shared memory.

    Args:
        data_dir: the directory, made (for its owner only) where it does not exist.
        durability: what a commit waits for.

    Raises:
        StoreInUseError: another process, or another store of this one, has the directory open.
        StoreVersionError: the file is of a later version of this program.
        StoreUnavailableError: the directory cannot be written, or the file is not a database.
    """

    def __init__(self, data_dir: str | os.PathLike[str], durability: Durability = Durability.FSYNC) -> None:
        self._directory = Path(data_dir)
        self._path = self._directory / DATABASE_NAME
        self._lock = threading.Lock()
        self._closed = False
        with _unavailable_on_error(f"cannot open {self._directory}"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = _lock_directory(self._directory)
            try:
                self._connection = _connect(self._path, durability)
            except BaseException:
                os.close(self._lock_fd)
                raise
            self._files = {path: _identity(path) for path in (self._path, Path(f"{self._path}-wal"))}

    def create_curriculum(self, name: str, incarnation: int, spec: bytes) -> None:
        with self._transaction() as connection:
            _insert_curriculum(connection, StoredCurriculum(name, incarnation, spec), last_position=0)

    def import_curriculum(
        self, stored: StoredCurriculum, snapshot: tuple[int, bytes] | None, records: Iterable[bytes]
    ) -> None:
        last = 0 if snapshot is None else snapshot[0]
        with self._transaction() as connection:
            number = _insert_curriculum(connection, stored, last)
            if snapshot is not None:
                _insert_snapshot(connection, number, *snapshot)
            for record in records:
                last += 1
                connection.execute(_INSERT_RECORD, (number, last, checksum(last, record), record))
            connection.execute("UPDATE curriculum SET last_position = ? WHERE id = ?", (last, number))

    def delete_curriculum(self, name: str) -> None:
        with self._transaction() as connection:
            number = _number(connection, name)
            connection.execute("DELETE FROM curriculum WHERE id = ?", (number,))
            connection.execute("DELETE FROM snapshot WHERE curriculum_id = ?", (number,))
        self._remove_records(number, up_to=None)
        self._remove_loose_chunks()

    def list_curricula(self) -> list[StoredCurriculum]:
        with self._transaction() as connection:
            rows = connection.execute("SELECT name, incarnation, spec FROM curriculum ORDER BY name").fetchall()
        return [StoredCurriculum(name, int.from_bytes(incarnation, "big"), spec) for name, incarnation, spec in rows]

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        last_before = first_position - 1
        with self._transaction() as connection:
            moved = connection.execute(
                "UPDATE curriculum SET last_position = ? WHERE name = ? AND last_position = ? RETURNING id",
                (last_before + len(records), name, last_before),
            ).fetchall()
            if not moved:
                last = _last_position(connection, name)
                raise PositionConflictError(f"{name}: expected position {last + 1}, got {first_position}")
            number = moved[0][0]
            connection.executemany(
                _INSERT_RECORD,
                (
                    (number, position, checksum(position, record), record)
                    for position, record in enumerate(records, first_position)
                ),
            )

    def last_position(self, name: str) -> int:
        with self._transaction() as connection:
            return _last_position(connection, name)

    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]:
        with self._transaction() as connection:
            number, last = connection.execute(_FIND, (name,)).fetchone() or _missing(name)
        return self._read(name, number, after, last)

    def _read(self, name: str, number: int, after: int, last: int) -> Iterator[tuple[int, bytes]]:
        with _unavailable_on_error("cannot read the journal"), closing(_connect_reader(self._path)) as connection:
            rows = connection.execute(
                "SELECT position, checksum, record FROM journal"
                " WHERE curriculum_id = ? AND position > ? AND position <= ? ORDER BY position",
                (number, after, last),
            )
            yield from checked_records(name, rows, after, last)

    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        with self._transaction() as connection:
            number, last = connection.execute(_FIND, (name,)).fetchone() or _missing(name)
            if position > last:
                raise PositionConflictError(f"{name}: expected a position of at most {last}, got {position}")
            snapshot_id = connection.execute(
                "INSERT INTO snapshot (curriculum_id, position) VALUES (?, ?) RETURNING id", (number, position)
            ).fetchone()[0]
        for chunk, start in enumerate(range(0, len(state), _CHUNK_BYTES)):
            with self._transaction() as connection:
                connection.execute(
                    "INSERT INTO snapshot_chunk (snapshot_id, number, data) VALUES (?, ?, ?)",
                    (snapshot_id, chunk, state[start : start + _CHUNK_BYTES]),
                )
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM snapshot WHERE curriculum_id = ? AND position = ? AND id != ?",
                (number, position, snapshot_id),
            )
            connection.execute(
                "UPDATE snapshot SET bytes = ?, checksum = ? WHERE id = ?",
                (len(state), checksum(position, state), snapshot_id),
            )

    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
        with self._transaction() as connection:
            found = connection.execute(
                "SELECT id, position, bytes, checksum FROM snapshot"
                " WHERE curriculum_id = ? AND bytes IS NOT NULL ORDER BY position DESC",
                (_number(connection, name),),
            ).fetchall()
        return self._read_snapshots(name, found)

    def _read_snapshots(self, name: str, found: list[tuple[int, int, int, int]]) -> Iterator[tuple[int, bytes]]:
        for snapshot_id, position, size, expected in found:
            with self._transaction() as connection:
                chunks = connection.execute(
                    "SELECT data FROM snapshot_chunk WHERE snapshot_id = ? ORDER BY number", (snapshot_id,)
                ).fetchall()
            state = b"".join(chunk for (chunk,) in chunks)
            if len(state) != size or checksum(position, state) != expected:
                _log.error("snapshot_damaged", curriculum=name, position=position, bytes=size, bytes_found=len(state))
                continue
            yield position, state

    def trim(self, name: str, up_to: int, keep_snapshots: int) -> None:
        with self._transaction() as connection:
            number = _number(connection, name)
            kept = connection.execute(
                "SELECT position FROM snapshot WHERE curriculum_id = ? AND bytes IS NOT NULL"
                " ORDER BY position DESC LIMIT ?",
                (number, keep_snapshots),
            ).fetchall()
            if not kept:
                return
            oldest_kept = kept[-1][0]
            connection.execute("DELETE FROM snapshot WHERE curriculum_id = ? AND position < ?", (number, oldest_kept))
        self._remove_records(number, min(up_to, oldest_kept))
        self._remove_loose_chunks()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._connection.close()
            os.close(self._lock_fd)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that commits at the end of the block, or leaves nothing behind."""
        with self._lock, _unavailable_on_error("the database failed"):
            if self._closed:
                raise StoreUnavailableError("the store is closed")
            self._check_files()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _check_files(self) -> None:
        """Writing on into a deleted or replaced file would succeed and be lost."""
        for path, identity in self._files.items():
            if _identity(path) != identity:
                raise StoreUnavailableError(f"{path} was replaced while the store was open; put it back, or restart")

    def _remove_records(self, number: int, up_to: int | None) -> None:
        """Remove a journal's records, a few at a time, so that appends to others go on between."""
        while True:
            with self._transaction() as connection:
                removed = connection.execute(
                    "DELETE FROM journal WHERE rowid IN (SELECT rowid FROM journal"
                    " WHERE curriculum_id = ?1 AND (?2 IS NULL OR position <= ?2) ORDER BY position LIMIT ?3)",
                    (number, up_to, _TRIM_ROWS),
                ).rowcount
            if removed < _TRIM_ROWS:
                return

    def _remove_loose_chunks(self) -> None:
        """Remove the chunks of snapshots that are no longer there."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM snapshot_chunk WHERE snapshot_id NOT IN (SELECT id FROM snapshot)")


@contextmanager
def _unavailable_on_error(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(f"{what}: {error}") from error


def _lock_directory(directory: Path) -> int:
    """Lock the directory for this process; the lock is gone when the returned descriptor is closed."""
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StoreInUseError(f"{directory} is in use by process {holder or '(unknown)'}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _connect(path: Path, durability: Durability) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreVersionError(f"{path} is of version {version}; this program knows up to {SCHEMA_VERSION}")
        if version == 0:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        _sweep(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _sweep(connection: sqlite3.Connection) -> None:
    """Remove what a process that died left half done: incomplete snapshots, records of deleted curricula."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM snapshot WHERE bytes IS NULL OR curriculum_id NOT IN (SELECT id FROM curriculum)")
    connection.execute("DELETE FROM snapshot_chunk WHERE snapshot_id NOT IN (SELECT id FROM snapshot)")
    owners = _distinct_owners(connection)
    known = {number for (number,) in connection.execute("SELECT id FROM curriculum")}
    connection.executemany("DELETE FROM journal WHERE curriculum_id = ?", [(number,) for number in owners - known])
    connection.execute("COMMIT")


def _distinct_owners(connection: sqlite3.Connection) -> set[int]:
    """The curricula that have records, by one index look-up for each: O(curricula x log records)."""
    owners: set[int] = set()
    number = -1
    while (
        row := connection.execute(
            "SELECT curriculum_id FROM journal WHERE curriculum_id > ? ORDER BY curriculum_id LIMIT 1", (number,)
        ).fetchone()
    ) is not None:
        number = row[0]
        owners.add(number)
    return owners


def _connect_reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _insert_curriculum(connection: sqlite3.Connection, stored: StoredCurriculum, last_position: int) -> int:
    """The new curriculum's number. Raises CurriculumExistsError."""
    try:
        row = connection.execute(
            "INSERT INTO curriculum (name, incarnation, spec, last_position) VALUES (?, ?, ?, ?) RETURNING id",
            (stored.name, stored.incarnation.to_bytes(8, "big"), stored.spec, last_position),
        ).fetchone()
    except sqlite3.IntegrityError:
        raise CurriculumExistsError(stored.name) from None
    return int(row[0])


def _insert_snapshot(connection: sqlite3.Connection, number: int, position: int, state: bytes) -> None:
    snapshot_id = connection.execute(
        "INSERT INTO snapshot (curriculum_id, position, bytes, checksum) VALUES (?, ?, ?, ?) RETURNING id",
        (number, position, len(state), checksum(position, state)),
    ).fetchone()[0]
    connection.executemany(
        "INSERT INTO snapshot_chunk (snapshot_id, number, data) VALUES (?, ?, ?)",
        (
            (snapshot_id, chunk, state[start : start + _CHUNK_BYTES])
            for chunk, start in enumerate(range(0, len(state), _CHUNK_BYTES))
        ),
    )


def _number(connection: sqlite3.Connection, name: str) -> int:
    number, _ = connection.execute(_FIND, (name,)).fetchone() or _missing(name)
    return number


def _last_position(connection: sqlite3.Connection, name: str) -> int:
    _, last = connection.execute(_FIND, (name,)).fetchone() or _missing(name)
    return last


def _missing(name: str) -> tuple[int, int]:
    raise CurriculumMissingError(name)

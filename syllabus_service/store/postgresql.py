"""A store in a PostgreSQL database, which several processes may reach."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from syllabus_service.store.base import (
    CurriculumExistsError,
    CurriculumMissingError,
    PositionConflictError,
    Store,
    StoredCurriculum,
    StoreFencedError,
    StoreUnavailableError,
)
from syllabus_service.store.checksum import checked_records, checksum
from syllabus_service.store.durability import Durability
from syllabus_service.store.postgresql_connections import Connections, Held

_log = structlog.get_logger(__name__)

_CHUNK_BYTES = 4 << 20
_READ_ROWS = 32
_IMPORT_ROWS = 256
_DELETE_ROWS = 5_000
_LAST = 2**63 - 1

# One statement, so that it is one round trip, takes place wholly or not at all, and never leaves a transaction open
# behind a client that was stopped in the middle. The row of the curriculum is locked by the first part: appends of
# several writers, and a writer's own that it believed lost, come one after the other.
_APPEND = """
WITH moved AS (
    UPDATE curriculum SET last_position = %(last)s
    WHERE name = %(name)s AND last_position = %(before)s AND nonce = %(nonce)s
    RETURNING id
), written AS (
    INSERT INTO journal (curriculum_id, position, checksum, record)
    SELECT moved.id, %(before)s + entry.number, entry.checksum, entry.record
    FROM moved,
        unnest(%(checksums)s::bigint[], %(records)b::bytea[]) WITH ORDINALITY AS entry (checksum, record, number)
)
SELECT count(*) FROM moved
"""


_IMPORT = """
INSERT INTO journal (curriculum_id, position, checksum, record)
SELECT %(number)s, %(before)s + entry.number, entry.checksum, entry.record
FROM unnest(%(checksums)s::bigint[], %(records)b::bytea[]) WITH ORDINALITY AS entry (checksum, record, number)
"""


@dataclass(frozen=True)
class _Row:
    """A curriculum's row."""

    number: int
    last_position: int
    writer: int
    nonce: int


class PostgresqlStore(Store):
    """Journals and snapshots in the tables of one schema, which is made and migrated here.

    Any number of stores may have one database open. Each takes an epoch and draws a nonce when it is opened; a
    curriculum's row holds those of its writer. The epoch says who may take a curriculum over: whoever was opened last.
    The nonce, a random number, says who the writer is, and every append compares it in the statement that writes: so of
    two stores with one epoch, of which a failover to a standby that was behind has lost the news, one writes. Both
    belong to the store and not to a connection, so that an old store stays old however often it connects.

    An append is one statement and one durable commit. What it waits for:

    - ``FSYNC``: the database's disk (``synchronous_commit = on``, or more where the database says so, such as
      ``remote_apply`` for a standby).
    - ``OS`` and ``NONE``: nothing (``synchronous_commit = off``). When the database server crashes, the last
      acknowledged commands are lost, about those of the last 0.6 seconds (three times its ``wal_writer_delay``), and an
      earlier state is left; a curriculum being served then stops with a position conflict, and recovers that earlier
      state at the next start.

    The crash, the restart or the loss of the service alone loses nothing in any of them. A failover to a standby that
    was behind loses what it had not received, as it does for every user of the database.

    Connections are made when needed, so that the store goes on by itself once the database is back. Connect to the
    database, or to a pooler that keeps sessions: settings of the session are used.

    Args:
        url: as libpq takes it, several hosts included.
        durability: what a commit waits for.
        schema: the schema of the tables; made where it does not exist.
        call_seconds: how long the database may take for a call before it counts as away.

    Raises:
        StoreError: the URL cannot be read.
        StoreVersionError: the tables are of a later version of this program.
        StoreUnavailableError: the database cannot be reached or used.

    Example:
        >>> with PostgresqlStore("postgresql://syllabus@db.training.svc/syllabus") as store:  # doctest: +SKIP
        ...     store.create_curriculum("maze", incarnation=7, spec=b"")
        ...     store.append("maze", 1, [b"first", b"second"])
    """

    is_shared = True

    def __init__(
        self,
        url: str,
        durability: Durability = Durability.FSYNC,
        *,
        schema: str = "syllabus",
        call_seconds: float = 10.0,
    ) -> None:
        self._connections = Connections(url, schema, durability, call_seconds)
        self._lock = threading.Lock()
        self._nonce = secrets.randbelow(_LAST) + 1
        self._taken: set[str] = set()  # names of curricula that this store is the writer of, or was
        self._uncertain: dict[str, tuple[int, bytes]] = {}
        try:
            with self._connections.use() as connection:  # what a service that died left half deleted
                deleted = connection.execute("SELECT curriculum_id FROM deleted").fetchall()
            for (number,) in deleted:
                self._finish_deletion(number)
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> int:
        """The number of this opening; a later one prevails over an earlier one."""
        return self._connections.epoch

    @property
    def identity(self) -> str:
        """Which database this is, from its first opening on."""
        return self._connections.identity

    def create_curriculum(self, name: str, incarnation: int, spec: bytes) -> None:
        with self._connections.use() as connection:
            try:
                connection.execute(
                    "INSERT INTO curriculum (name, incarnation, spec, last_position, writer, nonce)"
                    " VALUES (%s, %s, %s, 0, %s, %s)",
                    (name, incarnation, spec, self.epoch, self._nonce),
                )
            except psycopg.errors.UniqueViolation:
                raise CurriculumExistsError(name) from None
        self._note_taken(name)

    def import_curriculum(
        self, stored: StoredCurriculum, snapshot: tuple[int, bytes] | None, records: Iterable[bytes]
    ) -> None:
        last = 0 if snapshot is None else snapshot[0]
        with self._connections.hold() as held:
            try:
                with held.call() as connection:
                    connection.execute("BEGIN")
                    try:
                        row = connection.execute(
                            # Nobody's, so that a service which is older than this store may take it over.
                            "INSERT INTO curriculum (name, incarnation, spec, last_position, writer, nonce)"
                            " VALUES (%s, %s, %s, %s, 0, 0) RETURNING id",
                            (stored.name, stored.incarnation, stored.spec, last),
                        ).fetchone()
                    except psycopg.errors.UniqueViolation:
                        raise CurriculumExistsError(stored.name) from None
                number = row[0] if row is not None else 0
                if snapshot is not None:
                    _insert_snapshot(held, number, *snapshot)
                for some in _some_at_a_time(records):
                    with held.call() as connection:
                        checksums = [checksum(at, record) for at, record in enumerate(some, last + 1)]
                        values = {"number": number, "before": last, "checksums": checksums, "records": some}
                        connection.execute(_IMPORT, values)
                    last += len(some)
                with held.call() as connection:
                    connection.execute("UPDATE curriculum SET last_position = %s WHERE id = %s", (last, number))
                    connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(StoreUnavailableError), held.call() as connection:
                    connection.execute("ROLLBACK")
                raise

    def delete_curriculum(self, name: str) -> None:
        with self._connections.use() as connection, connection.transaction():
            number = self._reach(connection, name).number
            connection.execute("DELETE FROM curriculum WHERE id = %s", (number,))
            connection.execute("INSERT INTO deleted (curriculum_id) VALUES (%s)", (number,))
        with self._lock:
            self._taken.discard(name)
            self._uncertain.pop(name, None)
        self._finish_deletion(number)

    def list_curricula(self) -> list[StoredCurriculum]:
        with self._connections.use() as connection:
            rows = connection.execute("SELECT name, incarnation, spec FROM curriculum ORDER BY name", binary=True)
            return [StoredCurriculum(name, int(incarnation), bytes(spec)) for name, incarnation, spec in rows]

    def find_curricula(self, names: Collection[str]) -> list[StoredCurriculum]:
        with self._connections.use() as connection:
            rows = connection.execute(
                "SELECT name, incarnation, spec FROM curriculum WHERE name = ANY(%s) ORDER BY name",
                (list(names),),
                binary=True,
            )
            return [StoredCurriculum(name, int(incarnation), bytes(spec)) for name, incarnation, spec in rows]

    def take_over(self, name: str) -> None:
        with self._connections.use() as connection:
            taken = connection.execute(
                "UPDATE curriculum SET writer = %(epoch)s, nonce = %(nonce)s"
                " WHERE name = %(name)s AND writer <= %(epoch)s",
                {"name": name, "epoch": self.epoch, "nonce": self._nonce},
            ).rowcount
            if not taken:
                raise self._fenced(_find(connection, name), name)
        self._note_taken(name)

    def append(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        before, last = first_position - 1, first_position - 1 + len(records)
        try:
            with self._connections.use() as connection:
                written = connection.execute(
                    _APPEND,
                    {
                        "name": name,
                        "nonce": self._nonce,
                        "before": before,
                        "last": last,
                        "checksums": [checksum(at, record) for at, record in enumerate(records, first_position)],
                        "records": list(records),
                    },
                ).fetchone()
                row = None if written == (1,) else self._own(connection, name)
        except StoreUnavailableError:
            self._note_uncertain(name, first_position, records)
            raise
        # Nothing written now. That the journal ends where this append would have ended it, by this very store, after
        # the same append seemed to fail, means that it did not fail.
        if row is not None and not (row.last_position == last and self._was_uncertain(name, first_position, records)):
            raise PositionConflictError(f"{name}: expected position {row.last_position + 1}, got {first_position}")
        self._forget(name)

    def last_position(self, name: str) -> int:
        with self._connections.use() as connection:
            return self._reach(connection, name).last_position

    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]:
        with self._connections.use() as connection:
            row = _find(connection, name)
        return self._read(name, row.number, after, row.last_position)

    def _read(self, name: str, number: int, after: int, last: int) -> Iterator[tuple[int, bytes]]:
        with self._connections.read() as held:
            with held.call() as connection:
                cursor = connection.cursor("journal")
                cursor.execute(
                    "SELECT position, checksum, record FROM journal"
                    " WHERE curriculum_id = %s AND position > %s AND position <= %s ORDER BY position",
                    (number, after, last),
                    binary=True,
                )

            def rows() -> Iterator[tuple[int, int, bytes]]:
                while True:
                    with held.call():
                        some = cursor.fetchmany(_READ_ROWS)
                    if not some:
                        return
                    yield from some

            yield from checked_records(name, rows(), after, last)

    def save_snapshot(self, name: str, position: int, state: bytes) -> None:
        with self._connections.hold() as held:
            with held.call() as connection:
                row = self._own(connection, name)
                if position > row.last_position:
                    raise PositionConflictError(
                        f"{name}: expected a position of at most {row.last_position}, got {position}"
                    )
                connection.execute("BEGIN")
                connection.execute(
                    "DELETE FROM snapshot WHERE curriculum_id = %s AND position = %s", (row.number, position)
                )
            _insert_snapshot(held, row.number, position, state)
            with held.call() as connection:
                connection.execute("COMMIT")

    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
        with self._connections.use() as connection:
            found = connection.execute(
                "SELECT id, position, bytes, checksum FROM snapshot WHERE curriculum_id = %s ORDER BY position DESC",
                (_find(connection, name).number,),
            ).fetchall()
        return self._read_snapshots(name, found)

    def _read_snapshots(self, name: str, found: list[Any]) -> Iterator[tuple[int, bytes]]:
        for number, position, size, expected in found:
            chunks: list[bytes] = []
            for chunk in range(-(-size // _CHUNK_BYTES)):
                with self._connections.use() as connection:
                    row = connection.execute(
                        "SELECT data FROM snapshot_chunk WHERE snapshot_id = %s AND number = %s",
                        (number, chunk),
                        binary=True,
                    ).fetchone()
                chunks += row or ()
            state = b"".join(chunks)
            if len(state) != size or checksum(position, state) != expected:
                _log.error("snapshot_damaged", curriculum=name, position=position, bytes=size, bytes_found=len(state))
                continue
            yield position, state

    def trim(self, name: str, up_to: int, keep_snapshots: int) -> None:
        with self._connections.use() as connection, connection.transaction():
            row = self._own(connection, name)
            kept = connection.execute(
                "SELECT position FROM snapshot WHERE curriculum_id = %s ORDER BY position DESC LIMIT %s",
                (row.number, keep_snapshots),
            ).fetchall()
            if not kept:
                return
            oldest_kept = kept[-1][0]
            connection.execute(
                "DELETE FROM snapshot WHERE curriculum_id = %s AND position < %s", (row.number, oldest_kept)
            )
        self._delete_records(row.number, min(up_to, oldest_kept))

    def close(self) -> None:
        self._connections.close()

    def _own(self, connection: psycopg.Connection[Any], name: str) -> _Row:
        """The curriculum's row. Raises StoreFencedError where this store is not its writer."""
        row = _find(connection, name)
        if row.nonce != self._nonce:
            raise self._fenced(row, name)
        return row

    def _reach(self, connection: psycopg.Connection[Any], name: str) -> _Row:
        """The curriculum's row. Raises StoreFencedError where this store is not its writer, and could not be."""
        row = _find(connection, name)
        with self._lock:
            was_taken = name in self._taken
        if row.nonce != self._nonce and (was_taken or row.writer > self.epoch):
            raise self._fenced(row, name)
        return row

    def _fenced(self, row: _Row, name: str) -> StoreFencedError:
        return StoreFencedError(
            f"{name}: another service has taken this curriculum over (its epoch is {row.writer}, ours {self.epoch})"
        )

    def _delete_records(self, number: int, up_to: int) -> None:
        """Remove a journal's records, a part at a time, so that no statement takes long."""
        while True:
            with self._connections.use() as connection:
                removed = connection.execute(
                    "DELETE FROM journal WHERE curriculum_id = %(number)s AND position IN ("
                    " SELECT position FROM journal WHERE curriculum_id = %(number)s"
                    " AND position <= %(up_to)s ORDER BY position LIMIT %(rows)s)",
                    {"number": number, "up_to": up_to, "rows": _DELETE_ROWS},
                ).rowcount
            if removed < _DELETE_ROWS:
                return

    def _finish_deletion(self, number: int) -> None:
        self._delete_records(number, _LAST)
        with self._connections.use() as connection:
            connection.execute("DELETE FROM deleted WHERE curriculum_id = %s", (number,))

    def _note_uncertain(self, name: str, first_position: int, records: Sequence[bytes]) -> None:
        with self._lock:
            self._uncertain[name] = first_position, _digest(records)

    def _was_uncertain(self, name: str, first_position: int, records: Sequence[bytes]) -> bool:
        """Whether the same append was tried just before, with an outcome that is not known."""
        with self._lock:
            noted = self._uncertain.get(name)
        return noted is not None and noted == (first_position, _digest(records))

    def _forget(self, name: str) -> None:
        with self._lock:
            self._uncertain.pop(name, None)

    def _note_taken(self, name: str) -> None:
        with self._lock:
            self._taken.add(name)
            self._uncertain.pop(name, None)


def _insert_snapshot(held: Held, curriculum: int, position: int, state: bytes) -> None:
    with held.call() as connection:
        number = connection.execute(
            "INSERT INTO snapshot (curriculum_id, position, bytes, checksum) VALUES (%s, %s, %s, %s) RETURNING id",
            (curriculum, position, len(state), checksum(position, state)),
        ).fetchone()
    for chunk, start in enumerate(range(0, len(state), _CHUNK_BYTES)):
        with held.call() as connection:
            connection.execute(
                "INSERT INTO snapshot_chunk (snapshot_id, number, data) VALUES (%s, %s, %b)",
                (*(number or ()), chunk, state[start : start + _CHUNK_BYTES]),
            )


def _some_at_a_time(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The records in lists that are short enough for one statement each."""
    some: list[bytes] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record)
        if len(some) >= _IMPORT_ROWS or size >= _CHUNK_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _find(connection: psycopg.Connection[Any], name: str) -> _Row:
    row = connection.execute(
        "SELECT id, last_position, writer, nonce FROM curriculum WHERE name = %s", (name,)
    ).fetchone()
    if row is None:
        raise CurriculumMissingError(name)
    return _Row(*row)


def _digest(records: Sequence[bytes]) -> bytes:
    """What tells one list of records from another. O(bytes)."""
    digest = hashlib.blake2b(digest_size=16)
    for record in records:
        digest.update(len(record).to_bytes(8, "little"))
        digest.update(record)
    return digest.digest()

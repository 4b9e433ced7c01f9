"""Reading a SQLite store beside the service that has it open: one moment of it, and no lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog

from syllabus_service.store.base import StoredCurriculum, StoreUnavailableError, StoreVersionError
from syllabus_service.store.checksum import checked_records, checksum
from syllabus_service.store.sqlite import DATABASE_NAME, SCHEMA_VERSION

_log = structlog.get_logger(__name__)


class SqliteReader:
    """What ``DIR/syllabus.sqlite3`` holds, as of the moment at which it was opened.

    It reads in one transaction, so that a service may write, take snapshots and trim meanwhile; its log is not folded
    into the file as long. Used from one thread.

    Args:
        data_dir: the directory of a service that runs, or of one that is stopped. It must be writable: SQLite keeps an
            index of the log there, which readers share.

    Raises:
        StoreUnavailableError: there is no store, or it cannot be read.
        StoreVersionError: the file is of a later version of this program.
    """

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / DATABASE_NAME
        if not path.is_file():
            raise StoreUnavailableError(f"{data_dir}: there is no {DATABASE_NAME}")
        with _unavailable_on_error():
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            try:
                self._connection.execute("BEGIN")
                version = self._connection.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA_VERSION:
                    raise StoreVersionError(
                        f"{path} is of version {version}; this program knows up to {SCHEMA_VERSION}"
                    )
                self._connection.execute("SELECT count(*) FROM curriculum").fetchone()  # now the moment is fixed
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the transaction."""
        self._connection.close()

    def list_curricula(self) -> list[StoredCurriculum]:
        """All curricula, ordered by name."""
        rows = self._rows("SELECT name, incarnation, spec FROM curriculum ORDER BY name")
        return [StoredCurriculum(name, int.from_bytes(incarnation, "big"), spec) for name, incarnation, spec in rows]

    def snapshots(self, name: str) -> Iterator[tuple[int, bytes]]:
        """The snapshots, newest first, each with its position; damaged ones are logged and left out."""
        found = self._rows(
            "SELECT snapshot.id, position, bytes, checksum FROM snapshot"
            " JOIN curriculum ON curriculum.id = curriculum_id"
            " WHERE name = ? AND bytes IS NOT NULL ORDER BY position DESC",
            name,
        )
        for number, position, size, expected in list(found):
            chunks = self._rows("SELECT data FROM snapshot_chunk WHERE snapshot_id = ? ORDER BY number", number)
            state = b"".join(chunk for (chunk,) in chunks)
            if len(state) != size or checksum(position, state) != expected:
                _log.error("snapshot_damaged", curriculum=name, position=position, bytes=size, bytes_found=len(state))
                continue
            yield position, state

    def read(self, name: str, after: int) -> Iterator[tuple[int, bytes]]:
        """The records behind position ``after``, in order, each with its position.

        Raises CorruptJournalError at a record that is damaged or not there.
        """
        (number, last), *_ = [*self._rows("SELECT id, last_position FROM curriculum WHERE name = ?", name), (0, after)]
        rows = self._rows(
            "SELECT position, checksum, record FROM journal WHERE curriculum_id = ? AND position > ? ORDER BY position",
            number,
            after,
        )
        yield from checked_records(name, rows, after, last)

    def _rows(self, query: str, *values: object) -> Iterator[tuple]:
        with _unavailable_on_error():
            yield from self._connection.execute(query, values)


@contextmanager
def _unavailable_on_error() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError(f"the database cannot be read: {error}") from error

"""The tables of the PostgreSQL store, and how a database gets them."""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from syllabus_service.store.base import StoreVersionError

# A curriculum's number is never used again, and stands in `deleted` until its records are gone, too. `writer` is the
# epoch of the store that writes its journal. Records and chunks are stored as they are (EXTERNAL): compressing them
# would cost more than the disk it saves.
_VERSION_1 = """
CREATE TABLE store (
    single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
    version INTEGER NOT NULL,
    identity TEXT NOT NULL,
    epoch BIGINT NOT NULL
);
CREATE TABLE curriculum (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    incarnation NUMERIC(20, 0) NOT NULL,
    spec BYTEA NOT NULL,
    last_position BIGINT NOT NULL,
    writer BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE journal (
    curriculum_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    record BYTEA NOT NULL,
    PRIMARY KEY (curriculum_id, position)
);
ALTER TABLE journal ALTER COLUMN record SET STORAGE EXTERNAL;
CREATE TABLE deleted (
    curriculum_id BIGINT PRIMARY KEY
);
CREATE TABLE snapshot (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    curriculum_id BIGINT NOT NULL REFERENCES curriculum ON DELETE CASCADE,
    position BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    checksum BIGINT NOT NULL,
    UNIQUE (curriculum_id, position)
);
CREATE TABLE snapshot_chunk (
    snapshot_id BIGINT NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    number INTEGER NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (snapshot_id, number)
);
ALTER TABLE snapshot_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
"""

# Epochs can come twice: a standby that is promoted may not have received the last of them. `nonce` is the random number
# of the store that is the writer; 0 is nobody's, so that each curriculum of an earlier version has to be taken over
# before it is written. A service of that version which still runs knows only `writer`, and is fenced by that.
_VERSION_2 = """
ALTER TABLE curriculum ADD COLUMN nonce BIGINT NOT NULL DEFAULT 0;
"""

# Statements that bring a database from version n to n + 1. One that has landed is never changed.
_MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2)
SCHEMA_VERSION = len(_MIGRATIONS)

_LOCK_CLASS = 0x5911AB05  # any number that is ours


@dataclass(frozen=True)
class Opened:
    """What opening a database gave."""

    identity: str
    """Which database this is, from its first migration on."""
    epoch: int
    """Higher than that of every store that was opened before, as far as this database knows."""


def open_schema(connection: psycopg.Connection[Any], schema: str) -> Opened:
    """Make or migrate the tables, and take an epoch, in one transaction that others who do so wait for.

    Raises StoreVersionError where the tables are of a version that this program does not know.
    """
    with connection.transaction():
        # Whatever later commits wait for, an epoch must not come twice: this one waits for the disk.
        connection.execute("SET LOCAL synchronous_commit TO on")
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK_CLASS, _signed(zlib.crc32(schema.encode()))))
        version = _version(connection, schema)
        if version > SCHEMA_VERSION:
            raise StoreVersionError(
                f"schema {schema} of the database is of version {version}; this program knows up to {SCHEMA_VERSION}"
            )
        for migration in _MIGRATIONS[version:]:
            connection.execute(migration)
        if version == 0:
            connection.execute(
                "INSERT INTO store (version, identity, epoch) VALUES (%s, %s, 0)",
                (SCHEMA_VERSION, secrets.token_hex(16)),
            )
        row = connection.execute(
            "UPDATE store SET version = %s, epoch = epoch + 1 RETURNING identity, epoch", (SCHEMA_VERSION,)
        ).fetchone()
    if row is None:
        raise StoreVersionError(f"schema {schema} of the database is incomplete: its table store is empty")
    return Opened(*row)


def _version(connection: psycopg.Connection[Any], schema: str) -> int:
    """The version of the tables; 0, with an empty schema made, where there are none."""
    found = connection.execute(
        "SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL, to_regclass(format('%%I.store', %s::text)) IS NOT NULL",
        (schema, schema),
    ).fetchone()
    has_schema, has_tables = found or (False, False)
    if not has_schema:  # IF NOT EXISTS would ask for the right to make one even where it exists
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    if not has_tables:
        return 0
    row = connection.execute("SELECT version FROM store").fetchone()
    return 0 if row is None else int(row[0])


def _signed(value: int) -> int:
    """A 32-bit number as PostgreSQL's integer."""
    return value - (1 << 32) if value >= 1 << 31 else value

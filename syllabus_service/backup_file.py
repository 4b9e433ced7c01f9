"""The file of a backup: curricula with their snapshots and journals, checksummed, and complete only with its last part.

A file begins with ``SYLBACKUP`` and a version (2 bytes). Then come parts: a kind (1 byte), a CRC-32 of the part's
content, begun at the part's number (4 bytes), the content's length (8 bytes), and the content; all numbers are
little-endian. For each curriculum there is one part that says what it is, at most one with a snapshot, one for each
record of the journal behind it, and one with its last position. The last part has the number of curricula and a SHA-256
of everything before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from syllabus_service.store import StoredCurriculum

VERSION = 1

_MAGIC = b"SYLBACKUP"
_START = struct.Struct("<9sH")
_PART = struct.Struct("<BIQ")
_POSITION = struct.Struct("<Q")
_END = struct.Struct("<Q32s")


_NO_BACKUP = "the file is no backup of a curriculum service"
_CUT_SHORT = "the backup is cut short or damaged: what should come next is not there"


class BackupError(Exception):
    """The file is no backup, is damaged or cut short, or is of a version that this program does not know."""


class _Kind(IntEnum):
    CURRICULUM = 1
    SNAPSHOT = 2
    RECORD = 3
    CURRICULUM_END = 4
    END = 5


@dataclass(frozen=True)
class BackedUp:
    """A curriculum of a file."""

    stored: StoredCurriculum
    """What it is."""
    snapshot: tuple[int, bytes] | None
    """A position and the state there; None where the records begin at the beginning."""
    records: Iterator[bytes]
    """The journal behind it; to be read to its end before the next curriculum is asked for."""


class BackupWriter:
    """Writes a file, part by part. Without ``end`` it is not complete, and nobody restores it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._number = 0
        self._curricula = 0
        self._write(_START.pack(_MAGIC, VERSION))

    def curriculum(self, stored: StoredCurriculum) -> None:
        """Begin a curriculum."""
        about = {"name": stored.name, "incarnation": stored.incarnation, "spec": base64.b64encode(stored.spec).decode()}
        self._part(_Kind.CURRICULUM, json.dumps(about).encode())
        self._curricula += 1

    def snapshot(self, position: int, state: bytes) -> None:
        """The state at a position, before any record."""
        self._part(_Kind.SNAPSHOT, _POSITION.pack(position), state)

    def record(self, record: bytes) -> None:
        """The next record of the journal."""
        self._part(_Kind.RECORD, record)

    def end_curriculum(self, last_position: int) -> None:
        """End a curriculum."""
        self._part(_Kind.CURRICULUM_END, _POSITION.pack(last_position))

    def end(self) -> None:
        """End the file."""
        self._part(_Kind.END, _END.pack(self._curricula, self._digest.digest()))
        self._stream.flush()

    def _part(self, kind: _Kind, *contents: bytes) -> None:
        crc = self._number
        for content in contents:
            crc = zlib.crc32(content, crc)
        self._write(_PART.pack(kind, crc, sum(map(len, contents))))
        for content in contents:
            self._write(content)
        self._number += 1

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)


def read_backup(stream: BinaryIO) -> Iterator[BackedUp]:
    """The curricula of a file that can be sought in, one after the other. O(file); in memory one snapshot or record.

    The iterator ends only behind the file's last part, whose digest was that of the file. Raises BackupError.
    """
    try:
        yield from _curricula(_Parts(stream), stream)
    except (struct.error, ValueError, LookupError, TypeError) as error:  # right checksums around nonsense
        raise BackupError(f"the backup is damaged: {error!r}") from error


def _curricula(parts: _Parts, stream: BinaryIO) -> Iterator[BackedUp]:
    count = 0
    while (part := parts.next())[0] is _Kind.CURRICULUM:
        stored = _stored(part[1])
        snapshot: tuple[int, bytes] | None = None
        kind, content = parts.next()
        if kind is _Kind.SNAPSHOT:
            snapshot = (*_POSITION.unpack_from(content), content[_POSITION.size :])
            kind, content = parts.next()
        reading = _records(parts, kind, content, 0 if snapshot is None else snapshot[0], stored.name)
        yield BackedUp(stored, snapshot, reading)
        for _ in reading:  # whatever the caller has left
            pass
        count += 1
    kind, content = part
    if kind is not _Kind.END or content != _END.pack(count, parts.digest_before_last):
        raise BackupError("the backup is damaged: its end does not fit what is before it")
    if stream.read(1):
        raise BackupError("the backup is damaged: something comes after its end")


def _records(parts: _Parts, kind: _Kind, content: bytes, position: int, name: str) -> Iterator[bytes]:
    while kind is _Kind.RECORD:
        yield content
        position += 1
        kind, content = parts.next()
    if kind is not _Kind.CURRICULUM_END or content != _POSITION.pack(position):
        raise BackupError(f"the backup is damaged: the journal of {name} does not end where it should")


def _stored(content: bytes) -> StoredCurriculum:
    about = json.loads(content)
    return StoredCurriculum(about["name"], about["incarnation"], base64.b64decode(about["spec"]))


class _Parts:
    """The parts of a file, in order, each checked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._number = 0
        self.digest_before_last = b""
        """Of everything before the part that was read last."""
        self._left = stream.seek(0, 2)
        stream.seek(0)
        magic, version = _START.unpack(self._read(_START.size, _NO_BACKUP))
        if magic != _MAGIC:
            raise BackupError(_NO_BACKUP)
        if not 1 <= version <= VERSION:
            raise BackupError(f"the backup is of format version {version}; this program knows up to {VERSION}")

    def next(self) -> tuple[_Kind, bytes]:
        """The next part. Raises BackupError where there is none, or where it is damaged."""
        self.digest_before_last = self._digest.digest()
        kind, crc, length = _PART.unpack(self._read(_PART.size, _CUT_SHORT))
        content = self._read(length, _CUT_SHORT)
        if zlib.crc32(content, self._number) != crc:
            raise BackupError(f"the backup is damaged: part {self._number} does not fit its checksum")
        self._number += 1
        return _Kind(kind), content

    def _read(self, size: int, otherwise: str) -> bytes:
        if size > self._left:
            raise BackupError(otherwise)
        self._left -= size
        data = self._stream.read(size)
        self._digest.update(data)
        return data

"""The checksum that every durable store keeps beside a record and a snapshot."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from syllabus_service.store.base import CorruptJournalError


def checksum(position: int, data: bytes) -> int:
    """CRC-32 of the data, begun at the position, so that a row in the wrong place is damaged, too. O(bytes)."""
    return zlib.crc32(data, position & 0xFFFFFFFF)


def checked_records(
    name: str, rows: Iterable[tuple[int, int, bytes]], after: int, last: int
) -> Iterator[tuple[int, bytes]]:
    """The records of a journal behind position ``after``, up to ``last``, each with its position.

    Args:
        name: of the curriculum, for the error.
        rows: position, checksum and record, in order.

    Raises CorruptJournalError at a record that is damaged or not there.
    """
    expected = after + 1
    for position, stored, record in rows:
        if position != expected:
            break
        if stored != checksum(position, record):
            raise CorruptJournalError(f"{name}: record {position} is damaged")
        yield position, record
        expected += 1
    if expected <= last:
        raise CorruptJournalError(f"{name}: record {expected} is missing")

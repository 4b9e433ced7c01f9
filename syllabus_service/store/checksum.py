"""The checksum that every durable store keeps beside a record and a snapshot."""

from __future__ import annotations

import zlib


def checksum(position: int, data: bytes) -> int:
    """CRC-32 of the data, begun at the position, so that a row in the wrong place is damaged, too. O(bytes)."""
    return zlib.crc32(data, position & 0xFFFFFFFF)

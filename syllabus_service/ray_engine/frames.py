"""Frames: what a front door and its link to Ray, two processes of one machine, say to each other."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("!BQHI")  # kind, number, bytes of the name, bytes of the body


class Kind(IntEnum):
    """What a frame says."""

    READY = 1
    """Link to door: Ray is there."""
    CALL = 2
    """Door to link: call the actor of the curriculum ``name`` with ``body``."""
    FORGET = 3
    """Door to link: end the actor of the curriculum ``name`` for good, if there is one."""
    ANSWER = 4
    """Link to door: what the actor answered to the call of this number."""
    LOST = 5
    """Link to door: the call of this number has no answer; ``body`` says why."""
    NO_RAY = 6
    """Link to door: Ray is not there, for as long as nothing else is said; ``body`` says why."""


@dataclass(frozen=True)
class Frame:
    """One message."""

    kind: Kind
    number: int = 0
    """Of the call."""
    name: str = ""
    """Of the curriculum."""
    body: bytes = b""

    def write(self, writer: asyncio.StreamWriter) -> None:
        """Send it, without waiting."""
        name = self.name.encode()
        writer.writelines((_HEADER.pack(self.kind, self.number, len(name), len(self.body)), name, self.body))

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Frame:
        """The next one. Raises IncompleteReadError or ConnectionError where there will be none."""
        kind, number, name_size, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        name = (await reader.readexactly(name_size)).decode()
        return cls(Kind(kind), number, name, await reader.readexactly(size))

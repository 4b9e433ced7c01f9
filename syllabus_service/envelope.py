"""Envelope: a response whose one large field is a message that exists already."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from syllabus_client.wire import codec


@dataclass(slots=True)
class Envelope:
    """What is sent like the message ``outer`` with ``inner`` in its field ``field_number``.

    To set a field to a message copies it, by serializing and parsing it; this serializes it once, when it is sent.
    """

    field_number: int
    inner: Message
    outer: bytes = b""
    """The other fields, serialized."""

    def SerializeToString(self) -> bytes:
        """As of a message."""
        return codec.embedded(self.field_number, self.inner.SerializeToString()) + self.outer

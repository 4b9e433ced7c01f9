"""Batches without a reply: numbered, kept until they are answered, and sent again after a reconnect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syllabus_client.wire import curriculum_pb2 as pb


@dataclass(slots=True)
class SentBatch:
    """A batch without a reply."""

    message: pb.SessionBatch
    rows: int
    """Rows in it."""
    ended: int
    """How many of them end an assignment."""
    sent_at: float
    """When it was sent first, in seconds."""
    resent: bool = False
    """Whether it was sent again, so that its reply tells nothing of a round trip."""


class SentBatches:
    """The batches of one life of a session, by sequence. All methods O(batches without a reply) or less."""

    def __init__(self) -> None:
        self.last_sequence = 0
        """Of the newest batch."""
        self.acknowledged = 0
        """The highest sequence up to which all batches were answered."""
        self._unanswered: dict[int, SentBatch] = {}

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def num_rows(self) -> int:
        """Rows in all of them."""
        return sum(sent.rows for sent in self._unanswered.values())

    def get(self, sequence: int) -> SentBatch | None:
        """The batch of a sequence, where it has no reply."""
        return self._unanswered.get(sequence)

    def add(self, batch: pb.MetricsBatch, rows: int, ended: int, now: float) -> pb.SessionBatch:
        """Number a batch, and keep it."""
        self.last_sequence += 1
        message = pb.SessionBatch(sequence=self.last_sequence, acknowledged_sequence=self.acknowledged, batch=batch)
        self._unanswered[self.last_sequence] = SentBatch(message, rows, ended, now)
        return message

    def answered(self, sequence: int) -> SentBatch | None:
        """Forget a batch that was answered, and return it; None for a duplicate."""
        sent = self._unanswered.pop(sequence, None)
        if sent is not None:
            while self.acknowledged < self.last_sequence and self.acknowledged + 1 not in self._unanswered:
                self.acknowledged += 1
        return sent

    def agrees(self, applied: int) -> bool:
        """Whether a service that applied batches up to this one can be the one that they were sent to."""
        return self.acknowledged <= applied <= self.last_sequence

    def again(self) -> Iterator[pb.SessionBatch]:
        """All of them, in order, to be sent again with the contents that they had."""
        for sent in self._unanswered.values():
            sent.resent = True
            sent.message.acknowledged_sequence = self.acknowledged
            sent.message.ClearField("client_statistics")
            yield sent.message

    def clear(self) -> None:
        """Give them up."""
        self._unanswered.clear()

"""The bounds of the service: beyond them a sender is refused or slowed, never silently dropped."""

from __future__ import annotations

from dataclasses import dataclass

from syllabus_client.wire import curriculum_pb2 as pb


@dataclass(frozen=True)
class Limits:
    """Bounds, with defaults for one server of a few cores."""

    max_message_bytes: int = 64 * 1024 * 1024
    """Largest message in either direction, in bytes."""
    max_tasks_per_request: int = 65_536
    """Most tasks that one request may draw."""
    max_rows_per_batch: int = 65_536
    """Most episodes, progress reports, steps or releases in one batch."""
    max_unacknowledged_batches: int = 32
    """Most batches of one session without a reply, and most replies kept for being asked again."""
    max_open_assignments: int = 262_144
    """Most assignments that one session may hold."""
    max_sessions: int = 16_384
    """Most sessions of one curriculum that are remembered."""
    max_curricula: int = 1_024
    """Most curricula."""
    max_agent_bytes: int = 32 * 1024 * 1024
    """Largest agent, in bytes."""
    max_metrics: int = 64
    """Most named metrics, agents or arrays in one message."""
    session_retention_seconds: float = 3600.0
    """How long a session is remembered after its lease ran out, so that what it resends is still recognised."""

    def to_proto(self) -> pb.Limits:
        """The bounds that a client must know."""
        return pb.Limits(
            max_message_bytes=self.max_message_bytes,
            max_tasks_per_request=self.max_tasks_per_request,
            max_rows_per_batch=self.max_rows_per_batch,
            max_unacknowledged_batches=self.max_unacknowledged_batches,
            max_open_assignments=self.max_open_assignments,
        )

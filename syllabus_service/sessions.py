"""The sessions of a curriculum: what each has said, and the answers that it may ask for again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import BY_CODE, FailedPrecondition, RequestError, ResourceExhausted

Reply = pb.BatchReply | pb.CustomUpdateResponse | pb.AddAgentResponse | pb.RestoreCheckpointResponse
Answer = Reply | RequestError

_REPLY_TYPES: dict[str, type[Reply]] = {
    reply.__name__: reply
    for reply in (pb.BatchReply, pb.CustomUpdateResponse, pb.AddAgentResponse, pb.RestoreCheckpointResponse)
}


_FINGERPRINT_BYTES = 8192


@dataclass
class KeptAnswer:
    """The answer to a command that may be resent."""

    fingerprint: int
    """Of the command's payload."""
    answer: Answer


@dataclass
class Session:
    """One client process, or what is remembered of it."""

    index: int
    """Its number in the assignment table."""
    sequence: int = 0
    """The last command that was applied."""
    num_open: int = 0
    """Assignments that it holds."""
    lost: bool = False
    """Whether it ended, or its lease ran out: it holds nothing, and may be forgotten."""
    answers: dict[int, KeptAnswer] = field(default_factory=dict)
    """By sequence, in order; those that the client has are forgotten."""


class SessionTable:
    """All sessions by id.

    Args:
        max_sessions: most sessions that are remembered.
        max_answers: most answers that are kept for one session.
    """

    def __init__(self, max_sessions: int, max_answers: int) -> None:
        self._max_sessions = max_sessions
        self._max_answers = max_answers
        self._sessions: dict[str, Session] = {}
        self._by_index: dict[int, Session] = {}
        self._next_index = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    @property
    def num_live(self) -> int:
        """Sessions that have not ended and whose lease has not run out. O(sessions)."""
        return sum(not session.lost for session in self._sessions.values())

    def get(self, session_id: str) -> Session | None:
        """The session, or None where it is not known."""
        return self._sessions.get(session_id)

    def names(self) -> dict[int, str]:
        """The id of each session by its index. O(sessions)."""
        return {session.index: session_id for session_id, session in self._sessions.items()}

    def by_index(self, index: int) -> Session:
        """The session with this index."""
        return self._by_index[index]

    def admit(self, session_id: str, sequence: int, acknowledged: int, payload: bytes) -> Answer | None:
        """Whether a command is the session's next: None. The kept answer where it was applied before. Changes nothing.

        Raises:
            FailedPrecondition: a gap; another content under a sequence that was applied; or an answer that is not kept.
            ResourceExhausted: too many sessions, or too many answers that the session has not acknowledged.
        """
        session = self._sessions.get(session_id)
        last = 0 if session is None else session.sequence
        if sequence > last + 1:
            raise FailedPrecondition(
                f"sequence: expected {last + 1} in session {session_id!r}, got {sequence}", field="sequence"
            )
        if session is None:
            if len(self._sessions) >= self._max_sessions:
                raise ResourceExhausted(f"session_id: {self._max_sessions} sessions are remembered, and none may join")
            return None
        if sequence <= last:
            return self._answer_again(session, session_id, sequence, payload)
        unacknowledged = sum(1 for kept in session.answers if kept > acknowledged)
        if unacknowledged >= self._max_answers:
            raise ResourceExhausted(
                f"acknowledged_sequence: {unacknowledged} replies of session {session_id!r} are not acknowledged, "
                f"and at most {self._max_answers} are kept",
                field="acknowledged_sequence",
            )
        return None

    def begin(self, session_id: str, sequence: int, acknowledged: int) -> Session:
        """Take an admitted command's place in its session; answers that the client has are forgotten."""
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = Session(self._next_index)
            self._by_index[session.index] = session
            self._next_index += 1
        session.sequence = sequence
        session.lost = False
        for old in [kept for kept in session.answers if kept <= acknowledged]:
            del session.answers[old]
        return session

    def keep(self, session: Session, sequence: int, payload: bytes, answer: Answer) -> None:
        """Keep the answer to the command that was just applied."""
        session.answers[sequence] = KeptAnswer(_fingerprint(payload), answer)

    def forget(self, session_id: str) -> None:
        """Forget a session; what it resends will not be recognised."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            del self._by_index[session.index]

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""
        return {
            "next_index": self._next_index,
            "sessions": {
                session_id: {
                    "index": session.index,
                    "sequence": session.sequence,
                    "num_open": session.num_open,
                    "lost": session.lost,
                    "answers": [
                        (sequence, kept.fingerprint, *_pack(kept.answer)) for sequence, kept in session.answers.items()
                    ],
                }
                for session_id, session in self._sessions.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exactly the state that ``state_dict`` gave."""
        self._next_index = state["next_index"]
        self._sessions = {}
        for session_id, packed in state["sessions"].items():
            answers = {
                sequence: KeptAnswer(fingerprint, _unpack(kind, data))
                for sequence, fingerprint, kind, data in packed["answers"]
            }
            self._sessions[session_id] = Session(
                packed["index"], packed["sequence"], packed["num_open"], packed["lost"], answers
            )
        self._by_index = {session.index: session for session in self._sessions.values()}

    def _answer_again(self, session: Session, session_id: str, sequence: int, payload: bytes) -> Answer:
        kept = session.answers.get(sequence)
        if kept is None:
            raise FailedPrecondition(
                f"sequence: {sequence} of session {session_id!r} was applied, and its reply was acknowledged",
                field="sequence",
            )
        if kept.fingerprint not in (_fingerprint(payload), zlib.crc32(payload)):  # the latter: of an earlier program
            raise FailedPrecondition(
                f"sequence: {sequence} of session {session_id!r} was applied with another content: "
                "do two clients use this session id?",
                field="sequence",
            )
        return kept.answer


def _fingerprint(payload: bytes) -> int:
    """CRC-32 of a payload, of every k-th byte of a large one, so that 8 KiB are looked at: it tells contents apart that
    were not meant to differ in a few bytes only, such as those of two clients with one session id."""
    return zlib.crc32(payload[:: 1 + len(payload) // _FINGERPRINT_BYTES])


def _pack(answer: Answer) -> tuple[str, Any]:
    if isinstance(answer, RequestError):
        return answer.code, [answer.message, answer.field]
    return type(answer).__name__, answer.SerializeToString(deterministic=True)


def _unpack(kind: str, data: Any) -> Answer:
    if kind in BY_CODE:
        return BY_CODE[kind](data[0], field=data[1], applied=True)
    return _REPLY_TYPES[kind].FromString(data)

"""CurriculumHost: one curriculum as a deterministic state machine; no threads, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.curricula import Curriculum
from syllabus_service.errors import FailedPrecondition, InvalidArgument, NotFound, RequestError, ResourceExhausted
from syllabus_service.limits import Limits
from syllabus_service.metrics.runner_tallies import StateCounts
from syllabus_service.readings import fill_statistics, read_distribution, read_statistics
from syllabus_service.sessions import Answer
from syllabus_service.state import CurriculumState
from syllabus_service.transitions import CurriculumFailure, Transitions, self_play


@dataclass
class MicroBatch:
    """What came of a number of commands."""

    records: list[bytes] = field(default_factory=list)
    """Journal records of the commands that were applied, in order; the first is number ``first_position``."""
    first_position: int = 1
    answers: list[Answer] = field(default_factory=list)
    """One answer per command. None of them may leave before all the records are in the journal."""
    failures: list[CurriculumFailure] = field(default_factory=list)
    """What the curriculum raised."""


class CurriculumHost:
    """Applies commands to one curriculum in one order, each once.

    State is what commands made of it (``CurriculumState``). When each session was last heard is not state: it only
    decides when ``expire`` proposes a command.

    Args:
        curriculum: the algorithm; the host owns it from now on.
        limits: bounds.
        lease_seconds: how long a session may stay silent before its assignments are abandoned.
    """

    def __init__(self, curriculum: Curriculum, *, limits: Limits | None = None, lease_seconds: float = 120.0) -> None:
        self.curriculum = curriculum
        self.task_space = curriculum.task_space
        self.limits = limits or Limits()
        self.lease_seconds = lease_seconds
        self._state = CurriculumState(curriculum, self.limits)
        self._transitions = Transitions(self._state)
        self._last_heard: dict[str, float] = {}
        self.num_replayed = 0
        """How many commands were replayed behind the last snapshot that was loaded."""

    @property
    def position(self) -> int:
        """Number of commands applied."""
        return self._state.position

    # Commands

    def apply(self, commands: Sequence[c.Command], now: float = 0.0) -> MicroBatch:
        """Apply commands in order. A refused command changes nothing and leaves no record."""
        batch = MicroBatch(first_position=self.position + 1)
        for command in commands:
            try:
                answer = self._admit(command)
                if answer is None:
                    answer = self._transitions.run(command)
                    batch.records.append(command.to_record())
            except RequestError as refusal:
                answer = refusal
            batch.answers.append(answer)
            self.touch(command.session_id, now)
        batch.failures = self._take_failures()
        return batch

    def replay(self, record: bytes) -> None:
        """Apply a record of the journal."""
        self._transitions.run(c.Command.from_record(record, self.task_space))
        self.num_replayed += 1
        self._take_failures()

    def _take_failures(self) -> list[CurriculumFailure]:
        failures, self._transitions.failures = self._transitions.failures, []
        return failures

    def _admit(self, command: c.Command) -> Answer | None:
        """The kept answer of a command that was applied before, or None. Raises RequestError for a refused one."""
        if not command.session_id:
            return None
        kept = self._state.sessions.admit(command.session_id, command.sequence, command.acknowledged, command.payload)
        if kept is not None:
            return kept
        if isinstance(command.body, c.Metrics):
            session = self._state.sessions.get(command.session_id)
            held = (session.num_open if session else 0) + command.body.num_tasks
            if held > self.limits.max_open_assignments:
                raise ResourceExhausted(
                    f"num_tasks: the session would hold {held} assignments, and at most "
                    f"{self.limits.max_open_assignments} are allowed",
                    field="num_tasks",
                )
        elif isinstance(command.body, c.AddAgent):
            self_play(self.curriculum, "add_agent")
        elif isinstance(command.body, c.RestoreCheckpoint):
            self._rehearse_restore(command.body)
        return None

    def _rehearse_restore(self, body: c.RestoreCheckpoint) -> None:
        """Raise RequestError, and leave everything as it was, unless the checkpoint can be restored. O(state)."""
        try:
            before = self.snapshot()
        except NotImplementedError as error:
            raise FailedPrecondition(f"curriculum: {error}", field="curriculum") from error
        try:
            self._transitions.restore(body)
        except RequestError:
            raise
        except Exception as error:  # whatever a forged blob makes a curriculum's load_state_dict raise
            raise InvalidArgument(f"checkpoint: {error}", field="checkpoint") from error
        finally:
            self.load_snapshot(before)
            self._take_failures()

    # Snapshots

    def snapshot(self) -> bytes:
        """The whole state, of snapshots and of checkpoints.

        Raises NotImplementedError where the curriculum cannot be saved.
        """
        return self._state.snapshot()

    def capture(self) -> dict[str, Any]:
        """What ``snapshot`` encodes: copies, so that ``encode_state`` may take its time in another thread.

        Raises NotImplementedError where the curriculum cannot be saved.
        """
        return self._state.capture()

    def load_snapshot(self, data: bytes) -> None:
        """Restore exactly the state of ``snapshot``.

        Raises CorruptStateError, or FailedPrecondition for the snapshot of another algorithm or task space.
        """
        self._state.load_snapshot(data)
        self.num_replayed = 0

    # Leases

    def touch(self, session_id: str, now: float) -> None:
        """Note that a session was heard; one that is not known has no lease."""
        if self._state.sessions.get(session_id) is not None:
            self._last_heard[session_id] = now

    def applied_sequence(self, session_id: str) -> int:
        """The last sequence of a session that was applied; 0 for one that is not known."""
        session = self._state.sessions.get(session_id)
        return 0 if session is None else session.sequence

    def renew_leases(self, now: float) -> None:
        """Start every session's lease anew: after a restart, or when the service could not hear anybody."""
        for session_id in self._state.sessions:
            self._last_heard[session_id] = now

    def expire(self, now: float) -> c.Command | None:
        """The command that ends the leases that have run out by ``now``, or None. O(sessions)."""
        expired, forgotten = [], []
        self._last_heard = {
            known: heard for known, heard in self._last_heard.items() if self._state.sessions.get(known)
        }
        crowded = len(self._state.sessions) > 0.9 * self.limits.max_sessions
        retention = 0.0 if crowded else self.limits.session_retention_seconds
        for session_id in self._state.sessions:
            silent = now - self._last_heard.get(session_id, now)
            session = self._state.sessions.get(session_id)
            if session is None or silent < self.lease_seconds:
                continue
            if not session.lost:
                expired.append(session_id)
            elif silent >= self.lease_seconds + retention:
                forgotten.append(session_id)
        return c.expire_command(tuple(expired), tuple(forgotten)) if expired or forgotten else None

    # Reading

    def distribution(self, top_n: int = 0) -> pb.GetDistributionResponse:
        """The distribution, or its top_n tasks. Raises FailedPrecondition where there is none. O(N)."""
        return read_distribution(self.curriculum, self.position, top_n)

    def statistics(self, request: pb.GetStatisticsRequest) -> pb.GetStatisticsResponse:
        """Statistics of chosen tasks, or of those that have an episode. Raises InvalidArgument. O(N)."""
        return read_statistics(self._state.statistics, self.task_space, self.position, request)

    def counts(self) -> StateCounts:
        """What the state counts. O(sessions)."""
        counters, assignments = self._state.counters, self._state.assignments
        return StateCounts(
            num_sessions=self._state.sessions.num_live,
            num_open_assignments=len(assignments),
            num_assignments=assignments.num_opened,
            num_abandoned=counters.num_abandoned,
            num_episodes=int(self._state.statistics.total.num_episodes[0]),
            num_steps=counters.num_steps,
            num_rejected=counters.num_rejected,
            num_curriculum_errors=counters.num_curriculum_errors,
            task_age_sum=counters.task_age_sum,
            task_age_count=counters.task_age_count,
        )

    def summary(self, top_n: int = 0) -> pb.WatchCurriculumResponse:
        """How the curriculum stands. O(N)."""
        counters, total = self._state.counters, self._state.statistics.total
        summary = pb.WatchCurriculumResponse(
            position=self.position,
            num_episodes=int(total.num_episodes[0]),
            num_steps=counters.num_steps,
            num_assignments=self._state.assignments.num_opened,
            num_abandoned=counters.num_abandoned,
            num_open_assignments=len(self._state.assignments),
            num_sessions=self._state.sessions.num_live,
            num_rejected=counters.num_rejected,
            mean_task_age=counters.task_age_sum / max(counters.task_age_count, 1),
            num_curriculum_errors=counters.num_curriculum_errors,
            last_curriculum_error=counters.last_curriculum_error,
        )
        try:
            summary.distribution.CopyFrom(self.distribution(top_n or 1))
        except FailedPrecondition:
            summary.ClearField("distribution")  # a space that is not enumerable has none
        fill_statistics(summary.total, total.rows(np.zeros(1, np.int64)))
        return summary

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of a stored agent. Raises NotFound."""
        try:
            return self_play(self.curriculum, "get_agent")(agent_id)
        except (ValueError, LookupError) as error:
            raise NotFound(f"agent_id: {error}", field="agent_id") from error

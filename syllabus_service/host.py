"""CurriculumHost: one curriculum as a deterministic state machine; no threads, no clock, no I/O."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.assignments import AssignmentTable
from syllabus_service.curricula import TRAIN, Curriculum, Draw
from syllabus_service.errors import FailedPrecondition, InvalidArgument, NotFound, RequestError, ResourceExhausted
from syllabus_service.limits import Limits
from syllabus_service.readings import fill_statistics, read_distribution, read_statistics
from syllabus_service.sessions import Answer, Session, SessionTable
from syllabus_service.state_codec import decode_state, encode_state
from syllabus_service.statistics import EpisodeStatistics


@dataclass(frozen=True)
class CurriculumFailure:
    """A curriculum raised: for the log."""

    session_id: str
    method: str
    error: str
    trace: str


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


@dataclass
class Counters:
    """Totals since the curriculum was created."""

    num_steps: int = 0
    num_abandoned: int = 0
    num_rejected: int = 0
    num_curriculum_errors: int = 0
    last_curriculum_error: str = ""
    task_age_sum: int = 0
    task_age_count: int = 0


class CurriculumHost:
    """Applies commands to one curriculum in one order.

    State is what commands made of it: the curriculum, sessions, open assignments, statistics, counters. When each
    session was last heard is not state: it only decides when ``expire`` proposes a command.

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
        self.position = 0
        self.counters = Counters()
        self._sessions = SessionTable(self.limits.max_sessions, self.limits.max_unacknowledged_batches)
        self._assignments = AssignmentTable(self.task_space.encoded_shape, self.task_space.encoded_dtype)
        self._statistics = EpisodeStatistics(self.task_space.num_tasks)
        self._last_heard: dict[str, float] = {}
        self._failures: list[CurriculumFailure] = []
        self._columnar = type(curriculum).update_on_episodes is not Curriculum.update_on_episodes

    # Commands

    def apply(self, commands: Sequence[c.Command], now: float = 0.0) -> MicroBatch:
        """Apply commands in order. A refused command changes nothing and leaves no record."""
        batch = MicroBatch(first_position=self.position + 1)
        for command in commands:
            try:
                answer = self._admit(command)
                if answer is None:
                    answer = self._commit(command)
                    batch.records.append(command.to_record())
            except RequestError as refusal:
                answer = refusal
            batch.answers.append(answer)
            self.touch(command.session_id, now)
        batch.failures, self._failures = self._failures, []
        return batch

    def replay(self, record: bytes) -> None:
        """Apply a record of the journal."""
        self._commit(c.Command.from_record(record, self.task_space))
        self._failures.clear()

    def _admit(self, command: c.Command) -> Answer | None:
        """The kept answer of a command that was applied before, or None. Raises RequestError for a refused one."""
        if not command.session_id:
            return None
        kept = self._sessions.admit(command.session_id, command.sequence, command.acknowledged, command.payload)
        if kept is not None:
            return kept
        if isinstance(command.body, c.Metrics):
            session = self._sessions.get(command.session_id)
            held = (session.num_open if session else 0) + command.body.num_tasks
            if held > self.limits.max_open_assignments:
                raise ResourceExhausted(
                    f"num_tasks: the session would hold {held} assignments, and at most "
                    f"{self.limits.max_open_assignments} are allowed",
                    field="num_tasks",
                )
        elif isinstance(command.body, c.AddAgent):
            self._self_play("add_agent")
        elif isinstance(command.body, c.RestoreCheckpoint):
            self._rehearse_restore(command.body)
        return None

    def _commit(self, command: c.Command) -> Answer:
        self.position += 1
        if isinstance(command.body, c.ExpireSessions):
            self._expire(command.body)
            return pb.BatchReply(position=self.position)
        session = self._sessions.begin(command.session_id, command.sequence, command.acknowledged)
        answer: Answer
        match command.body:
            case c.Metrics():
                answer = self._apply_metrics(command, command.body, session)
            case c.CustomUpdate():
                answer = self._apply_custom_update(command, command.body)
            case c.AddAgent():
                answer = self._apply_add_agent(command, command.body)
            case c.RestoreCheckpoint():
                self._apply_restore(command.body)
                answer = pb.RestoreCheckpointResponse(position=self.position)
        self._sessions.keep(session, command.sequence, command.payload, answer)
        return answer

    # Metrics batches: steps, progress, episodes, releases, and then draws

    def _apply_metrics(self, command: c.Command, metrics: c.Metrics, session: Session) -> pb.BatchReply:
        reply = pb.BatchReply(sequence=command.sequence, position=self.position)
        errors_before = self.counters.num_curriculum_errors
        if metrics.steps is not None:
            self._apply_steps(command, metrics.steps, session, reply)
        if metrics.progress is not None:
            self._apply_progress(command, metrics.progress, session, reply)
        if metrics.episodes is not None:
            self._apply_episodes(command, metrics.episodes, session, reply)
        if len(metrics.released):
            self._apply_released(command, metrics.released, session, reply)
        if metrics.close:
            self._abandon(self._assignments.of_session(session.index), command.session_id)
            session.lost = True
        if metrics.num_tasks:
            self._draw(command, metrics.num_tasks, session, reply)
        if self.counters.num_curriculum_errors != errors_before:
            reply.curriculum_error = self.counters.last_curriculum_error
        self.counters.num_rejected += len(reply.rejections)
        return reply

    def _apply_episodes(
        self, command: c.Command, reported: c.ReportedEpisodes, session: Session, reply: pb.BatchReply
    ) -> None:
        rows, slots, tasks = self._resolve(reported, session, pb.BATCH_PART_EPISODES, reply, ends=True)
        if not len(rows):
            return
        batch = reported.batch(tasks)
        if len(rows) < len(reported.assignment_ids):
            batch = batch.select(rows)
        assigned = slots[slots >= 0]
        ages = self.position - self._assignments.positions(assigned)
        self.counters.task_age_sum += int(ages.sum())
        self.counters.task_age_count += len(ages)
        self._end(assigned, session)
        taken = self._tell(
            command,
            "update_on_episodes" if self._columnar else "update_on_episode",
            len(batch),
            (lambda: self.curriculum.update_on_episodes(batch)) if self._columnar else None,
            lambda row: self.curriculum.update_on_episodes(batch.select(slice(row, row + 1))),  # type: ignore[arg-type]
            rows,
            pb.BATCH_PART_EPISODES,
            reply,
        )
        if not taken.all():
            batch = batch.select(taken)
        self.counters.num_steps += int(batch.lengths.sum())
        index = None if self.task_space.num_tasks is None else self.task_space.to_index(batch.tasks)
        self._statistics.add(batch, index)

    def _apply_progress(
        self, command: c.Command, reported: c.ReportedProgress, session: Session, reply: pb.BatchReply
    ) -> None:
        rows, _, tasks = self._resolve(reported, session, pb.BATCH_PART_PROGRESS, reply)
        progress, env_ids = reported.progress.tolist(), reported.env_ids.tolist()
        self._tell(
            command,
            "update_task_progress",
            len(rows),
            None,
            lambda row: self.curriculum.update_task_progress(tasks[rows[row]], progress[rows[row]], env_ids[rows[row]]),
            rows,
            pb.BATCH_PART_PROGRESS,
            reply,
        )

    def _apply_steps(
        self, command: c.Command, reported: c.ReportedSteps, session: Session, reply: pb.BatchReply
    ) -> None:
        rows, _, tasks = self._resolve(reported, session, pb.BATCH_PART_STEPS, reply)
        if not len(rows):
            return
        batch = reported.batch(tasks)
        if len(rows) < len(reported.assignment_ids):
            batch = batch.select(rows)
        self._tell(
            command,
            "update_on_step_batch",
            len(rows),
            lambda: self.curriculum.update_on_step_batch(batch),
            None,
            rows,
            pb.BATCH_PART_STEPS,
            reply,
        )

    def _apply_released(self, command: c.Command, released: np.ndarray, session: Session, reply: pb.BatchReply) -> None:
        rows, slots, _ = self._resolve(c.Reported(released, None), session, pb.BATCH_PART_RELEASED, reply, ends=True)
        if len(rows):
            self._abandon(slots, command.session_id)

    def _resolve(
        self, reported: c.Reported, session: Session, part: pb.BatchPart, reply: pb.BatchReply, *, ends: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Match rows with assignments, and reject those that match none.

        Returns: the rows that count, int64 (m,); their slots, int64 (m,), -1 for a task that was not handed out; and
        the tasks of ALL rows, (n, *encoded_shape).
        """
        ids = reported.assignment_ids
        slots = self._assignments.find(ids)
        found = slots >= 0
        safe = np.where(found, slots, 0)
        own = found & (self._assignments.sessions(safe) == session.index)
        counted = own if reported.tasks is None else own | (ids == 0)
        if ends and counted.any():  # an assignment ends once, even within one batch
            twice = np.zeros(len(ids), bool)
            twice[own] = ~self._assignments.first(slots[own])
            counted = counted & ~twice
        for row in np.flatnonzero(~counted).tolist():
            foreign = found[row] and not own[row]
            reason = pb.REJECTION_REASON_FOREIGN_ASSIGNMENT if foreign else pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN
            reply.rejections.add(part=part, row=row, reason=reason)
        rows = np.flatnonzero(counted)
        tasks = self._assignments.tasks(safe) if reported.tasks is None else reported.tasks
        return rows, slots[rows], tasks

    def _tell(
        self,
        command: c.Command,
        method: str,
        count: int,
        whole: Callable[[], None] | None,
        one: Callable[[int], None] | None,
        rows: np.ndarray,
        part: pb.BatchPart,
        reply: pb.BatchReply,
    ) -> np.ndarray:
        """Tell the curriculum ``count`` rows, as a whole or one by one; reject what it refuses.

        Returns: bool (count,), what it took.
        """
        taken = np.ones(count, bool)
        if whole is not None:
            taken[:] = self._guarded(command.session_id, method, whole)
        elif one is not None:
            for row in range(count):
                taken[row] = self._guarded(command.session_id, method, one, row)
        for row in rows[~taken].tolist():
            reply.rejections.add(part=part, row=row, reason=pb.REJECTION_REASON_CURRICULUM_ERROR)
        return taken

    def _draw(self, command: c.Command, count: int, session: Session, reply: pb.BatchReply) -> None:
        drawn: list[Draw] = []
        self._guarded(command.session_id, "draw", lambda: drawn.append(self._checked_draw(count)))
        if not drawn:
            return
        draw = drawn[0]
        ids = self._assignments.open(draw.tasks, session.index, self.position)
        session.num_open += len(ids)
        tasks = reply.tasks
        tasks.assignment_id.CopyFrom(codec.to_tensor(ids))
        tasks.task.CopyFrom(codec.to_tensor(draw.tasks))
        if draw.probabilities is not None:
            tasks.probability.CopyFrom(codec.to_tensor(np.asarray(draw.probabilities, np.float64)))
        if draw.purposes is not None and (draw.purposes != TRAIN).any():
            tasks.purpose.extend(draw.purposes.tolist())
        tasks.position = self.position

    def _checked_draw(self, count: int) -> Draw:
        draw = self.curriculum.draw(count)
        if len(draw) > count:
            raise ValueError(f"expected at most {count} tasks, got {len(draw)}")
        inside = self.task_space.contains_encoded(draw.tasks)
        if not inside.all():
            raise ValueError(f"expected tasks of the task space, got {draw.tasks[np.flatnonzero(~inside)[0]]}")
        return draw

    # What ends assignments

    def _end(self, slots: np.ndarray, session: Session) -> None:
        self._assignments.close(slots)
        session.num_open -= len(slots)

    def _abandon(self, slots: np.ndarray, session_id: str) -> None:
        """Abandon the assignments of slots, which may belong to several sessions."""
        if not len(slots):
            return
        tasks = self._assignments.tasks(slots)
        owners, counts = np.unique(self._assignments.sessions(slots), return_counts=True)
        for owner, count in zip(owners.tolist(), counts.tolist(), strict=True):
            self._sessions.by_index(owner).num_open -= count
        self._assignments.close(slots)
        self.counters.num_abandoned += len(slots)
        self._guarded(session_id, "on_abandoned", lambda: self.curriculum.on_abandoned(tasks))

    def _expire(self, body: c.ExpireSessions) -> None:
        for session_id in body.expired:
            session = self._sessions.get(session_id)
            if session is not None:
                self._abandon(self._assignments.of_session(session.index), session_id)
                session.lost = True
        for session_id in body.forgotten:
            self._sessions.forget(session_id)
            self._last_heard.pop(session_id, None)

    # The learner

    def _apply_custom_update(self, command: c.Command, body: c.CustomUpdate) -> Answer:
        response = pb.CustomUpdateResponse(position=self.position)
        refusal: list[RequestError] = []

        def update() -> None:
            try:
                answer = self.curriculum.custom_update(**body.values)
            except (ValueError, TypeError) as error:
                refusal.append(InvalidArgument(f"custom_update: {error}", field="arrays", applied=True))
                raise
            for name, array in (answer or {}).items():
                response.arrays[name].CopyFrom(codec.to_tensor(array))

        if self._guarded(command.session_id, "custom_update", update):
            return response
        error = f"custom_update: {self.counters.last_curriculum_error}"
        return refusal[0] if refusal else FailedPrecondition(error, applied=True)

    def _apply_add_agent(self, command: c.Command, body: c.AddAgent) -> Answer:
        added: list[int] = []
        add_agent = self._self_play("add_agent")
        if self._guarded(command.session_id, "add_agent", lambda: added.append(add_agent(body.agent))):
            return pb.AddAgentResponse(agent_id=added[0], position=self.position)
        error = self.counters.last_curriculum_error
        return ResourceExhausted(f"agent: {error}", field="agent", applied=True)

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of a stored agent. Raises NotFound."""
        try:
            return self._self_play("get_agent")(agent_id)
        except (ValueError, LookupError) as error:
            raise NotFound(f"agent_id: {error}", field="agent_id") from error

    def _self_play(self, method: str) -> Callable[[Any], Any]:
        found = getattr(self.curriculum, method, None)
        if found is None:
            raise FailedPrecondition(
                f"curriculum: {type(self.curriculum).__name__} stores no agents", field="curriculum"
            )
        return found

    # Leases

    def touch(self, session_id: str, now: float) -> None:
        """Note that a session was heard; one that is not known has no lease."""
        if self._sessions.get(session_id) is not None:
            self._last_heard[session_id] = now

    def applied_sequence(self, session_id: str) -> int:
        """The last sequence of a session that was applied; 0 for one that is not known."""
        session = self._sessions.get(session_id)
        return 0 if session is None else session.sequence

    def renew_leases(self, now: float) -> None:
        """Start every session's lease anew: after a restart, or when the service could not hear anybody."""
        for session_id in self._sessions:
            self._last_heard[session_id] = now

    def expire(self, now: float) -> c.Command | None:
        """The command that ends the leases that have run out by ``now``, or None. O(sessions)."""
        expired, forgotten = [], []
        crowded = len(self._sessions) > 0.9 * self.limits.max_sessions
        retention = 0.0 if crowded else self.limits.session_retention_seconds
        for session_id in self._sessions:
            silent = now - self._last_heard.get(session_id, now)
            session = self._sessions.get(session_id)
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
        return read_statistics(self._statistics, self.task_space, self.position, request)

    def summary(self, top_n: int = 0) -> pb.WatchCurriculumResponse:
        """How the curriculum stands. O(N)."""
        counters, total = self.counters, self._statistics.total
        summary = pb.WatchCurriculumResponse(
            position=self.position,
            num_episodes=int(total.num_episodes[0]),
            num_steps=counters.num_steps,
            num_assignments=self._assignments.num_opened,
            num_abandoned=counters.num_abandoned,
            num_open_assignments=len(self._assignments),
            num_sessions=self._sessions.num_live,
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

    # Snapshots and checkpoints: one format

    def snapshot(self) -> bytes:
        """The whole state. Raises NotImplementedError where the curriculum cannot be saved."""
        return encode_state(
            {
                "algorithm": self._algorithm(),
                "task_space": self.task_space.to_proto().SerializeToString(deterministic=True),
                "position": self.position,
                "curriculum": self.curriculum.state_dict(),
                "statistics": self._statistics.state_dict(),
                "sessions": self._sessions.state_dict(),
                "assignments": self._assignments.state_dict(),
                "counters": asdict(self.counters),
            }
        )

    def load_snapshot(self, data: bytes) -> None:
        """Restore exactly the state of ``snapshot``.

        Raises CorruptStateError, or FailedPrecondition for the snapshot of another algorithm or task space.
        """
        state = self._read_snapshot(data)
        self.curriculum.load_state_dict(state["curriculum"])
        self._statistics.load_state_dict(state["statistics"])
        self._sessions.load_state_dict(state["sessions"])
        self._assignments.load_state_dict(state["assignments"])
        self.counters = Counters(**state["counters"])
        self.position = state["position"]

    def _apply_restore(self, body: c.RestoreCheckpoint) -> None:
        """Go back to a checkpoint's curriculum and statistics; sessions go on.

        An assignment that was open in the checkpoint and no longer is counts as abandoned: its task was never reported.
        One that was handed out since is void: it is closed, and a report of it will be rejected.
        """
        state = self._read_snapshot(body.checkpoint)
        self.curriculum.load_state_dict(state["curriculum"])
        self._statistics.load_state_dict(state["statistics"])
        then = AssignmentTable(self.task_space.encoded_shape, self.task_space.encoded_dtype)
        then.load_state_dict(state["assignments"])
        ids_then, ids_now = then.all_ids(), self._assignments.all_ids()
        void = self._assignments.find(ids_now[~np.isin(ids_now, ids_then)])
        owners = self._assignments.sessions(void)
        for owner, count in zip(*(each.tolist() for each in np.unique(owners, return_counts=True)), strict=True):
            self._sessions.by_index(owner).num_open -= count
        self._assignments.close(void)
        gone = then.find(ids_then[~np.isin(ids_then, ids_now)])
        if len(gone):
            tasks = then.tasks(gone)
            self.counters.num_abandoned += len(gone)
            self._guarded("", "on_abandoned", lambda: self.curriculum.on_abandoned(tasks))

    def _rehearse_restore(self, body: c.RestoreCheckpoint) -> None:
        """Raise RequestError, and leave everything as it was, unless the checkpoint can be restored. O(state)."""
        try:
            before = self.snapshot()
        except NotImplementedError as error:
            raise FailedPrecondition(f"curriculum: {error}", field="curriculum") from error
        try:
            self._apply_restore(body)
        except RequestError:
            raise
        except Exception as error:  # whatever a forged blob makes a curriculum's load_state_dict raise
            raise InvalidArgument(f"checkpoint: {error}", field="checkpoint") from error
        finally:
            self.load_snapshot(before)
            self._failures.clear()

    def _read_snapshot(self, data: bytes) -> dict[str, Any]:
        state = decode_state(data)
        if state["algorithm"] != self._algorithm():
            raise FailedPrecondition(
                f"checkpoint: expected one of {self._algorithm()}, got one of {state['algorithm']}", field="checkpoint"
            )
        if state["task_space"] != self.task_space.to_proto().SerializeToString(deterministic=True):
            raise FailedPrecondition("checkpoint: expected one of the same task space", field="checkpoint")
        return state

    def _algorithm(self) -> str:
        return f"{type(self.curriculum).__module__}:{type(self.curriculum).__qualname__}"

    def _guarded(self, session_id: str, method: str, call: Callable[..., Any], *args: Any) -> bool:
        """Call into the curriculum; note what it raises. Whether it raised nothing."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - a curriculum may be anybody's code; its error is its sender's
            text = f"{method}: {type(error).__name__}: {error}"[:2000]
            self.counters.num_curriculum_errors += 1
            self.counters.last_curriculum_error = text
            self._failures.append(CurriculumFailure(session_id, method, text, traceback.format_exc()))
            return False
        return True

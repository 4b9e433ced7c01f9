"""Transitions: what each kind of command does to the state of a curriculum."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.assignments import AssignmentTable
from syllabus_service.curricula import TRAIN, Curriculum, Draw
from syllabus_service.errors import FailedPrecondition, InvalidArgument, RequestError, ResourceExhausted
from syllabus_service.sessions import Answer, Session, SessionTable
from syllabus_service.state import CurriculumState


@dataclass(frozen=True)
class _Matched:
    """Rows of a report, matched with assignments."""

    rows: np.ndarray
    """int64 (m,): the rows that count."""
    slots: np.ndarray
    """int64 (a,): the slots of those of them that were handed out."""
    positions: np.ndarray
    """int64 (a,): how many commands had been applied when these were drawn."""
    tasks: np.ndarray
    """(n, *encoded_shape): the tasks of ALL rows."""


@dataclass(frozen=True)
class CurriculumFailure:
    """A curriculum raised: for the log."""

    session_id: str
    method: str
    error: str
    trace: str


class Transitions:
    """Changes a state by commands that were admitted.

    Whatever a curriculum raises is noted in ``failures`` and told to the sender; it never gets out of here.
    """

    def __init__(self, state: CurriculumState) -> None:
        self.state = state
        self.failures: list[CurriculumFailure] = []
        overridden = type(state.curriculum).update_on_episodes is not Curriculum.update_on_episodes
        self._columnar = overridden and not state.curriculum.one_at_a_time

    def run(self, command: c.Command) -> Answer:
        """Apply a command."""
        self.state.position += 1
        if isinstance(command.body, c.ExpireSessions):
            self._expire(command.body)
            return pb.BatchReply(position=self.state.position)
        session = self.state.sessions.begin(command.session_id, command.sequence, command.acknowledged)
        answer: Answer
        match command.body:
            case c.Metrics():
                answer = self._apply_metrics(command, command.body, session)
            case c.CustomUpdate():
                answer = self._apply_custom_update(command, command.body)
            case c.AddAgent():
                answer = self._apply_add_agent(command, command.body)
            case c.RestoreCheckpoint():
                self.restore(command.body)
                answer = pb.RestoreCheckpointResponse(position=self.state.position)
        self.state.sessions.keep(session, command.sequence, command.payload, answer)
        return answer

    # Metrics batches: steps, progress, episodes, releases, and then draws

    def _apply_metrics(self, command: c.Command, metrics: c.Metrics, session: Session) -> pb.BatchReply:
        reply = pb.BatchReply(sequence=command.sequence, position=self.state.position)
        errors_before = self.state.counters.num_curriculum_errors
        if metrics.steps is not None:
            self._apply_steps(command, metrics.steps, session, reply)
        if metrics.progress is not None:
            self._apply_progress(command, metrics.progress, session, reply)
        if metrics.episodes is not None:
            self._apply_episodes(command, metrics.episodes, session, reply)
        if metrics.steps is not None:
            self._guarded(command.session_id, "on_reported", self.state.curriculum.on_reported)
        if len(metrics.released):
            self._apply_released(command, metrics.released, session, reply)
        if metrics.close:
            self._abandon(self.state.assignments.of_session(session.index), command.session_id)
            session.lost = True
        if metrics.num_tasks:
            self._draw(command, metrics.num_tasks, session, reply)
        if self.state.counters.num_curriculum_errors != errors_before:
            reply.curriculum_error = self.state.counters.last_curriculum_error
        self.state.counters.num_rejected += len(reply.rejections)
        return reply

    def _apply_episodes(
        self, command: c.Command, reported: c.ReportedEpisodes, session: Session, reply: pb.BatchReply
    ) -> None:
        found = self._resolve(reported, session, pb.BATCH_PART_EPISODES, reply, ends=True)
        if not len(found.rows):
            return
        batch = reported.batch(found.tasks)
        if len(found.rows) < len(reported.assignment_ids):
            batch = batch.select(found.rows)
        counters = self.state.counters
        counters.task_age_sum += self.state.position * len(found.slots) - int(found.positions.sum())
        counters.task_age_count += len(found.slots)
        self.state.assignments.close(found.slots)
        session.num_open -= len(found.slots)
        if self._columnar:
            taken = self._at_once(
                command, "update_on_episodes", len(batch), lambda: self.state.curriculum.update_on_episodes(batch)
            )
        else:
            taken = self._one_by_one(
                command,
                "update_on_episode",
                len(batch),
                lambda row: self.state.curriculum.update_on_episodes(batch.select(slice(row, row + 1))),
            )
        if not taken.all():
            self._refuse(found.rows[~taken], pb.BATCH_PART_EPISODES, reply)
            batch = batch.select(taken)
        counters.num_steps += int(batch.lengths.sum())
        index = None if self.state.task_space.num_tasks is None else self.state.task_space.to_index(batch.tasks)
        self.state.statistics.add(batch, index)

    def _apply_progress(
        self, command: c.Command, reported: c.ReportedProgress, session: Session, reply: pb.BatchReply
    ) -> None:
        found = self._resolve(reported, session, pb.BATCH_PART_PROGRESS, reply)
        rows, tasks = found.rows, found.tasks
        progress, env_ids = reported.progress.tolist(), reported.env_ids.tolist()
        update = self.state.curriculum.update_task_progress
        taken = self._one_by_one(
            command,
            "update_task_progress",
            len(rows),
            lambda row: update(tasks[rows[row]], progress[rows[row]], env_ids[rows[row]]),
        )
        self._refuse(rows[~taken], pb.BATCH_PART_PROGRESS, reply)

    def _apply_steps(
        self, command: c.Command, reported: c.ReportedSteps, session: Session, reply: pb.BatchReply
    ) -> None:
        found = self._resolve(reported, session, pb.BATCH_PART_STEPS, reply)
        if not len(found.rows):
            return
        batch = reported.batch(found.tasks)
        if len(found.rows) < len(reported.assignment_ids):
            batch = batch.select(found.rows)
        runs = batch.runs() if self.state.curriculum.one_at_a_time else [(0, len(batch))]
        told = self._one_by_one(
            command,
            "update_on_step_batch",
            len(runs),
            lambda run: self.state.curriculum.update_on_step_batch(batch.select(slice(*runs[run]))),
        )
        taken = np.repeat(told, [stop - start for start, stop in runs])
        self._refuse(found.rows[~taken], pb.BATCH_PART_STEPS, reply)

    def _apply_released(self, command: c.Command, released: np.ndarray, session: Session, reply: pb.BatchReply) -> None:
        found = self._resolve(c.Reported(released, None), session, pb.BATCH_PART_RELEASED, reply, ends=True)
        if len(found.rows):
            self._abandon(found.slots, command.session_id)

    def _resolve(
        self, reported: c.Reported, session: Session, part: pb.BatchPart, reply: pb.BatchReply, *, ends: bool = False
    ) -> _Matched:
        """Match rows with assignments, and reject those that match none."""
        assignments = self.state.assignments
        ids = reported.assignment_ids
        found = assignments.look_up(ids)
        slots, own = found.slots, found.sessions == session.index
        if found.all_open and own.all() and not (ends and not assignments.distinct(slots)):  # as it nearly always is
            tasks = assignments.tasks(slots) if reported.tasks is None else reported.tasks
            return _Matched(np.arange(len(ids)), slots, found.positions, tasks)
        is_open = slots >= 0
        own &= is_open
        counted = own if reported.tasks is None else own | (ids == 0)
        if ends and counted.any():  # an assignment ends once, even within one batch
            twice = np.zeros(len(ids), bool)
            twice[own] = ~assignments.first(slots[own])
            counted = counted & ~twice
        for row in np.flatnonzero(~counted).tolist():
            foreign = is_open[row] and not own[row]
            reason = pb.REJECTION_REASON_FOREIGN_ASSIGNMENT if foreign else pb.REJECTION_REASON_ASSIGNMENT_NOT_OPEN
            reply.rejections.add(part=part, row=row, reason=reason)
        assigned = counted & own
        tasks = assignments.tasks(np.where(is_open, slots, 0)) if reported.tasks is None else reported.tasks
        return _Matched(np.flatnonzero(counted), slots[assigned], found.positions[assigned], tasks)

    def _at_once(self, command: c.Command, method: str, count: int, tell: Callable[[], None]) -> np.ndarray:
        """Tell the curriculum ``count`` rows in one call. bool (count,): all it took, or nothing."""
        return np.full(count, self._guarded(command.session_id, method, tell))

    def _one_by_one(self, command: c.Command, method: str, count: int, tell: Callable[[int], None]) -> np.ndarray:
        """Tell the curriculum ``count`` rows in a call each. bool (count,): what it took."""
        return np.array([self._guarded(command.session_id, method, tell, row) for row in range(count)], bool)

    def _refuse(self, rows: np.ndarray, part: pb.BatchPart, reply: pb.BatchReply) -> None:
        for row in rows.tolist():
            reply.rejections.add(part=part, row=row, reason=pb.REJECTION_REASON_CURRICULUM_ERROR)

    def _draw(self, command: c.Command, count: int, session: Session, reply: pb.BatchReply) -> None:
        drawn: list[Draw] = []
        self._guarded(command.session_id, "draw", lambda: drawn.append(self._checked_draw(count)))
        if not drawn:
            return
        draw = drawn[0]
        ids = self.state.assignments.open(draw.tasks, session.index, self.state.position)
        session.num_open += len(ids)
        tasks = reply.tasks
        codec.fill_tensor(tasks.assignment_id, ids)
        codec.fill_tensor(tasks.task, draw.tasks)
        if draw.probabilities is not None:
            codec.fill_tensor(tasks.probability, np.asarray(draw.probabilities, np.float64))
        if draw.purposes is not None and (draw.purposes != TRAIN).any():
            tasks.purpose.extend(draw.purposes.tolist())
        tasks.position = self.state.position

    def _checked_draw(self, count: int) -> Draw:
        draw = self.state.curriculum.draw(count)
        if len(draw) > count:
            raise ValueError(f"expected at most {count} tasks, got {len(draw)}")
        inside = self.state.task_space.contains_encoded(draw.tasks)
        if np.count_nonzero(inside) != inside.size:  # a fifth of the time of inside.all()
            raise ValueError(f"expected tasks of the task space, got {draw.tasks[np.flatnonzero(~inside)[0]]}")
        return draw

    # What ends assignments

    def _abandon(self, slots: np.ndarray, session_id: str) -> None:
        """Abandon the assignments of slots, which may belong to several sessions."""
        if not len(slots):
            return
        tasks = self.state.assignments.tasks(slots)
        owners, counts = np.unique(self.state.assignments.sessions(slots), return_counts=True)
        for owner, count in zip(owners.tolist(), counts.tolist(), strict=True):
            self.state.sessions.by_index(owner).num_open -= count
        self.state.assignments.close(slots)
        self.state.counters.num_abandoned += len(slots)
        self._guarded(session_id, "on_abandoned", lambda: self.state.curriculum.on_abandoned(tasks))

    def _expire(self, body: c.ExpireSessions) -> None:
        for session_id in body.expired:
            session = self.state.sessions.get(session_id)
            if session is not None:
                self._abandon(self.state.assignments.of_session(session.index), session_id)
                session.lost = True
        for session_id in body.forgotten:
            self.state.sessions.forget(session_id)

    # The learner

    def _apply_custom_update(self, command: c.Command, body: c.CustomUpdate) -> Answer:
        response = pb.CustomUpdateResponse(position=self.state.position)
        refusal: list[RequestError] = []

        def update() -> None:
            try:
                answer = self.state.curriculum.custom_update(**body.values)
            except (ValueError, TypeError) as error:
                refusal.append(InvalidArgument(f"custom_update: {error}", field="arrays", applied=True))
                raise
            for name, array in (answer or {}).items():
                response.arrays[name].CopyFrom(codec.to_tensor(array))

        if self._guarded(command.session_id, "custom_update", update):
            return response
        error = f"custom_update: {self.state.counters.last_curriculum_error}"
        return refusal[0] if refusal else FailedPrecondition(error, applied=True)

    def _apply_add_agent(self, command: c.Command, body: c.AddAgent) -> Answer:
        added: list[int] = []
        add_agent = self_play(self.state.curriculum, "add_agent")
        if self._guarded(command.session_id, "add_agent", lambda: added.append(add_agent(body.agent))):
            return pb.AddAgentResponse(agent_id=added[0], position=self.state.position)
        error = self.state.counters.last_curriculum_error
        return ResourceExhausted(f"agent: {error}", field="agent", applied=True)

    def restore(self, body: c.RestoreCheckpoint) -> None:
        """Go back to a checkpoint's curriculum and statistics; sessions go on.

        An assignment that was open in the checkpoint and no longer is counts as abandoned: its task was never reported.
        One that was handed out since is void: it is closed, and a report of it will be rejected. An assignment is the
        same where its id and its session are: a checkpoint of another service may hold the same ids.
        """
        state = self.state.read_snapshot(body.checkpoint)
        self.state.curriculum.load_state_dict(state["curriculum"])
        self.state.statistics.load_state_dict(state["statistics"])
        then = self.state.no_assignments()
        then.load_state_dict(state["assignments"])
        sessions_then = self.state.no_sessions()
        sessions_then.load_state_dict(state["sessions"])
        held_then = _held(then, sessions_then)
        held_now = _held(self.state.assignments, self.state.sessions)
        void = self.state.assignments.find(_only_in(held_now, held_then))
        owners = self.state.assignments.sessions(void)
        for owner, count in zip(*(each.tolist() for each in np.unique(owners, return_counts=True)), strict=True):
            self.state.sessions.by_index(owner).num_open -= count
        self.state.assignments.close(void)
        gone = then.find(_only_in(held_then, held_now))
        if len(gone):
            tasks = then.tasks(gone)
            self.state.counters.num_abandoned += len(gone)
            self._guarded("", "on_abandoned", lambda: self.state.curriculum.on_abandoned(tasks))

    def _guarded(self, session_id: str, method: str, call: Callable[..., Any], *args: Any) -> bool:
        """Call into the curriculum; note what it raises. Whether it raised nothing."""
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - a curriculum may be anybody's code; its error is its sender's
            text = f"{method}: {type(error).__name__}: {error}"[:2000]
            self.state.counters.num_curriculum_errors += 1
            self.state.counters.last_curriculum_error = text
            self.failures.append(CurriculumFailure(session_id, method, text, traceback.format_exc()))
            return False
        return True


def _held(assignments: AssignmentTable, sessions: SessionTable) -> list[tuple[int, str]]:
    """Id and session of each open assignment, in the order in which they were opened."""
    names = sessions.names()
    ids = assignments.all_ids()
    owners = assignments.sessions(assignments.find(ids))
    return [(each, names[owner]) for each, owner in zip(ids.tolist(), owners.tolist(), strict=True)]


def _only_in(held: list[tuple[int, str]], other: list[tuple[int, str]]) -> np.ndarray:
    """uint64: the ids of the assignments in ``held`` that are not in ``other``."""
    known = set(other)
    return np.array([each[0] for each in held if each not in known], np.uint64)


def self_play(curriculum: Curriculum, method: str) -> Callable[[Any], Any]:
    """A method that only self-play curricula have. Raises FailedPrecondition where it is missing."""
    found = getattr(curriculum, method, None)
    if found is None or not getattr(curriculum, "stores_agents", True):  # a composition may have no part that does
        raise FailedPrecondition(f"curriculum: {type(curriculum).__name__} stores no agents", field="curriculum")
    return found

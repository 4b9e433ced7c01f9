"""ReportIntake: what environments report, checked, with the service's ids, and what has become of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_client import validation
from syllabus_client.episode_rows import EpisodeRows, TaskFormat
from syllabus_client.flush_marks import FlushMark, FlushMarks
from syllabus_client.local_ids import LocalIds
from syllabus_client.reports import PendingReports
from syllabus_client.sent_batches import SentBatches
from syllabus_client.session_statistics import Recorder, SessionStatistics


@dataclass(frozen=True, slots=True)
class Failure:
    """A gRPC status."""

    code: str
    details: str


class ReportIntake:
    """Takes reports. Each row is pending, or counted as not valid or not delivered; what is odd is said once.

    A row names an assignment of this process (see ``LocalIds``); one that ended with an earlier life of the session
    cannot be delivered. A row that is not valid is not sent, and its assignment is released.

    One thing at a time may be done with it, but for ``offer_episode``, which any thread may call at any time.

    Attributes:
        wants_notice: whether who reports something is to call ``notice``.
        due: when the batch that carries the reports is to be sent, if that is known; lowered by a report.
        is_full: whether no batch may be sent now, so that a report changes nothing in ``due``.
        refuses: whether reports are given up as they come: the session has ended, or is about to.
        fatal: why nothing is delivered any more.

    Args:
        max_latency: seconds that a report may wait for others.
        max_pending_rows: how many may wait before somebody is refused.
    """

    def __init__(self, max_latency: float, max_pending_rows: int) -> None:
        self.due = math.inf
        self.wants_notice = True
        self.is_full = False
        self.refuses = False
        self.fatal: Failure | None = None
        self._max_latency = max_latency
        self._max_pending_rows = max_pending_rows
        self._max_rows = 1
        self._max_bytes = 1
        self._ids = LocalIds()
        self._format = TaskFormat()
        self._episodes = EpisodeRows(self._format)  # in front of the pending reports
        self._episodes_mark = 1  # how many may wait there
        self._pending = PendingReports(self._format)
        self._pending_since: float | None = None  # when the first of them was reported, or earlier
        self._looked_at = 0.0  # when it was last seen what waits
        self._sent = SentBatches()
        self._flush_marks = FlushMarks()
        self._statistics = Recorder()
        self._notices: list[str] = []
        self._said: set[str] = set()

    @property
    def num_pending(self) -> int:
        """Rows reported and not sent."""
        return self._pending.rows + len(self._episodes)

    @property
    def num_undelivered(self) -> int:
        """Rows that are not known to be in the service's journal: reported and not sent, and sent and not answered."""
        return self.num_pending + self._sent.num_rows

    def statistics(self) -> SessionStatistics:
        """The counters."""
        self._collect()
        return self._statistics.snapshot()

    @property
    def has_notices(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._notices)

    def take_notices(self) -> list[str]:
        """What a person should be told; each kind of notice once."""
        notices, self._notices = self._notices, []
        return notices

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._notices.append(text)

    # What environments do

    def report_episode(
        self,
        now: float,
        assignment_id: int,
        task: Any,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        metrics: Mapping[str, float] | None = None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> None:
        """A finished episode."""
        if self._ids.to_wire(assignment_id) is None or self.refuses:
            self._give_up(1)
            return
        episode = (assignment_id, task, episode_return, length, progress, env_id, metrics, agent_returns)
        if not self.offer_episode(*episode):
            problem = validation.episode_problem(
                assignment_id, task is not None, episode_return, length, progress, env_id, metrics, agent_returns
            )
            if problem is None:
                self._collect()
                self._episodes.add(*episode)
            else:
                self._invalid(1, problem)
                self.release(now, np.array([assignment_id], np.uint64))
        self.notice(now)

    def offer_episode(
        self,
        assignment_id: int,
        task: Any,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        metrics: Mapping[str, float] | None = None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> bool:
        """Take a finished episode, or do nothing: then it is ``report_episode`` that says what is the matter.

        Raises ValueError or TypeError where a task, or a metric's name, does not fit.
        """
        episodes = self._episodes
        if self.refuses or len(episodes) >= self._episodes_mark:
            return False
        told = task is not None
        if validation.episode_problem(
            assignment_id, told, episode_return, length, progress, env_id, metrics, agent_returns
        ):
            return False
        episodes.add(assignment_id, task, episode_return, length, progress, env_id, metrics, agent_returns)
        if len(episodes) >= self._episodes_mark:
            self.wants_notice = True
        return True

    def notice(self, now: float) -> None:
        """Something was reported: see when a batch is due."""
        raise NotImplementedError

    def report_episodes(
        self,
        now: float,
        columns: Mapping[str, np.ndarray],
        metrics: Mapping[str, Any],
        agent_returns: Mapping[str, Any],
    ) -> None:
        """n finished episodes; ``columns`` are named as in ``EpisodeBatch``, without ``task``: as assigned."""
        ids, alive = self._to_wire_many(columns["assignment_id"])
        columns = {**columns, "assignment_id": ids}
        problem, valid = validation.episodes_problem(columns, metrics, agent_returns)
        keep = alive & valid
        if not keep.all():
            self._give_up(int(np.count_nonzero(~alive)))
            if problem is not None and (bad := int(np.count_nonzero(alive & ~valid))):
                self._invalid(bad, problem)
                self._add_releases(ids[alive & ~valid & (ids != 0)], now)
            columns, metrics, agent_returns = (
                {name: column[keep] for name, column in group.items()} for group in (columns, metrics, agent_returns)
            )
        if rows := len(columns["assignment_id"]):
            self._pending.add_episodes(columns, metrics, agent_returns)
            self._added(rows, now)

    def report_progress(self, now: float, assignment_id: int, task: Any, progress: float, env_id: int) -> None:
        """Task completion in the middle of an episode. What is not valid is counted and not sent."""
        wire_id = self._ids.to_wire(assignment_id)
        if wire_id is None or self.refuses:
            self._give_up(1)
            return
        problem = validation.episode_problem(wire_id, task is not None, 0.0, 0, progress, env_id, None, None)
        if problem is not None:
            self._invalid(1, problem)
            return
        self._pending.add_progress(wire_id, task, progress, env_id)
        self._added(1, now)

    def report_steps(self, now: float, columns: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
        """Environment steps; ``columns`` are named as in ``StepBatch``, without ``task``: as assigned."""
        ids, alive = self._to_wire_many(columns["assignment_id"])
        columns = {**columns, "assignment_id": ids}
        problem, valid = validation.steps_problem(columns)
        keep = alive & valid
        if not keep.all():
            self._give_up(int(np.count_nonzero(~alive)))
            if problem is not None and (bad := int(np.count_nonzero(alive & ~valid))):
                self._invalid(bad, problem, counter=None)
                self._give_up(bad)
            columns = {name: column[keep] for name, column in columns.items()}
            arrays = {name: array[keep] for name, array in arrays.items()}
        if rows := len(columns["assignment_id"]):
            self._pending.add_steps(columns, arrays)
            self._added(rows, now)

    def release(self, now: float, assignment_ids: np.ndarray) -> None:
        """Assignments that will not be run to an end: uint64 (r,)."""
        ids, alive = self._to_wire_many(assignment_ids)
        self._add_releases(ids[alive & (ids != 0)], now)

    # Delivery

    def flush(self) -> FlushMark:
        """Send all that was reported so far at once; ``delivered`` tells when it is in the journal."""
        self._collect()
        mark = FlushMark(self._pending.num_added, self._ids.epoch)
        self._flush_marks.set(mark, None if self._pending.rows else self._sent.last_sequence)
        return mark

    def delivered(self, mark: FlushMark) -> bool:
        """Whether what was reported before ``flush`` is in the journal, or was given up. Ask until True."""
        sequence = self._flush_marks.sequence(mark)
        done = (
            self.fatal is not None
            or mark.epoch != self._ids.epoch
            or (sequence is not None and sequence <= self._sent.acknowledged)
        )
        if done:
            self.forget(mark)
        return done

    def forget(self, mark: FlushMark) -> None:
        """Nobody asks any more whether this is delivered."""
        self._flush_marks.forget(mark)

    # How rows are taken

    def _to_wire_many(self, local_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The service's ids, and which of them can be delivered."""
        if self.refuses:
            return local_ids, np.zeros(len(local_ids), bool)
        return self._ids.to_wire_many(local_ids)

    def _add_releases(self, wire_ids: np.ndarray, now: float) -> None:
        if len(wire_ids):
            self._pending.add_releases(wire_ids)
            self._added(len(wire_ids), now)

    def _added(self, rows: int, now: float) -> None:
        self._statistics.add("rows_reported", rows)
        if self.wants_notice or self._is_full_batch:
            self.notice(now)

    @property
    def _is_full_batch(self) -> bool:
        """Whether what waits fills a batch."""
        return self.num_pending >= self._max_rows or self._pending.num_bytes >= self._max_bytes

    def _look(self, now: float) -> None:
        """See whether rows wait, and since when."""
        if self._pending_since is None and self.num_pending:
            # Where nobody had to give notice, something else was due, and they may have come at any time since then.
            self._pending_since = now if self.wants_notice else self._looked_at
        self._looked_at = now

    def _collect(self) -> None:
        """Bring the episodes that were reported one by one into the columns of what is pending."""
        if (taken := self._episodes.take_all()) is not None:
            columns, metrics, agent_returns = taken
            ids, alive = self._ids.to_wire_many(columns["assignment_id"])
            columns["assignment_id"] = ids
            if self.fatal:
                alive[:] = False
            if not alive.all():
                self._give_up(int(np.count_nonzero(~alive)))
                columns, metrics, agent_returns = (
                    {name: column[alive] for name, column in group.items()} for group in taken
                )
            if rows := len(columns["assignment_id"]):
                self._pending.add_episodes(columns, metrics, agent_returns)
                self._statistics.add("rows_reported", rows)
        self._mark_episodes()

    def _mark_episodes(self) -> None:
        """See how many episodes may be reported until a batch is full, or too many wait."""
        pending = self._pending.rows
        until_full = self._max_rows - pending
        until_refused = max(0, self._max_pending_rows - pending)
        self._episodes_mark = min(until_full if until_full > 0 else self._max_rows, until_refused)

    def _lower_due(self, at: float) -> None:
        if at < self.due and not self.is_full:
            self.due = at

    def _invalid(self, rows: int, problem: str, counter: str | None = "episodes_invalid") -> None:
        if counter:
            self._statistics.add(counter, rows)
        self._say("invalid", f"what an environment reported is not valid and was not sent: {problem}")

    def _give_up(self, rows: int) -> None:
        """Count rows that are reported and will not be delivered."""
        if rows:
            self._statistics.add("rows_reported", rows)
            self._statistics.add("rows_undelivered", rows)

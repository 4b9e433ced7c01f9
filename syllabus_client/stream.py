"""Session: one process's stream to a curriculum, shared by its environments; the shell around SessionMachine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import TaskSpace

TRAIN = 1  #: purpose of a task that the learner trains on (the wire's PURPOSE_TRAIN)
EVALUATE = 2  #: purpose of a task that is run only to score it (the wire's PURPOSE_EVALUATE)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One task for one episode of one environment."""

    id: int
    """Names the assignment to this session; 0 for a task that is repeated because the service is away."""
    encoded: Any
    """The encoded task: an int where the encoding is an id, otherwise an array of the space's ``encoded_shape``."""
    task: Any
    """The decoded task, for the environment's ``reset(new_task=...)``."""
    purpose: int
    """TRAIN (1) or EVALUATE (2)."""
    probability: float | None
    """Probability with which the task was drawn; None where the curriculum has no distribution."""
    position: int
    """Number of commands that the curriculum had applied when the task was drawn."""


@dataclass(frozen=True, slots=True)
class Assignments:
    """k tasks, in columns."""

    ids: np.ndarray
    """uint64 (k,): names of the assignments; 0 for tasks that are repeated because the service is away."""
    encoded: np.ndarray
    """(k, *encoded_shape): encoded tasks."""
    purposes: np.ndarray
    """uint8 (k,): TRAIN (1) or EVALUATE (2)."""
    probabilities: np.ndarray | None
    """float64 (k,): probabilities with which they were drawn (NaN where not known), or None."""
    positions: np.ndarray
    """uint64 (k,): number of commands that the curriculum had applied when each was drawn."""


class Session:
    """One process's stream to a curriculum. Thread-safe; get one from ``open_session``.

    It connects in the background, keeps tasks ready, sends what is reported in batches, and sends again what was not
    answered after a lost connection or a restart of the service. Reports never wait for the network. In a forked child
    the object starts anew: it connects by itself and holds none of the parent's assignments.
    """

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Waits for the service, at most ``settings.timeout``; then ServiceUnavailableError."""
        raise NotImplementedError

    @property
    def requires_step_updates(self) -> bool:
        """Whether environments must report steps. Waits as ``task_space`` does."""
        raise NotImplementedError

    def add_environments(self, n: int = 1) -> None:
        """Tell how many more environments take tasks here: as many tasks are kept ready."""
        raise NotImplementedError

    def remove_environments(self, n: int = 1) -> None:
        """Tell how many environments are gone."""
        raise NotImplementedError

    def next_task(self) -> Assignment:
        """The next task. Normally at once; waits at most ``settings.timeout``.

        Raises:
            TaskTimeoutError: none came; names the target and what is the matter.
            ServiceUnavailableError: at once, when the service is away and ``on_unavailable`` is ``"raise"``.
            CurriculumServiceError: at once, when the service refuses this session (token, name of the curriculum).
        """
        raise NotImplementedError

    def next_tasks(self, k: int) -> Assignments:
        """The next k tasks, in columns: all of them, or an error as ``next_task`` raises. Callers take turns."""
        raise NotImplementedError

    def report_episode(
        self,
        assignment_id: int,
        *,
        episode_return: float,
        length: int,
        progress: float,
        env_id: int,
        task: Any = None,
        metrics: Mapping[str, float] | None = None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> None:
        """Report a finished episode; this ends its assignment. Never waits.

        An episode that is not valid (a return or metric that is not finite, a negative length, progress outside [0, 1])
        is not sent: it is counted as invalid, its assignment is released, and a warning is given once.

        Args:
            assignment_id: from ``next_task``; 0 for a task that was not handed out (then give ``task``).
            episode_return: sum of rewards, finite.
            length: number of steps, at least 0.
            progress: task completion in [0, 1].
            env_id: the environment, at least 0.
            task: the encoded task that was run; None: as assigned. Give it always or never: a change costs a batch.
            metrics: further finite scalars by name.
            agent_returns: return of each agent of a multi-agent environment.

        Raises BufferFullError where twice ``settings.max_pending_rows`` wait to be sent.
        """
        raise NotImplementedError

    def report_episodes(
        self,
        assignment_ids: np.ndarray,
        tasks: np.ndarray | None,
        episode_returns: np.ndarray,
        lengths: np.ndarray,
        progress: np.ndarray,
        env_ids: np.ndarray,
        metrics: Mapping[str, np.ndarray] | None = None,
        agent_returns: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Report n finished episodes in columns: uint64, the space's encoding, float64, int64, float64, int64.

        ``metrics`` and ``agent_returns`` are float64 each, NaN where an episode has no value.
        Rows that are not valid are treated as ``report_episode`` treats them; the others are sent.
        """
        raise NotImplementedError

    def report_progress(self, assignment_id: int, task: Any, progress: float, env_id: int) -> None:
        """Report the task completion, in [0, 1], of an episode under way. ``task`` as in ``report_episode``."""
        raise NotImplementedError

    def report_steps(
        self,
        assignment_ids: np.ndarray,
        tasks: np.ndarray | None,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        env_ids: np.ndarray,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Report s environment steps in columns; does nothing unless the curriculum requires step updates.

        ``arrays`` holds further columns (s, ...) by name, the same names, shapes and dtypes in every call.
        """
        raise NotImplementedError

    def release(self, assignment_ids: Sequence[int] | np.ndarray) -> None:
        """Give assignments back that will not be run to an end. They go to the curriculum's ``on_abandoned``."""
        raise NotImplementedError

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was reported is in the service's journal; at most ``timeout`` (``settings.timeout``).

        Raises ServiceUnavailableError, with how much is not delivered.
        """
        raise NotImplementedError

    def close(self, timeout: float | None = None) -> None:
        """Let go of the session; the last to do so flushes and ends it, within ``timeout`` (``settings.timeout``).

        Each ``open_session`` is matched by one ``close``. What could not be delivered is counted and said in a warning.
        """
        raise NotImplementedError

    @property
    def statistics(self) -> Any:
        """Counters so far: a frozen ``SessionStatistics``."""
        raise NotImplementedError


def open_session(
    target: str | None = None,
    *,
    curriculum: str | None = None,
    token: str | None = None,
    settings: SessionSettings | None = None,
) -> Session:
    """The process's session of (target, curriculum, token, settings): the same object for all, until all closed it.

    Arguments win over SYLLABUS_TARGET, SYLLABUS_CURRICULUM and SYLLABUS_TOKEN. Does not wait: it connects in the
    background.
    """
    raise NotImplementedError

"""The episode that one environment runs: its assignment, and what has been counted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from syllabus_client.stream import Assignment
from syllabus_client.task_spaces import TaskNotInSpaceError
from syllabus_client.wrappers._session_link import PURPOSE_NAMES, SessionLink

T = TypeVar("T")


class Episode:
    """One assignment per episode, whatever happens: it is reported, or given back.

    Attributes:
        link: the way to the session.
        assignment: of the episode under way; None between episodes.
        encoded: the encoded task that runs.
        purpose: "train" or "evaluate".
        length: steps so far.
        completion: the last task completion that the environment told, or 0.
    """

    def __init__(self, link: SessionLink) -> None:
        self.link = link
        self.assignment: Assignment | None = None
        self.encoded: Any = None
        self._told: Any = None  # the encoded task as the environment tells it; None: it does not
        self.purpose = ""
        self.length = 0
        self.completion = 0.0

    def start(self, give: Callable[[Any], T], running_task: Callable[[], Any]) -> T:
        """Draw the next task, give it to the environment, and begin its episode; returns what ``give`` returns.

        An unfinished episode is released first. Where one of the two raises, the assignment is given back.

        Args:
            give: takes the decoded task.
            running_task: tells which decoded task the environment runs; None where it does not say.
        """
        if self.assignment is not None:
            self.release()
        assignment = self.link.session.next_task()
        try:
            given = give(assignment.task)
            told = self._encode(running_task(), assignment)
        except BaseException:
            self.link.release([assignment.id])
            raise
        self._told = told
        self.encoded = assignment.encoded if told is None else told
        self.purpose = PURPOSE_NAMES.get(assignment.purpose, "train")
        self.length = 0
        self.completion = 0.0
        self.assignment = assignment
        return given

    def _encode(self, task: Any, assignment: Assignment) -> Any:
        if task is None:
            return None if assignment.id else assignment.encoded  # a repeated task is always told
        if task is assignment.task:
            return assignment.encoded
        try:
            return self.link.session.task_space.encode(task)
        except TaskNotInSpaceError as error:
            raise TaskNotInSpaceError(
                f"the environment runs {task!r}, which is not a task of the curriculum: {error}. Where its attribute "
                f"'task' means something else, pass task_attribute=None."
            ) from error

    @property
    def task_is_over(self) -> bool:
        """Whether the environment told that the task is completed, or has failed."""
        return self.completion >= 1.0 or self.completion < 0.0

    def report(
        self,
        episode_return: float,
        metrics: Mapping[str, float] | None,
        agent_returns: Mapping[str, float] | None = None,
    ) -> None:
        """End the episode and report it. In a process that does not hold its assignment (a fork's child): end it."""
        assignment, self.assignment = self.assignment, None
        session = self.link.held
        if assignment is not None and session is not None:
            completion = self.completion
            session.report_episode(
                assignment.id,
                task=self._told,
                episode_return=episode_return,
                length=self.length,
                progress=completion if 0.0 <= completion <= 1.0 else min(max(completion, 0.0), 1.0),
                env_id=self.link.env_id,
                metrics=metrics,
                agent_returns=agent_returns,
            )

    def release(self) -> None:
        """Give the assignment of an unfinished episode back."""
        assignment, self.assignment = self.assignment, None
        if assignment is not None:
            self.link.release([assignment.id])

    def close(self) -> None:
        """Give the assignment back and let go of the session, which delivers what was reported."""
        self.release()
        self.link.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "assignment": None}

"""The episode that one environment runs: its assignment, and what has been counted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from syllabus_client.stream import Assignment
from syllabus_client.task_spaces import TaskNotInSpaceError
from syllabus_client.wrappers._session_link import PURPOSE_NAMES, SessionLink


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
        self._clear()

    def _clear(self) -> None:
        self.assignment: Assignment | None = None
        self.encoded: Any = None
        self._told: Any = None  # the encoded task as the environment tells it; None: it does not
        self.purpose = ""
        self.length = 0
        self.completion = 0.0

    @contextmanager
    def starting(self, running_task: Callable[[], Any]) -> Iterator[Assignment]:
        """Draw the next task and, once the block has given it to the environment, begin its episode.

        An unfinished episode is released first. When the block raises, the assignment is given back.

        Args:
            running_task: tells which decoded task the environment runs; None where it does not say.
        """
        self.release()
        assignment = self.link.session.next_task()
        try:
            yield assignment
            told = self._encode(running_task(), assignment)
        except BaseException:
            self.link.release([assignment.id])
            raise
        self._clear()
        self._told = told
        self.encoded = assignment.encoded if told is None else told
        self.purpose = PURPOSE_NAMES.get(assignment.purpose, "train")
        self.assignment = assignment

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
        assignment = self.assignment
        if assignment is not None and self.link.is_open:
            self.link.session.report_episode(
                assignment.id,
                task=self._told,
                episode_return=episode_return,
                length=self.length,
                progress=min(max(self.completion, 0.0), 1.0),
                env_id=self.link.env_id,
                metrics=metrics,
                agent_returns=agent_returns,
            )
        self.assignment = None

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

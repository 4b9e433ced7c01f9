"""A learner that keeps the manual curriculum's queue filled, through whatever happens, and notes how often it asked."""

from __future__ import annotations

import threading

from syllabus_client.client import CurriculumClient

_CALL_SECONDS = 120.0
_LOW = 400
_PAUSE_SECONDS = 0.05


class Learner(threading.Thread):
    """Adds all tasks a few times whenever few are left. Each call is resent until it is answered.

    Args:
        target: the service.
        curriculum: a manual curriculum, with an empty queue.
        num_tasks: how many tasks there are.
    """

    def __init__(self, target: str, curriculum: str, num_tasks: int) -> None:
        super().__init__(name="learner")
        self._client = CurriculumClient(target, curriculum=curriculum, timeout=_CALL_SECONDS)
        self._tasks = list(range(num_tasks))
        self._stopping = threading.Event()
        self.rounds = 0
        """How often each task was asked for, in calls that were acknowledged."""
        self.calls = 0
        self._failure: Exception | None = None

    def run(self) -> None:
        """Add tasks until it is stopped."""
        try:
            with self._client as client:
                while not self._stopping.wait(_PAUSE_SECONDS):
                    if self.rounds * len(self._tasks) - client.summary().num_episodes < _LOW:
                        client.add_tasks(self._tasks * 5)
                        self.rounds += 5
                        self.calls += 1
        except Exception as error:  # noqa: BLE001 - told to whoever stops it
            self._failure = error

    def stop(self) -> None:
        """Finish the call under way, and end. Raises what a call has raised."""
        self._stopping.set()
        if self.is_alive():
            self.join()
        if self._failure is not None:
            raise self._failure

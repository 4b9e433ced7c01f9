"""A real service for each test: the embedded one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from syllabus_client.multiprocessing import EmbeddedCurriculum, EmbeddedQueue, make_multiprocessing_curriculum
from syllabus_client.task_spaces import DiscreteTaskSpace
from tests.wrappers.recorder import Recorder


@dataclass
class Recorded:
    """A served Recorder."""

    client: EmbeddedCurriculum
    queue: EmbeddedQueue

    def columns(self) -> dict[str, list]:
        """What the curriculum was told so far, by column."""
        return {name: np.asarray(column).tolist() for name, column in self.client.custom_update(tell=True).items()}


@pytest.fixture
def record() -> Iterator[Callable[..., Recorded]]:
    """Serves a Recorder of the given number of tasks."""
    with ExitStack() as stack:

        def serve(num_tasks: int = 10, **kwargs: object) -> Recorded:
            recorder = Recorder(DiscreteTaskSpace(num_tasks), seed=1, **kwargs)  # type: ignore[arg-type]
            client, queue, _ = make_multiprocessing_curriculum(recorder)
            stack.callback(client.close)
            return Recorded(client, queue)

        yield serve

"""A real service for each test: the embedded one, in a thread, or in a process where a test forks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from syllabus_client.client import CurriculumClient
from syllabus_client.multiprocessing import CURRICULUM_NAME, EmbeddedQueue, make_multiprocessing_curriculum
from syllabus_client.task_spaces import DiscreteTaskSpace
from tests.wrappers.embedded_thread import EmbeddedThread
from tests.wrappers.recorder import Recorder


@dataclass
class Recorded:
    """A served Recorder."""

    client: CurriculumClient
    queue: EmbeddedQueue

    def columns(self) -> dict[str, list]:
        """What the curriculum was told so far, by column."""
        return {name: np.asarray(column).tolist() for name, column in self.client.custom_update(tell=True).items()}


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Serves a Recorder of the given number of tasks."""
    with ExitStack() as stack:

        def serve(num_tasks: int = 10, *, process: bool = False, **kwargs: object) -> Recorded:
            recorder = Recorder(DiscreteTaskSpace(num_tasks), seed=1, **kwargs)  # type: ignore[arg-type]
            client: CurriculumClient
            if process:
                client, queue, _ = make_multiprocessing_curriculum(recorder)
            else:
                service = EmbeddedThread(recorder, name=CURRICULUM_NAME, listen=f"unix:{tmp_path}/s", lease=60.0)
                stack.callback(service.stop)
                queue = EmbeddedQueue(service.address)
                client = CurriculumClient(queue.address, curriculum=queue.curriculum)
            stack.callback(client.close)
            return Recorded(client, queue)

        yield serve

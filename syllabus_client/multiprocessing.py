"""One machine, Python processes: the service runs embedded, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from syllabus_client.client import CurriculumClient
from syllabus_client.wrappers.gymnasium import GymnasiumSyncWrapper

if TYPE_CHECKING:
    from syllabus_service.curricula import Curriculum
    from syllabus_service.embedded_process import EmbeddedProcess

CURRICULUM_NAME = "curriculum"  #: the name under which an embedded service serves its curriculum


@dataclass(frozen=True)
class EmbeddedQueue:
    """Where an embedded service is. Small and picklable: pass it to worker processes, whatever starts them."""

    address: str
    """Its target, ``unix:PATH``."""
    curriculum: str = CURRICULUM_NAME
    """Name of its curriculum."""

    def resolve(self) -> tuple[str, str, str | None]:
        """Target, curriculum and token, as a ``ServiceHandle`` tells them."""
        return self.address, self.curriculum, None


class EmbeddedCurriculum(CurriculumClient):
    """The learner's handle of an embedded service. ``close`` ends the service; so does the end of this process.

    A copy, in this process or another, is only a client: closing it ends nothing.

    Attributes:
        service_pid: process id of the service.
    """

    def __init__(self, process: EmbeddedProcess, **kwargs: Any) -> None:
        super().__init__(process.address, curriculum=CURRICULUM_NAME, **kwargs)
        self.service_pid = process.pid
        self._process: EmbeddedProcess | None = process

    def close(self) -> None:
        """Disconnect, and end the service if this is the process that started it."""
        try:
            super().close()
        finally:
            if self._process is not None:
                self._process.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_process": None}


def make_multiprocessing_curriculum(
    curriculum: Curriculum, *, lease: float = 120.0, timeout: float = 60.0, **kwargs: Any
) -> tuple[EmbeddedCurriculum, EmbeddedQueue, EmbeddedQueue]:
    """Serve a curriculum to the processes of this machine.

    The service runs in a process of its own, behind a Unix socket that only this user reaches, and ends with this
    process. It can be made anywhere: in any thread, before or after any fork; no signal handler is touched and no
    ``if __name__ == "__main__"`` is needed on its account.

    Args:
        curriculum: the curriculum. A copy goes to the service (by cloudpickle) and learns there; this one does not.
        lease: seconds that a worker process may stay silent before its assignments are abandoned, more than 0.
        timeout: seconds that the start may take, and that the learner's calls may.
        **kwargs: further arguments of ``CurriculumClient``.

    Returns:
        The learner's handle, and two handles for the environments' processes: ``task_queue`` and ``update_queue``.

    Raises:
        EmbeddedServiceError: the service did not start; at once, with its traceback.
        TimeoutError: it took longer than ``timeout``.

    Example:
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> from syllabus_service.curricula import create
        >>> uniform = create("domain_randomization", DiscreteTaskSpace(4), seed=1)
        >>> curriculum, task_queue, update_queue = make_multiprocessing_curriculum(uniform)
        >>> curriculum.distribution().tolist()
        [0.25, 0.25, 0.25, 0.25]
        >>> curriculum.close()
    """
    from syllabus_service.embedded_process import EmbeddedProcess

    process = EmbeddedProcess(curriculum, name=CURRICULUM_NAME, lease=lease, timeout=timeout)
    try:
        handle = EmbeddedCurriculum(process, timeout=timeout, **kwargs)
    except BaseException:
        process.stop()
        raise
    queue = EmbeddedQueue(process.address)
    return handle, queue, queue


class MultiProcessingSyncWrapper(GymnasiumSyncWrapper[ObsType, ActType], Generic[ObsType, ActType]):
    """``GymnasiumSyncWrapper`` on the service of ``make_multiprocessing_curriculum``.

    Args:
        env: an environment whose ``reset`` takes ``new_task``.
        task_queue: from ``make_multiprocessing_curriculum``.
        update_queue: from the same call.
        **kwargs: further arguments of ``GymnasiumSyncWrapper``.

    Raises ValueError where the two are of different services, and as ``GymnasiumSyncWrapper`` does.
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        task_queue: EmbeddedQueue,
        update_queue: EmbeddedQueue,
        **kwargs: Any,
    ) -> None:
        if task_queue != update_queue:
            raise ValueError(
                f"update_queue: expected that of the task_queue's service, {task_queue}, got {update_queue}"
            )
        gym.utils.RecordConstructorArgs.__init__(
            self,
            task_queue=task_queue,
            update_queue=update_queue,
            **{name: value for name, value in kwargs.items() if name != "token"},
        )
        super().__init__(env, task_queue, **kwargs)

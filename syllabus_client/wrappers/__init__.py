"""Wrappers that run environments under a curriculum, and the task interface that they ask of environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syllabus_client.wrappers._new_task import NoTaskInResetError
from syllabus_client.wrappers._session_link import ServiceHandle
from syllabus_client.wrappers._step_buffer import ObservationTooLargeError
from syllabus_client.wrappers._vector_tasks import MissingVectorTasksError, VectorTasks
from syllabus_client.wrappers.gymnasium import GymnasiumSyncWrapper
from syllabus_client.wrappers.next_task import NextTaskWrapper
from syllabus_client.wrappers.task_interface import ReinitTaskWrapper, SubclassTaskWrapper, TaskEnv, TaskWrapper
from syllabus_client.wrappers.vector import VectorSyncWrapper

if TYPE_CHECKING:
    from syllabus_client.wrappers.pettingzoo import PettingZooSyncWrapper, PettingZooTaskWrapper

__all__ = [
    "GymnasiumSyncWrapper",
    "MissingVectorTasksError",
    "NextTaskWrapper",
    "NoTaskInResetError",
    "ObservationTooLargeError",
    "PettingZooSyncWrapper",
    "PettingZooTaskWrapper",
    "ReinitTaskWrapper",
    "ServiceHandle",
    "SubclassTaskWrapper",
    "TaskEnv",
    "TaskWrapper",
    "VectorSyncWrapper",
    "VectorTasks",
]


def __getattr__(name: str) -> Any:
    """Import what needs PettingZoo, an extra, when it is asked for."""
    if name in ("PettingZooSyncWrapper", "PettingZooTaskWrapper"):
        from syllabus_client.wrappers import pettingzoo

        return getattr(pettingzoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

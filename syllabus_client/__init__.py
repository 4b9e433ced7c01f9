"""What an environment or a learner imports: wrappers, the learner's handle, task spaces, errors.

Names are imported when they are asked for, so that a worker pays only for what it uses, and needs no Ray or PettingZoo
unless it uses them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syllabus_client.client import CurriculumClient
    from syllabus_client.errors import (
        AuthenticationError,
        BufferFullError,
        CurriculumExistsError,
        CurriculumNotFoundError,
        CurriculumServiceError,
        InvalidArgumentError,
        LimitExceededError,
        NotSupportedError,
        PreconditionError,
        ServiceUnavailableError,
        TaskTimeoutError,
    )
    from syllabus_client.evaluator import Evaluation, Evaluator
    from syllabus_client.multiprocessing import MultiProcessingSyncWrapper, make_multiprocessing_curriculum
    from syllabus_client.ray import RaySyncWrapper, make_ray_curriculum
    from syllabus_client.sampler import CurriculumSampler
    from syllabus_client.session_statistics import SessionStatistics
    from syllabus_client.settings import SessionSettings
    from syllabus_client.stream import Assignment, Assignments, Session, open_session
    from syllabus_client.task_spaces import (
        BoxTaskSpace,
        DiscreteTaskSpace,
        MultiDiscreteTaskSpace,
        StratifiedDiscreteTaskSpace,
        TaskNotInSpaceError,
        TaskSpace,
        TupleTaskSpace,
        task_space,
    )
    from syllabus_client.wrappers import (
        GymnasiumSyncWrapper,
        MissingVectorTasksError,
        NextTaskWrapper,
        NoTaskInResetError,
        ObservationTooLargeError,
        PettingZooSyncWrapper,
        PettingZooTaskWrapper,
        ReinitTaskWrapper,
        ServiceHandle,
        SubclassTaskWrapper,
        TaskEnv,
        TaskWrapper,
        VectorSyncWrapper,
        VectorTasks,
    )

_MODULES = {
    "client": ("CurriculumClient",),
    "errors": (
        "AuthenticationError",
        "BufferFullError",
        "CurriculumExistsError",
        "CurriculumNotFoundError",
        "CurriculumServiceError",
        "InvalidArgumentError",
        "LimitExceededError",
        "NotSupportedError",
        "PreconditionError",
        "ServiceUnavailableError",
        "TaskTimeoutError",
    ),
    "evaluator": ("Evaluation", "Evaluator"),
    "multiprocessing": ("MultiProcessingSyncWrapper", "make_multiprocessing_curriculum"),
    "ray": ("RaySyncWrapper", "make_ray_curriculum"),
    "sampler": ("CurriculumSampler",),
    "session_statistics": ("SessionStatistics",),
    "settings": ("SessionSettings",),
    "stream": ("Assignment", "Assignments", "Session", "open_session"),
    "task_spaces": (
        "BoxTaskSpace",
        "DiscreteTaskSpace",
        "MultiDiscreteTaskSpace",
        "StratifiedDiscreteTaskSpace",
        "TaskNotInSpaceError",
        "TaskSpace",
        "TupleTaskSpace",
        "task_space",
    ),
    "wrappers": (
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
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Assignment",
    "Assignments",
    "AuthenticationError",
    "BoxTaskSpace",
    "BufferFullError",
    "CurriculumClient",
    "CurriculumExistsError",
    "CurriculumNotFoundError",
    "CurriculumSampler",
    "CurriculumServiceError",
    "DiscreteTaskSpace",
    "Evaluation",
    "Evaluator",
    "GymnasiumSyncWrapper",
    "InvalidArgumentError",
    "LimitExceededError",
    "MissingVectorTasksError",
    "MultiDiscreteTaskSpace",
    "MultiProcessingSyncWrapper",
    "NextTaskWrapper",
    "NoTaskInResetError",
    "NotSupportedError",
    "ObservationTooLargeError",
    "PettingZooSyncWrapper",
    "PettingZooTaskWrapper",
    "PreconditionError",
    "RaySyncWrapper",
    "ReinitTaskWrapper",
    "ServiceHandle",
    "ServiceUnavailableError",
    "Session",
    "SessionSettings",
    "SessionStatistics",
    "StratifiedDiscreteTaskSpace",
    "SubclassTaskWrapper",
    "TaskEnv",
    "TaskNotInSpaceError",
    "TaskSpace",
    "TaskTimeoutError",
    "TaskWrapper",
    "TupleTaskSpace",
    "VectorSyncWrapper",
    "VectorTasks",
    "make_multiprocessing_curriculum",
    "make_ray_curriculum",
    "open_session",
    "task_space",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Curricula: pure, vectorised, deterministic algorithms over a task space.

The classes of all built-in curricula can be imported from here; each is loaded when it is asked for.
"""

from importlib import import_module
from typing import Any

from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import EVALUATE, TRAIN, Draw, EpisodeBatch, StepBatch
from syllabus_service.curricula.registry import CLASSES, InvalidParamsError, UnknownCurriculumError, create, names

__all__ = [
    "EVALUATE",
    "TRAIN",
    "Curriculum",
    "Draw",
    "EpisodeBatch",
    "InvalidParamsError",
    "StepBatch",
    "UnknownCurriculumError",
    "create",
    "names",
]


def __getattr__(name: str) -> Any:
    module = CLASSES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *CLASSES})

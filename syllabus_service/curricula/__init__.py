"""Curricula: pure, vectorised, deterministic algorithms over a task space."""

from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import EVALUATE, TRAIN, Draw, EpisodeBatch, StepBatch
from syllabus_service.curricula.registry import InvalidParamsError, UnknownCurriculumError, create, names

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

"""Curricula by name: the built-in ones, those of installed packages, and ``module:Class``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.param_checks import TooManyTasksError

ENTRY_POINT_GROUP = "syllabus.curricula"

# Paths within this package, loaded when asked for.
_BUILT_IN: dict[str, str] = {
    "constant": "constant:Constant",
    "domain_randomization": "domain_randomization:DomainRandomization",
    "batched_domain_randomization": "domain_randomization:BatchedDomainRandomization",
    "synced_batched_domain_randomization": "domain_randomization:SyncedBatchedDomainRandomization",
    "manual": "manual:Manual",
    "sequential": "sequential:Sequential",
    "expanding_box": "expanding_box:ExpandingBox",
    "simulated_annealing": "simulated_annealing:SimulatedAnnealing",
    "learning_progress": "learning_progress:LearningProgress",
    "online_learning_progress": "online_learning_progress:OnlineLearningProgress",
    "learnability": "learnability:Learnability",
    "stratified_domain_randomization": "stratified:StratifiedDomainRandomization",
    "stratified_learning_progress": "stratified:StratifiedLearningProgress",
    "stratified_online_learning_progress": "stratified:StratifiedOnlineLearningProgress",
    "stratified_learnability": "stratified:StratifiedLearnability",
    "omni": "omni:OMNI",
    "omni_learnability": "omni:OMNILearnability",
    "prioritized_level_replay": "prioritized_level_replay:PrioritizedLevelReplay",
    "robust_prioritized_level_replay": "robust_prioritized_level_replay:RobustPrioritizedLevelReplay",
    "self_play": "self_play:SelfPlay",
    "fictitious_self_play": "self_play:FictitiousSelfPlay",
    "prioritized_fictitious_self_play": "self_play:PrioritizedFictitiousSelfPlay",
    "dual": "dual:Dual",
    "multi_agent_shared": "multi_agent:MultiAgentShared",
    "multi_agent_independent": "multi_agent:MultiAgentIndependent",
}


CLASSES = {path.partition(":")[2]: path.partition(":")[0] for path in _BUILT_IN.values()}
"""Names of the built-in classes, and the modules of this package that have them."""


class UnknownCurriculumError(ValueError):
    """No curriculum has this name, or what has it is not a curriculum."""


class InvalidParamsError(ValueError):
    """A curriculum cannot be made from these parameters."""


def names() -> list[str]:
    """The names of all built-in and installed curricula, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def resolve(name: str, *, allow_import: bool = True) -> type[Curriculum]:
    """The class of a curriculum.

    Args:
        name: a built-in name, a name in the entry-point group ``syllabus.curricula``, or ``module:Class``.
        allow_import: whether ``module:Class`` is an answer. It imports a module of the caller's choice, so a name that
            came over the network must not be allowed to.

    Raises:
        UnknownCurriculumError: there is none, or it is not a subclass of Curriculum.
    """
    if (path := _BUILT_IN.get(name)) is not None:
        return _load(f"{__package__}.{path}")
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _checked(name, point.load())
    if allow_import and ":" in name:
        return _load(name)
    raise UnknownCurriculumError(f"no curriculum is named {name!r}; there are {', '.join(names())}")


def create(
    name: str,
    task_space: TaskSpace,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    *,
    allow_import: bool = True,
) -> Curriculum:
    """Build a curriculum from a spec.

    Raises:
        UnknownCurriculumError: see ``resolve``.
        TooManyTasksError: it would hold more tasks than its memory should.
        InvalidParamsError: a parameter is unknown, missing, or of a value that the curriculum refuses; it is named.
    """
    curriculum_class = resolve(name, allow_import=allow_import)
    params = dict(params or {})
    try:
        inspect.signature(curriculum_class).bind(task_space, seed=seed, **params)
    except TypeError as error:
        raise InvalidParamsError(f"params of {name}: {error}") from error
    try:
        return curriculum_class(task_space, seed=seed, **params)
    except TooManyTasksError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidParamsError(f"params of {name}: {error}") from error


def _load(path: str) -> type[Curriculum]:
    module_name, _, class_name = path.partition(":")
    try:
        return _checked(path, getattr(importlib.import_module(module_name), class_name))
    except (ImportError, AttributeError) as error:
        raise UnknownCurriculumError(f"cannot load the curriculum {path!r}: {error}") from error


def _checked(name: str, candidate: object) -> type[Curriculum]:
    if not (isinstance(candidate, type) and issubclass(candidate, Curriculum)):
        raise UnknownCurriculumError(f"{name!r} names no subclass of syllabus_service.curricula.Curriculum")
    return candidate

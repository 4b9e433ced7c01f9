"""curricula.yaml: the curricula that a service has from its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from syllabus_client.task_spaces import (
    BoxTaskSpace,
    DiscreteTaskSpace,
    MultiDiscreteTaskSpace,
    StratifiedDiscreteTaskSpace,
    TaskSpace,
    TupleTaskSpace,
)
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import RequestError
from syllabus_service.specs import DEFAULT_LEASE_SECONDS, MAX_LEASE_SECONDS, MIN_LEASE_SECONDS, build_curriculum
from syllabus_service.yaml_files import ConfigError, Strict, read_yaml

_NAME = r"^[A-Za-z0-9._-]{1,128}$"


@dataclass(frozen=True)
class ConfiguredCurriculum:
    """One curriculum of the file."""

    name: str
    spec: pb.CurriculumSpec
    place: str
    """File and line, for messages."""


def load_config(path: Path) -> list[ConfiguredCurriculum]:
    """Read a file such as::

        curricula:
          maze-run-7:
            algorithm: online_learning_progress  # or module:Class
            params: {ema_alpha: 0.1}
            task_space: 200
            seed: 1
            lease_seconds: 120

    ``task_space`` is a number of tasks, a list of tasks, or one of ``discrete``, ``multi_discrete``, ``box``, ``tuple``
    and ``stratified_discrete`` with what the task space of that name takes. Every curriculum is built once, so that a
    parameter that an algorithm refuses is found here.

    Raises ConfigError, naming the file, the line and the key.
    """
    config, lines = read_yaml(path, _Config)
    return [
        _configured(path, lines.get(("curricula", name), 1), name, curriculum)
        for name, curriculum in config.curricula.items()
    ]


class _Discrete(Strict):
    num_tasks: int | None = Field(default=None, ge=1)
    start: int = 0
    tasks: list[JsonValue] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.num_tasks is None) == (self.tasks is None):
            raise ValueError("expected either num_tasks or tasks")
        return self

    def build(self) -> TaskSpace:
        return DiscreteTaskSpace(self.num_tasks if self.tasks is None else self.tasks, start=self.start)


class _MultiDiscrete(Strict):
    components: list[int | list[JsonValue]] = Field(min_length=1)
    encoding: Literal["flat", "tuple"] = "flat"

    def build(self) -> TaskSpace:
        return MultiDiscreteTaskSpace(self.components, self.encoding)


class _Box(Strict):
    low: float | list[JsonValue]
    high: float | list[JsonValue]
    shape: list[int] | None = None
    dtype: Literal["float64", "float32", "int64", "int32"] = "float64"

    def build(self) -> TaskSpace:
        low, high = np.asarray(self.low, self.dtype), np.asarray(self.high, self.dtype)
        return BoxTaskSpace(low, high, shape=self.shape, dtype=self.dtype)


class _Tuple(Strict):
    components: list[_TaskSpace] = Field(min_length=1)

    def build(self) -> TaskSpace:
        return TupleTaskSpace([_build_space(component) for component in self.components])


class _Stratified(Strict):
    tasks: int | list[JsonValue]
    strata: list[int] | list[list[JsonValue]]

    def build(self) -> TaskSpace:
        return StratifiedDiscreteTaskSpace(self.tasks, self.strata)


class _Kinds(Strict):
    discrete: _Discrete | None = None
    multi_discrete: _MultiDiscrete | None = None
    box: _Box | None = None
    tuple: _Tuple | None = None
    stratified_discrete: _Stratified | None = None
    task_names: list[str] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.given()) != 1:
            raise ValueError(f"expected one of {', '.join(_KINDS)}")
        return self

    def given(self) -> list[Any]:
        return [kind for name in _KINDS if (kind := getattr(self, name)) is not None]

    def build(self) -> TaskSpace:
        space: TaskSpace = self.given()[0].build()
        return space if self.task_names is None else space.named(self.task_names)


_KINDS = ("discrete", "multi_discrete", "box", "tuple", "stratified_discrete")


def _form(value: Any) -> str:
    """Which form of a task space this is: a number, a list or a kind."""
    if isinstance(value, list):
        return "list"
    return "kind" if isinstance(value, (dict, _Kinds)) else "number"


_TaskSpace = Annotated[
    Annotated[int, Field(ge=1), Tag("number")]
    | Annotated[list[JsonValue], Field(min_length=1), Tag("list")]
    | Annotated[_Kinds, Tag("kind")],
    Discriminator(_form),
]


class _Curriculum(Strict):
    algorithm: str = Field(min_length=1)
    params: dict[str, JsonValue] = Field(default_factory=dict)
    task_space: _TaskSpace
    seed: int = Field(default=0, ge=0, lt=2**64)
    lease_seconds: float = Field(default=DEFAULT_LEASE_SECONDS, ge=MIN_LEASE_SECONDS, le=MAX_LEASE_SECONDS)


class _Config(Strict):
    curricula: dict[Annotated[str, Field(pattern=_NAME)], _Curriculum] = Field(default_factory=dict)


def _build_space(config: int | list[Any] | _Kinds) -> TaskSpace:
    return config.build() if isinstance(config, _Kinds) else DiscreteTaskSpace(config)


def _configured(path: Path, line: int, name: str, curriculum: _Curriculum) -> ConfiguredCurriculum:
    place = f"{path}:{line}"
    spec = pb.CurriculumSpec(algorithm=curriculum.algorithm, seed=curriculum.seed)
    try:
        spec.task_space.CopyFrom(_build_space(curriculum.task_space).to_proto())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{place}: curricula.{name}.task_space: {error}") from error
    spec.params.update(curriculum.params)
    spec.lease.FromNanoseconds(round(curriculum.lease_seconds * 1e9))
    try:
        build_curriculum(spec, may_import=lambda algorithm: True)
    except RequestError as error:
        raise ConfigError(f"{place}: curricula.{name}: {str(error).removeprefix('spec.')}") from error
    return ConfiguredCurriculum(name, spec, place)

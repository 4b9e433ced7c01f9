"""YAML files that a pydantic model describes: every mistake is told with its file, line and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Key = tuple[str | int, ...]
"""Where something stands in a file: names of keys and indices of lists."""


class ConfigError(ValueError):
    """The file does not say what it should. The message names the file, the line and the key."""


class Strict(BaseModel):
    """A model that refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def read_yaml(path: Path, model: type[ModelT]) -> tuple[ModelT, Mapping[Key, int]]:
    """What a file says, and on which line each key stands. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    lines: dict[Key, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _note_lines(root, (), lines, path)
        content = yaml.safe_load(text)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise ConfigError(f"{path}: not YAML: {error}") from error
    try:
        return model.model_validate(content if content is not None else {}), lines
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(path, each, lines) for each in error.errors())) from error


def _note_lines(node: yaml.Node, key: Key, lines: dict[Key, int], path: Path) -> None:
    """Note on which line each key stands. Raises ConfigError for a key that is there twice: YAML keeps the last."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            place = (*key, str(name.value))
            line = name.start_mark.line + 1
            if place in lines:
                raise ConfigError(f"{path}:{line}: {_dotted(place)}: is there twice, first on line {lines[place]}")
            lines[place] = line
            _note_lines(value, place, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key, index)] = value.start_mark.line + 1
            _note_lines(value, (*key, index), lines, path)


def _describe(path: Path, error: Any, lines: Mapping[Key, int]) -> str:
    place: Key = ()
    line = 1
    for part in error["loc"]:
        if (*place, part) in lines:  # other parts name a form of a union, not a key
            place = (*place, part)
            line = lines[place]
        elif part is error["loc"][-1] and error["type"] == "missing":
            place = (*place, part)
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}:{line}: {_dotted(place) or 'the file'}: {message}"


def _dotted(place: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")

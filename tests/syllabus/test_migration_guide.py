"""The migration guide against both packages: no public name of Syllabus is missing, and what it names here is there."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import syllabus_client
from syllabus_client import CurriculumClient, Evaluator, PettingZooTaskWrapper, TaskSpace
from syllabus_client.ray import RayCurriculum
from syllabus_service import curricula

pytestmark = pytest.mark.syllabus
pytest.importorskip("syllabus.core", reason="make test-syllabus installs syllabus-rl")

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "migrating-from-syllabus.md"


@pytest.mark.parametrize("module", ["syllabus.core", "syllabus.curricula", "syllabus.task_space"])
def test_every_public_name_has_a_place_in_the_first_column(module: str) -> None:
    rows = [line.split("|")[1] for line in GUIDE.read_text().splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)", row)}
    imported = importlib.import_module(module)
    public = {name for name, value in vars(imported).items() if name[0] != "_" and not _is_module(value)}
    assert public - told == set()


def test_what_the_guide_imports_of_syllabus_is_there() -> None:
    imports = re.findall(r"^from (syllabus\.\S+) import (.+)$", GUIDE.read_text(), re.MULTILINE)
    assert imports
    for module, names in imports:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name)


def _right_columns() -> list[str]:
    """What the guide says that each name is here: the cells behind the first one."""
    return ["|".join(line.split("|")[2:-1]) for line in GUIDE.read_text().splitlines() if line.startswith("| `")]


def _curricula_rows() -> list[tuple[str, str, str]]:
    """Names of Syllabus's curricula, names here, and what differs."""
    section = GUIDE.read_text().partition("\n## Curricula\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return [tuple(row) for row in rows]  # type: ignore[misc]


def test_every_curriculum_in_the_second_column_is_one_of_this_package() -> None:
    rows = _curricula_rows()
    assert len(rows) > 15
    named = {name for _, here, _ in rows for name in re.findall(r"`(\w+)`", here)}
    assert named <= {*curricula.names(), "json"} | {"load"}
    assert len(named & set(curricula.names())) > 15


def test_every_parameter_that_the_guide_names_is_one_of_that_curriculum() -> None:
    """Of a row's third column: words that are a parameter of Syllabus's class or of the curriculum here."""
    module = importlib.import_module("syllabus.curricula")
    checked = 0
    for theirs, here, differs in _curricula_rows():
        ours = [name for name in re.findall(r"`(\w+)`", here) if name in curricula.names()]
        if not ours:
            continue
        mine = {each for name in ours for each in _parameters(curricula.registry.resolve(name))}
        old = {each for name in re.findall(r"`(\w+)`", theirs) for each in _parameters(getattr(module, name))}
        updates = {"update", "success_rates", "tasks", "scores", "custom_update", "add_tasks", "algorithm", "params"}
        others = {"Evaluator", "LearningProgress", "score", "update_winrate", "robust_plr", "True"}
        for word in re.findall(r"`(\w+)", differs):
            assert word in mine | old | updates | others | set(curricula.names()), (theirs, word)
            checked += word in mine
    assert checked >= 4


def _parameters(kind: type) -> set[str]:
    """Names of the arguments of a class's constructor, and of those that it inherits."""
    return {name for each in kind.__mro__ if "__init__" in vars(each) for name in inspect.signature(each).parameters}


def test_every_name_of_this_package_in_the_second_column_is_there() -> None:
    """Words with a capital letter are public names of the client or the service; calls are methods or functions."""
    text = "\n".join(_right_columns())
    curriculum_names = set(curricula.names())
    places = [
        syllabus_client,
        curricula,
        curricula.Curriculum,
        CurriculumClient,
        Evaluator,
        RayCurriculum,
        TaskSpace,
        PettingZooTaskWrapper,
    ]
    there = {name for place in places for name in dir(place)} | curriculum_names
    there |= {"RayCurriculum", "SyllabusCurriculum", "LearningProgress"}  # the last is the row that another refers to
    codes = re.findall(r"`([^`]+)`", text)
    classes = {name for code in codes for name in re.findall(r"\b[A-Z][A-Za-z]+[a-z][A-Za-z]*", code)}
    classes -= {"True", "False", "None"}
    assert len(classes) > 12
    assert classes - there == set()
    calls = {name for code in codes for name in re.findall(r"(\w+)\(", code)} - classes
    calls -= {"load"}
    assert len(calls) > 10
    assert calls - there == set()


def test_the_client_takes_the_arguments_that_the_guide_passes() -> None:
    """Keyword arguments in the second column: those of what the call names."""
    checked = 0
    for code in re.findall(r"`([^`]+)`", "\n".join(_right_columns())):
        call = re.fullmatch(r"(?:\w+\.)*(\w+)\((.*)\)", code)
        if call is None or call[1] in ("custom_update", "report_episodes"):  # any names, or those of the columns
            continue
        target = getattr(syllabus_client, call[1], None) or getattr(CurriculumClient, call[1], None)
        if target is None:
            continue
        names = set(inspect.signature(target).parameters)
        for keyword in re.findall(r"(\w+)=", call[2]):
            assert keyword in names, code
            checked += 1
    assert checked >= 3


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"

"""The migration guide against the published package: no public name of Syllabus is missing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

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


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"

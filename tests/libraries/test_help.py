"""Each example says what it does and what may be told to it, before it does anything."""

import importlib

import pytest

from tests.examples.programs import ROOT

PROGRAMS = sorted(
    path.stem
    for path in (ROOT / "examples").glob("*.py")
    if "\ndef parse(" in path.read_text() and not path.stem.startswith("rllib")  # those need Ray
)


def test_the_list_of_examples_tells_of_every_file():
    listed = (ROOT / "examples/README.md").read_text()
    assert len(PROGRAMS) >= 9
    for path in (ROOT / "examples").glob("*.py"):
        assert (
            path.stem == "__init__" or f"`{path.stem}`" in listed or f"`{path.name}`" in listed or path.stem == "demo"
        )


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_explains_a_program_and_runs_nothing(name, capsys):
    program = importlib.import_module(f"examples.{name}")
    with pytest.raises(SystemExit) as left:
        program.parse(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert program.__doc__.split()[0] in said
    assert "--" in said.partition("--help")[2]

"""What README and docs say is so: Python runs, YAML loads, tables are complete, links lead somewhere."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from syllabus_service.cli import main
from syllabus_service.config import load_config
from syllabus_service.curricula import registry
from syllabus_service.limits import Limits
from syllabus_service.tokens import load_tokens
from tests.examples.programs import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def _blocks(page: str, language: str) -> list[str]:
    """Fenced blocks of exactly this language: ``python notrun`` is not ``python``."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "python")])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    program = tmp_path / "page.py"
    body = "\n".join(_blocks(page, "python"))
    # As a user would keep it: workers that are spawned import the program without running it.
    split = re.search(r"^envs = ", body, re.MULTILINE)
    if split:
        guarded = body[split.start() :].replace("\n", "\n    ")
        body = f"{body[: split.start()]}if __name__ == '__main__':\n    {guarded}"
    program.write_text(body)
    done = subprocess.run(
        [sys.executable, str(program)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_python_that_is_not_run_names_what_there_is(page):
    for block in _blocks(page, "python notrun"):
        compile(block, page, "exec")
        for module, names in re.findall(r"^from (\S+) import (.+)$", block, re.MULTILINE):
            if module.startswith(("syllabus.", "verl.")):  # others': tests/syllabus and tests/libraries look at them
                continue
            for name in names.split(", "):
                assert hasattr(__import__(module, fromlist=[name]), name) or name in __import__(module).__all__


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "yaml")])
def test_yaml_loads(page, tmp_path):
    for block in _blocks(page, "yaml"):
        path = tmp_path / "example.yaml"
        path.write_text(block)
        assert load_tokens(path).tokens if block.startswith("tokens:") else load_config(path)


@pytest.mark.parametrize("page", [*PAGES, "examples/cluster/README.md"])
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_curriculum_is_in_the_tables_and_every_parameter_named_there_exists():
    rows = {}
    for line in (ROOT / "docs/curricula.md").read_text().splitlines():
        if found := re.match(r"\| `(\w+)` \| `(\w+)` \|", line):
            cells = re.split(r"(?<!\\)\|", line)
            rows[found[1]] = (found[2], re.findall(r"`(\w+)`", cells[4]))
    built_in = [name for name in registry.names() if name in registry._BUILT_IN]
    assert sorted(rows) == built_in
    readme = (ROOT / "README.md").read_text()
    for name, (class_name, parameters) in rows.items():
        assert registry._BUILT_IN[name].endswith(f":{class_name}")
        assert name in readme or name.endswith("batched_domain_randomization")
        try:
            curriculum_class = registry.resolve(name)
        except registry.UnknownCurriculumError:
            continue  # named, and not written yet
        known = set(inspect.signature(curriculum_class).parameters)
        if "params" not in known:  # passes others on
            assert set(parameters) <= known, name


def test_every_option_of_serve_is_explained_and_no_other():
    told = {flag for option in main.commands["serve"].params for flag in option.opts}
    page = (ROOT / "docs/operations.md").read_text()
    table = page[page.index("| option") : page.index("An address that other machines")]
    explained = {
        flag for row in re.findall(r"^\| (`--.*?) \|", table, re.MULTILINE) for flag in re.findall(r"--[a-z-]+", row)
    }
    assert explained == told


def test_every_command_is_explained():
    page = (ROOT / "docs/operations.md").read_text()
    for name in main.commands:
        assert f"syllabus-service {name}" in page


def test_the_bounds_that_are_told_are_the_bounds():
    page = (ROOT / "docs/operations.md").read_text()
    limits = Limits()
    assert limits.max_rows_per_batch == limits.max_tasks_per_request
    assert f"| {limits.max_message_bytes >> 20} MiB (`--max-message-mib`)" in page
    for bound in (
        limits.max_rows_per_batch,
        limits.max_unacknowledged_batches,
        limits.max_open_assignments,
        limits.max_sessions,
        limits.max_curricula,
        limits.max_metrics,
    ):
        assert f"| {bound:,} |" in page
    assert f"| {limits.max_agent_bytes >> 20} MiB |" in page


def test_every_make_target_explains_itself():
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(re.findall(r"make ([a-z-]+)", targets)[: len(phony)]) == sorted(phony)


def test_no_page_names_a_file_that_is_not_there():
    for page in PAGES:
        for name in re.findall(r"`((?:docs|examples|proto|\.ci|tests)/[\w./-]+)`", (ROOT / page).read_text()):
            assert Path(ROOT, name).exists(), f"{page}: {name}"

"""The lines that a curriculum costs, as docs/libraries.md shows them, and that the rest is a program without one."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.examples.programs import ROOT

PAGE = (ROOT / "docs/libraries.md").read_text()
BLOCKS = {
    name: block
    for block, name in re.findall(
        r"^```diff\n(--- a/[^\n]*\n\+\+\+ b/examples/(\w+)\.py\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
}
#: The smallest run of each program, but for those that need Ray.
ARGUMENTS = {
    "cleanrl_ppo": [
        "--env-id",
        "MiniGrid-Empty-5x5-v0",
        "--num-envs",
        "2",
        "--num-steps",
        "64",
        "--total-timesteps",
        "512",
    ],
    "stable_baselines3_ppo": ["--start-method", "none", "--num-steps", "32", "--total-timesteps", "128"],
    "torchbeast_impala": ["--num-actors", "2", "--num-buffers", "4", "--batch-size", "2", "--total-steps", "400"],
    "pettingzoo_shared": ["--episodes", "1"],
    "prompts_grpo": ["--steps", "2"],
    "prompts_trl": ["--steps", "2"],
    "vectorised": ["--num-envs", "64", "--total-timesteps", "4096"],
}


def _without(name: str, directory: Path) -> Path:
    """The example with its block taken out."""
    program = directory / "examples" / f"{name}.py"
    program.parent.mkdir()
    program.write_text((ROOT / "examples" / f"{name}.py").read_text())
    command = ["git", "apply", "--reverse", "--unidiff-zero", "-"]
    # Blank lines of context have lost their blank on the page.
    block = "".join(" \n" if line == "\n" else line for line in BLOCKS[name].splitlines(keepends=True))
    subprocess.run(
        command,
        input=block,
        text=True,
        check=True,
        cwd=directory,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(directory.parent)},
    )
    return program


def test_every_block_is_checked_here():
    assert set(BLOCKS) == {*ARGUMENTS, "rllib_ppo"}


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_curriculum_costs_fewer_than_ten_lines(name):
    added = [line for line in BLOCKS[name].splitlines() if re.match(r"\+(?!\+\+ )\s*\S", line)]
    assert 0 < len(added) < 10


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_what_is_left_without_the_block_knows_of_no_curriculum(name, tmp_path):
    code = _without(name, tmp_path).read_text().partition('"""\n')[2]
    assert not re.search(r"curriculum|syllabus|task_queue|Curriculum", code)
    compile(code, name, "exec")


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_what_is_left_without_the_block_runs(name, tmp_path):
    program = _without(name, tmp_path)
    spec = importlib.util.spec_from_file_location(f"{name}_without", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    log_dir = ["--log-dir", f"{tmp_path}/"] if name in ("cleanrl_ppo", "stable_baselines3_ppo") else []
    module.main(module.parse([*ARGUMENTS[name], *log_dir]))

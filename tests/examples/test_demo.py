"""The demo, run as a user runs it."""

import json
from pathlib import Path

import pytest

from tests.examples.programs import Program


def _demo(tmp_path: Path, *arguments: str) -> Program:
    return Program(tmp_path / "program", "-m", "examples.demo", "--output", str(tmp_path / "demo-output"), *arguments)


def test_the_demo_compares_two_curricula_and_leaves_a_table_a_picture_and_nothing_else(tmp_path):
    with _demo(tmp_path, "--seconds", "4", "--seed", "3") as demo:
        assert demo.wait(100) == 0, demo.output
        assert demo.left_behind() == []
        output = demo.output
    assert "\x1b" not in output  # not a terminal: plain lines
    assert "DomainRandomization: 4 of 4 s" in output
    assert "OnlineLearningProgress: 4 of 4 s" in output
    assert "mean return per task: OnlineLearningProgress" in output
    assert (tmp_path / "demo-output" / "mean-return-per-task.png").read_bytes().startswith(b"\x89PNG")
    curricula = json.loads((tmp_path / "demo-output" / "results.json").read_text())["curricula"]
    for result in curricula.values():
        assert sum(map(sum, result["episodes_per_task"])) > 64  # what the service counted; the demo checks it itself
        assert result["curve_mean_return"][-1] > result["curve_mean_return"][0]  # it has learned


@pytest.mark.parametrize("moment", ["at the start", "in training"])
def test_ctrl_c_leaves_nothing_behind(tmp_path, moment):
    with _demo(tmp_path, "--seconds", "300") as demo:
        demo.wait_for("100 tasks" if moment == "at the start" else "DomainRandomization: 5 of 300 s", 60)
        demo.interrupt()
        assert demo.wait(30) == 130, demo.output
        assert demo.left_behind() == []
        assert "interrupted" in demo.output
        assert "Traceback" not in demo.output
    assert not (tmp_path / "demo-output").exists()


def test_help_names_the_flags_and_a_senseless_time_is_refused(tmp_path):
    with Program(tmp_path / "help", "-m", "examples.demo", "--help") as demo:
        assert demo.wait(60) == 0
        assert all(flag in demo.output for flag in ("--seconds", "--seed", "--output"))
    with _demo(tmp_path, "--seconds", "-1") as demo:
        assert demo.wait(60) == 2
        assert "expected a positive number of seconds" in demo.output

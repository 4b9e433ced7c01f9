"""The benchmarks' harness: which runs count, in which order arms run, what is told of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import PROGRAMS
from benchmarks.harness import ROOT, Arm, Noise, Rule, Run, Window, compare
from benchmarks.harness.process_tree import cpu_seconds, process_cpu_seconds, tree
from benchmarks.harness.report import budget_table, fill
from benchmarks.harness.results import Result, Verdict, comparison_table, number, read_result

QUIET = Noise(1.0, 1.0, foreign=0.01, steal=0.0)
BUSY = Noise(1.0, 1.0, foreign=0.30, steal=0.0)
STOLEN = Noise(1.0, 1.0, foreign=0.01, steal=0.05)


def _arm(name: str, runs: list[tuple[float, Noise]], log: list[str] | None = None) -> Arm:
    left = iter(runs)

    def run() -> Run:
        if log is not None:
            log.append(name)
        value, noise = next(left)
        return Run({"per_s": value}, noise)

    return Arm(name, run)


def test_a_run_counts_only_on_a_quiet_machine():
    rule = Rule()
    assert rule.accepts(QUIET)
    assert not rule.accepts(BUSY)
    assert not rule.accepts(STOLEN)


def test_arms_take_turns_until_each_has_enough_runs_that_count():
    log: list[str] = []
    ours = _arm("ours", [(10.0, QUIET), (99.0, BUSY), (12.0, QUIET)], log)
    theirs = _arm("theirs", [(1.0, QUIET), (2.0, QUIET), (4.0, QUIET)], log)
    comparison = compare([ours, theirs], Rule(accepted=2))
    assert log == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert comparison.spread("ours", "per_s").median == 11.0
    assert not comparison.is_noisy("ours")
    assert comparison.to_json()["arms"]["ours"]["discarded"] == 1


def test_a_ratio_is_of_medians_and_its_range_of_neighbours():
    ours = _arm("ours", [(10.0, QUIET), (20.0, QUIET), (30.0, QUIET)])
    theirs = _arm("theirs", [(5.0, QUIET), (5.0, QUIET), (10.0, QUIET)])
    ratio = compare([ours, theirs], Rule()).ratio("per_s", "ours", "theirs")
    assert (ratio.median, ratio.low, ratio.high) == (4.0, 2.0, 4.0)


def test_a_machine_that_stays_noisy_is_given_up_and_its_figures_are_marked():
    comparison = compare([_arm("ours", [(10.0, BUSY), (20.0, BUSY)])], Rule(max_rounds=2))
    assert comparison.spread("ours", "per_s").noisy
    _, rows, notes = comparison_table(comparison, {"per_s": "per second"})
    assert rows == [["ours", "~15 (10 to 20)"]]
    assert any("NOISY" in note for note in notes)


def test_an_arm_that_is_missing_is_not_run_and_the_reason_is_told():
    missing = Arm("theirs", lambda: pytest.fail("it was run"), missing="it is not installed")
    comparison = compare([_arm("ours", [(10.0, QUIET)]), missing], Rule(accepted=1))
    header, _, notes = comparison_table(comparison, {"per_s": "per second"}, "theirs", "per_s")
    assert header == ["", "per second"]
    assert "theirs: not run: it is not installed." in notes


def test_the_cpu_of_a_tree_is_that_of_its_processes_living_and_ended():
    work = "sum(i * i for i in range(3_000_000))"
    nested = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print('x', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert process.pid in tree(os.getpid())
        assert cpu_seconds(process.pid) > process_cpu_seconds(process.pid)
        process.communicate(b"\n")


def test_a_window_tells_own_cpu_from_foreign_cpu():
    with Window() as window:
        start = time.process_time()
        while time.process_time() - start < 0.2:
            pass
    assert window.noise.cpu_seconds >= 0.15
    assert window.noise.foreign >= 0.0


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,230,000"), (0.012345, "0.0123"), (87.66, "87.7"), (float("nan"), "nan")]
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


def test_markers_of_the_docs_are_filled_again_and_again():
    text = "a\n<!-- bench:budget -->\nold\n<!-- /bench:budget -->\nb"
    once = fill(text, "budget", "new \\1")
    assert once == "a\n<!-- bench:budget -->\nnew \\1\n<!-- /bench:budget -->\nb"
    assert fill(once, "budget", "new \\1") == once
    assert fill(text, "other", "new") == text


def test_a_result_survives_its_file_and_a_row_that_is_not_met_is_said_so(tmp_path: Path):
    result = Result("ingest", "q", ["", "x"], [["a", "1"]], [Verdict("work", "10", "3", False, noisy=True)])
    result.write(tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == result
    assert "| work | 10 | 3 | **not met** (noisy machine) |" in budget_table({"ingest": result})


def test_every_benchmark_of_this_environment_is_run_by_make_bench():
    texts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    own = {
        name for name, text in texts.items() if f"\n    python -m benchmarks.{name}" in text and "run_program" in text
    }
    assert own == {*PROGRAMS, "growth"}


def test_every_result_has_its_place_in_the_docs():
    page = (ROOT / "docs/performance.md").read_text()
    for name in (*PROGRAMS, "growth", "budget", "sizing", "growth-plot"):
        assert f"<!-- bench:{name} -->" in page, name
        assert f"<!-- /bench:{name} -->" in page, name

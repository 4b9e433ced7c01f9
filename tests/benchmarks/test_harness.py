"""The benchmarks' harness: which runs count, in which order arms run, what is told of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import APART, PROGRAMS, SHARES
from benchmarks.arms.overload import recovery_seconds
from benchmarks.harness import ROOT, Arm, ArmFailedError, Noise, Rule, Run, Window, compare
from benchmarks.harness.load import MetricsExchange, reply, request_size
from benchmarks.harness.process_tree import cpu_seconds, process_cpu_seconds, thread_cpu_seconds, tree
from benchmarks.harness.report import budget_table, fill
from benchmarks.harness.results import (
    Result,
    Verdict,
    all_of,
    brief,
    comparison_table,
    failed_result,
    number,
    read_result,
)

QUIET = Noise(1.0, 1.0, others=0.01, unseen=-0.01, steal=0.0)
BUSY = Noise(1.0, 1.0, others=0.30, unseen=0.0, steal=0.0)
UNSEEN = Noise(1.0, 1.0, others=0.0, unseen=0.30, steal=0.0)
STOLEN = Noise(1.0, 1.0, others=0.01, unseen=0.0, steal=0.05)


def _arm(
    name: str, runs: list[tuple[float, Noise] | Exception], log: list[str] | None = None, *, is_baseline: bool = False
) -> Arm:
    left = iter(runs)

    def run() -> Run:
        if log is not None:
            log.append(name)
        match next(left):
            case Exception() as error:
                raise error
            case value, noise:
                return Run({"per_s": value}, noise)

    return Arm(name, run, is_baseline=is_baseline)


def test_a_run_counts_only_on_a_quiet_machine():
    rule = Rule()
    assert rule.accepts(QUIET)
    assert not rule.accepts(BUSY)
    assert not rule.accepts(UNSEEN)
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


def test_a_ratio_is_the_median_over_rounds_in_which_both_runs_count():
    ours = _arm("ours", [(10.0, QUIET), (500.0, QUIET), (20.0, QUIET), (900.0, BUSY), (30.0, QUIET)])
    theirs = _arm("theirs", [(5.0, QUIET), (5.0, BUSY), (5.0, QUIET), (1.0, QUIET), (10.0, QUIET)])
    comparison = compare([ours, theirs], Rule(), pairs=[("ours", "theirs")])
    ratio = comparison.ratio("per_s", "ours", "theirs")
    assert (ratio.median, ratio.low, ratio.high, ratio.noisy) == (3.0, 2.0, 4.0, False)
    assert len(comparison.rounds) == 5


def test_a_ratio_on_a_noisy_machine_is_over_all_rounds_of_both_and_marked():
    ours = _arm("ours", [(10.0, QUIET), (20.0, BUSY), (30.0, QUIET)])
    theirs = _arm("theirs", [(5.0, QUIET), (5.0, QUIET), (5.0, BUSY)])
    comparison = compare([ours, theirs], Rule(max_rounds=3), pairs=[("ours", "theirs")])
    ratio = comparison.ratio("per_s", "ours", "theirs")
    assert (ratio.median, ratio.low, ratio.high, ratio.noisy) == (4.0, 2.0, 6.0, True)


def test_a_baseline_that_fails_is_told_and_given_up_and_ours_goes_on():
    ours = _arm("ours", [(10.0, QUIET)] * 3)
    theirs = _arm("theirs", [RuntimeError("no\nport"), (5.0, QUIET), RuntimeError("no\nport")], is_baseline=True)
    comparison = compare([ours, theirs], Rule(), pairs=[("ours", "theirs")])
    assert len(comparison.runs("ours")) == 3
    assert comparison.failures == {"theirs": ["no\nport"] * 2}
    assert comparison.ratio("per_s", "ours", "theirs").noisy
    _, rows, notes = comparison_table(comparison, {"per_s": "per second"}, "per_s")
    assert [row[0] for row in rows] == ["ours", "theirs"]
    assert "theirs: 2 runs failed: no: port." in notes


def test_a_baseline_that_never_runs_leaves_a_ratio_unmeasured():
    theirs = _arm("theirs", [RuntimeError("no")] * 2, is_baseline=True)
    comparison = compare([_arm("ours", [(10.0, QUIET)] * 3), theirs], Rule(), pairs=[("ours", "theirs")])
    assert comparison.arms == ["ours"]
    assert comparison.ratio("per_s", "ours", "theirs") is None
    assert comparison_table(comparison, {"per_s": "per second"}, "per_s")[0] == ["", "per second"]


def test_a_run_of_ours_that_fails_ends_the_comparison():
    with pytest.raises(ArmFailedError, match="ours: lost"):
        compare([_arm("ours", [(10.0, QUIET), RuntimeError("lost")])], Rule())


def test_no_round_but_the_first_is_begun_that_would_end_after_the_deadline():
    comparison = compare([_arm("ours", [(10.0, QUIET)])], Rule(), deadline=time.monotonic())
    assert len(comparison.rounds) == 1
    assert comparison.out_of_time
    _, rows, notes = comparison_table(comparison, {"per_s": "per second"})
    assert rows[0][1].startswith("~")
    assert any("for want of time" in note for note in notes)


def test_a_machine_that_stays_noisy_is_given_up_and_its_figures_are_marked():
    comparison = compare([_arm("ours", [(10.0, BUSY), (20.0, BUSY)])], Rule(max_rounds=2))
    assert comparison.spread("ours", "per_s").noisy
    _, rows, notes = comparison_table(comparison, {"per_s": "per second"})
    assert rows == [["ours", "~15 (10 to 20)"]]
    assert any("too noisy" in note for note in notes)


def test_an_arm_that_is_missing_is_not_run_and_the_reason_is_told():
    missing = Arm("theirs", lambda: pytest.fail("it was run"), missing="it is not installed")
    comparison = compare([_arm("ours", [(10.0, QUIET)]), missing], Rule(accepted=1))
    header, _, notes = comparison_table(comparison, {"per_s": "per second"}, "per_s")
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
    assert window.noise.seconds > 0


def test_the_cpu_of_a_process_is_told_thread_by_thread():
    program = """
import sys, threading
from benchmarks.harness.named_threads import name_threads
name_threads()
def work():
    sum(i * i for i in range(3_000_000))
    print("x", flush=True)
    input()
threading.Thread(target=work, name="curriculum-benchmark", daemon=True).start()
threading.Event().wait()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, **pipes) as process:
        process.stdout.readline()
        seconds = thread_cpu_seconds(process.pid)
        process.kill()
    assert set(seconds) >= {"main", "curriculum-benc"}
    assert seconds["curriculum-benc"] > 0


def test_a_recovery_is_the_first_whole_second_of_usual_waits_after_the_end_of_the_load():
    due = np.arange(-1.0, 6.0, 0.1)
    latency = np.where(due < 2.05, 3.0, 0.01)
    latency[np.isclose(due, 2.5)] = 0.2  # a hiccup: that second is none
    assert recovery_seconds(due, latency, 0.05) == pytest.approx(2.6)
    assert recovery_seconds(due, np.full_like(due, 3.0), 0.05) == float("inf")
    assert recovery_seconds(due[:5], latency[:5], 0.05) == float("inf")


def test_a_batch_of_the_load_reports_the_oldest_answer_that_was_not_reported_on():
    exchange = MetricsExchange("curriculum", "session", 8)
    assert exchange.batch()[1] == 0
    exchange._sent = {10_000: 0}
    exchange.answered(reply(8))
    message, episodes = exchange.batch()
    assert episodes == 8
    assert abs(len(message) - request_size(8)) < 8  # but for the length of ids and sequence numbers
    assert exchange.batch()[1] == 0


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.0, "1,230,000"), (0.012345, "0.0123"), (87.66, "87.7"), (float("nan"), "–")]
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


def test_a_program_that_failed_is_a_row_that_is_not_met():
    result = failed_result("ingest", "this service: exit code 1\nTraceback\nRuntimeError: 3 were sent, and 2 counted")
    assert brief("one\n two \nthree\n") == "one: three"
    assert "RuntimeError: 3 were sent, and 2 counted | **not met**" in budget_table({"ingest": result})


def test_conditions_hold_together_only_where_all_were_measured():
    assert all_of(True, True)
    assert all_of(True, None) is None
    assert all_of(False, None) is False


def test_every_benchmark_of_this_environment_is_run_by_make_bench():
    texts = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    own = {name for name, text in texts.items() if f"python -m benchmarks.{name} [--quick]" in text}
    assert own == set(PROGRAMS)
    assert not SHARES.keys() & APART.keys()


def test_every_result_has_its_place_in_the_docs():
    page = (ROOT / "docs/performance.md").read_text() + (ROOT / "docs/scaling.md").read_text()
    for name in (*PROGRAMS, "budget", "sizing", "growth-plot", "ray_costs", "ray_estimate"):
        assert f"<!-- bench:{name} -->" in page, name
        assert f"<!-- /bench:{name} -->" in page, name

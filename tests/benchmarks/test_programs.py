"""Every benchmark runs to its end, as short as can be, and tells what it should: so that none of them rots."""

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import PROGRAMS
from benchmarks.flamegraph import py_spy
from benchmarks.harness import ROOT
from benchmarks.harness.report import write_report
from benchmarks.harness.results import machine, read_result
from benchmarks.harness.sizing import ray_costs_table, ray_estimate_table, sizing_table
from benchmarks.harness.surroundings import LOOPBACK_ONLY, RAY_PYTHON, why_no_ray

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_runs_and_its_result_becomes_a_page(name, tmp_path):
    path = tmp_path / "result.json"
    python = [sys.executable]
    if name == "ray_front_doors":
        if why := why_no_ray():
            pytest.skip(why)
        python = [*LOOPBACK_ONLY, str(RAY_PYTHON)]
    command = [*python, "-m", f"benchmarks.{name}", "--quick", "--json", str(path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = read_result(path)
    assert result.program == name
    assert result.rows
    assert all(len(row) == len(result.header) for row in result.rows)
    assert not any("nan" in cell for row in result.rows for cell in row)
    assert result.question in done.stdout
    assert {"commit", "dirty", "started"} <= result.data.keys()
    written = write_report(tmp_path / "report", machine(), "2026-01-01", {name: result})
    assert all(each.stat().st_size > 0 for each in written)
    assert name in json.loads(written[0].read_text())["programs"]
    assert result.rows[0][0] in written[1].read_text()
    assert sizing_table({name: result})
    if name == "ray_front_doors":
        assert "actor" in ray_costs_table(result)
        assert "1,000 machines" in ray_estimate_table(result)


def test_the_flame_graphs_are_drawn(tmp_path):
    if py_spy() is None:
        pytest.skip("py-spy is not installed here")
    command = [sys.executable, "-m", "benchmarks.flamegraph", "--seconds", "1", "--to", str(tmp_path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    if "Permission denied" in done.stderr:
        pytest.skip("py-spy may not read other processes' memory here")
    assert done.returncode == 0, done.stderr
    pictures = {path.stem for path in tmp_path.glob("*.svg")}
    assert pictures == {f"flame-{name}" for name in ("client", "service", "cartpole", "ingest", "get-task")}
    assert all(f">{path.stem}" in path.read_text() for path in tmp_path.glob("*.svg"))

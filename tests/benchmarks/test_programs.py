"""Every benchmark runs to its end, as short as can be, and tells what it should: so that none of them rots."""

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import PROGRAMS
from benchmarks.harness import ROOT
from benchmarks.harness.report import write_report
from benchmarks.harness.results import machine, read_result

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", [*PROGRAMS, "growth"])
def test_a_benchmark_runs_and_its_result_becomes_a_page(name, tmp_path):
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = read_result(path)
    assert result.program == name
    assert result.rows
    assert all(len(row) == len(result.header) for row in result.rows)
    assert result.question in done.stdout
    written = write_report(tmp_path / "report", machine(), "2026-01-01", {name: result})
    assert all(each.stat().st_size > 0 for each in written)
    assert name in json.loads(written[0].read_text())["programs"]
    assert result.rows[0][0] in written[1].read_text()

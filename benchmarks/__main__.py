"""All benchmarks, one after the other, and the report of what came of them.

    python -m benchmarks [--quick] [--once] [--minutes M] [--only NAME ...] [--growth]

Each runs in a process of its own. The time is shared out between them: what one leaves over, those after it have more.
A program whose share is spent begins no further round, and its table says so.

The results go to `benchmarks/results/<machine>-<date>.json`, beside a page and a picture of them, and between the
markers of README.md and docs. What was measured the same day, on the same machine and of the same commit, and is not
run again, stays. A program that fails is told as failed. With --quick nothing is written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.harness.report import fill_docs, write_report
from benchmarks.harness.results import Result, failed_result, read_result, result_of_json
from benchmarks.harness.results import machine as this_machine
from benchmarks.harness.revision import revision
from benchmarks.harness.surroundings import LOOPBACK_ONLY, RAY_PYTHON, why_no_ray

SHARES = {
    "main_job": 150,
    "cartpole": 60,
    "ingest": 90,
    "get_task": 70,
    "curricula": 190,
    "memory": 110,
    "sessions": 80,
    "restart": 80,
    "overload": 90,
    "stages": 60,
}
"""What is run unless something else is asked for, in the order of the budget; each with its part of the time."""
APART = {"growth": 1_200, "simulated_learner": 60, "ray_front_doors": 300}
"""What is run only when asked for: growth for its length, the others because they measure no row of the budget."""
PROGRAMS = {**SHARES, **APART}
_MINUTES = 15.0
_REPORT_SECONDS = 30.0
"""Of these minutes, for what is not a program's: tables and pictures, and that a round may be longer than the last."""
_ONCE = ["--accepted", "1", "--rounds", "1"]
_GRACE_SECONDS = 240.0
"""A program that takes so much longer than its share hangs, and is ended."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke runs; nothing is written")
    parser.add_argument("--only", nargs="+", default=[], choices=list(PROGRAMS), help="default: the budget")
    parser.add_argument("--growth", action="store_true", help="growth alone")
    parser.add_argument("--once", action="store_true", help="one round of each, whether its runs count or not")
    parser.add_argument(
        "--minutes", type=float, help=f"for all together; default: {_MINUTES:g}, or what a choice takes"
    )
    arguments = parser.parse_args()
    chosen = ["growth"] if arguments.growth else arguments.only or list(SHARES)
    minutes = arguments.minutes or (_MINUTES if chosen == list(SHARES) else sum(PROGRAMS[name] for name in chosen) / 60)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        flags = [*(["--quick"] if arguments.quick else []), *(_ONCE if arguments.once else [])]
        results = _run(chosen, flags, started + 60 * minutes - _REPORT_SECONDS, Path(directory))
    if not arguments.quick:
        _report(results)
    print(f"\n{len(results)} programs, {time.monotonic() - started:.0f} s.")
    if failed := [name for name, result in results.items() if "failed" in result.data]:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(chosen: list[str], flags: list[str], deadline: float, directory: Path) -> dict[str, Result]:
    results = {}
    for number, name in enumerate(chosen):
        print(f"\n== {name}", flush=True)
        left = max(0.0, deadline - time.monotonic())
        seconds = left * PROGRAMS[name] / sum(PROGRAMS[each] for each in chosen[number:])
        results[name] = _run_one(name, [*flags, "--within", f"{seconds:.0f}"], seconds, directory / f"{name}.json")
    return results


def _run_one(name: str, flags: list[str], seconds: float, path: Path) -> Result:
    python = [sys.executable]
    if name == "ray_front_doors":
        if why := why_no_ray():
            return failed_result(name, why)
        python = [*LOOPBACK_ONLY, str(RAY_PYTHON)]
    command = [*python, "-m", f"benchmarks.{name}", "--json", str(path), *flags]
    try:
        code = subprocess.run(command, check=False, cwd=ROOT, timeout=seconds + _GRACE_SECONDS).returncode
    except subprocess.TimeoutExpired:
        return failed_result(name, f"it did not end within {seconds + _GRACE_SECONDS:.0f} s")
    return read_result(path) if path.exists() else failed_result(name, f"exit code {code}")


def _report(new: dict[str, Result]) -> None:
    machine, date = this_machine(), datetime.datetime.now(datetime.UTC).date().isoformat()
    stem = ROOT / "benchmarks" / "results" / f"{_machine_name(machine)}-{date}"
    stem.parent.mkdir(exist_ok=True)
    merged = _kept(stem.with_name(f"{stem.name}.json")) | new
    results = {name: merged[name] for name in PROGRAMS if name in merged}
    for path in write_report(stem, machine, date, results):
        print(f"wrote {path.relative_to(ROOT)}")
    fill_docs(stem, machine, date, results, complete=set(SHARES) <= set(results))


def _kept(before: Path) -> dict[str, Result]:
    """What was measured before of these very sources."""
    sources = revision()
    if sources["dirty"] or not before.exists():
        return {}
    programs = json.loads(before.read_text(encoding="utf-8"))["programs"]
    return {
        name: result_of_json(each)
        for name, each in programs.items()
        if each["data"].get("commit") == sources["commit"] and not each["data"].get("dirty")
    }


def _machine_name(machine: dict[str, Any]) -> str:
    """Such as ``2-core-amd-epyc``."""
    model = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(.*?\)", "", machine["cpu"]).lower()).strip("-")
    return f"{machine['cores']}-core-{model}"


if __name__ == "__main__":
    main()

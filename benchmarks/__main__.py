"""All benchmarks, one after the other, and the report of what came of them.

    python -m benchmarks [--quick] [--once] [--only NAME ...] [--growth]

Each runs in a process of its own. The results go to `benchmarks/results/<machine>-<date>.json`, beside a page and a
picture of them, and between the markers of README.md and docs/performance.md. What was measured the same day on the
same machine and is not run again stays. With --quick nothing is written.
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
from benchmarks.harness.results import Result, read_result, result_of_json
from benchmarks.harness.results import machine as this_machine

PROGRAMS = (
    "main_job",
    "cartpole",
    "ingest",
    "get_task",
    "curricula",
    "memory",
    "sessions",
    "restart",
    "overload",
    "stages",
    "simulated_learner",
)
"""In the order of the budget; ``growth`` is apart, for its length."""
_ONCE = ["--accepted", "1", "--rounds", "1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke runs; nothing is written")
    parser.add_argument("--only", nargs="+", default=[], choices=[*PROGRAMS, "growth"], help="default: all but growth")
    parser.add_argument("--growth", action="store_true", help="growth alone")
    parser.add_argument("--once", action="store_true", help="one round of each, whether its runs count or not")
    arguments = parser.parse_args()
    chosen = ["growth"] if arguments.growth else arguments.only or list(PROGRAMS)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        flags = [*(["--quick"] if arguments.quick else []), *(_ONCE if arguments.once else [])]
        results, failed = _run(chosen, flags, Path(directory))
    if results and not arguments.quick:
        _report(results)
    print(f"\n{len(results)} programs, {time.monotonic() - started:.0f} s.")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(chosen: list[str], flags: list[str], directory: Path) -> tuple[dict[str, Result], list[str]]:
    results, failed = {}, []
    for name in chosen:
        print(f"\n== {name}", flush=True)
        path = directory / f"{name}.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(path), *flags]
        if subprocess.run(command, check=False, cwd=ROOT).returncode == 0:
            results[name] = read_result(path)
        else:
            failed.append(name)
    return results, failed


def _report(new: dict[str, Result]) -> None:
    machine, date = this_machine(), datetime.datetime.now(datetime.UTC).date().isoformat()
    stem = ROOT / "benchmarks" / "results" / f"{_machine_name(machine)}-{date}"
    stem.parent.mkdir(exist_ok=True)
    kept: dict[str, Result] = {}
    if (before := stem.with_name(f"{stem.name}.json")).exists():
        programs = json.loads(before.read_text(encoding="utf-8"))["programs"]
        kept = {name: result_of_json(each) for name, each in programs.items()}
    merged = kept | new
    results = {name: merged[name] for name in (*PROGRAMS, "growth") if name in merged}
    for path in write_report(stem, machine, date, results):
        print(f"wrote {path.relative_to(ROOT)}")
    fill_docs(stem, machine, date, results, complete=set(PROGRAMS) <= set(results))


def _machine_name(machine: dict[str, Any]) -> str:
    """Such as ``2-core-amd-epyc``."""
    model = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(.*?\)", "", machine["cpu"]).lower()).strip("-")
    return f"{machine['cores']}-core-{model}"


if __name__ == "__main__":
    main()

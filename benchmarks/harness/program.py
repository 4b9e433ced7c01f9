"""What every benchmark's command line has: a smoke run, how often, for how long, and where the result goes."""

from __future__ import annotations

import argparse
import datetime
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness.arms import Arm, ArmFailedError
from benchmarks.harness.comparison import Comparison, compare
from benchmarks.harness.noise import Rule
from benchmarks.harness.process_tree import adopt_orphans
from benchmarks.harness.results import Result, failed_result
from benchmarks.harness.revision import of_commit, revision


@dataclass(frozen=True)
class Options:
    """How to run."""

    quick: bool
    """A smoke run: as short as can be, once, and its figures mean nothing."""
    rule: Rule
    deadline: float
    """When to be done (time.monotonic): what has begun goes on, and no further round is begun that would end later."""
    arguments: argparse.Namespace
    """The program's own arguments."""

    def seconds(self, full: float) -> float:
        """The length of one measured window."""
        return min(full, 0.3) if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """An amount of work."""
        return quick if self.quick else full

    def share(self, of: float) -> Options:
        """The same with a part of the time that is left; ``of``: in (0, 1]."""
        now = time.monotonic()
        return replace(self, deadline=now + max(0.0, self.deadline - now) * of)

    def compare(self, arms: Sequence[Arm], pairs: Sequence[tuple[str, str]] = ()) -> Comparison:
        """Compare arms by the rule, until the deadline; ``pairs``: those that are compared, with their baselines."""
        return compare(arms, self.rule, pairs=pairs, deadline=self.deadline)


def run_program(
    doc: str | None,
    run: Callable[[Options], Result],
    *,
    accepted: int = 3,
    max_rounds: int = 8,
    timed: bool = True,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """The ``main`` of a benchmark: parse the command line, say the rule, run, print and write the result.

    Where a run of the project's own fails, the result says so, and the exit code is 1.

    Args:
        doc: the module's docstring.
        run: the benchmark.
        accepted: runs of each arm that must count.
        max_rounds: the most rounds.
        timed: whether it measures time, so that the rule matters.
        add_arguments: adds the program's own arguments.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, default=max_rounds, help="the most rounds")
    parser.add_argument("--accepted", type=int, default=accepted, help="runs of each arm that must count")
    parser.add_argument("--within", type=float, default=math.inf, help="seconds after which no round is begun")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    add_arguments(parser)
    arguments = parser.parse_args()
    adopt_orphans()
    rule = (
        Rule(accepted=1, max_rounds=1)
        if arguments.quick
        else Rule(accepted=arguments.accepted, max_rounds=max(arguments.accepted, arguments.rounds))
    )
    if timed:
        print(f"Rule: {rule}.", flush=True)
    began, started, sources = datetime.datetime.now(datetime.UTC), time.monotonic(), revision()
    failure: ArmFailedError | None = None
    try:
        result = run(Options(arguments.quick, rule, started + arguments.within, arguments))
    except ArmFailedError as error:
        failure, result = error, failed_result(Path(parser.prog).stem, str(error))
    seconds = time.monotonic() - started
    result.notes.append(f"Measured on {began:%Y-%m-%d at %H:%M} UTC{of_commit(sources)}; it took {seconds:.0f} s.")
    result.data = {
        **result.data,
        **sources,
        "started": began.isoformat(timespec="seconds"),
        "seconds": seconds,
        "quick": arguments.quick,
    }
    result.print()
    if arguments.json is not None:
        result.write(arguments.json)
    if failure is not None:
        raise SystemExit(f"failed: {failure}")

"""What every benchmark's command line has: a smoke run, how often, and where the result goes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.noise import Rule
from benchmarks.harness.process_tree import adopt_orphans
from benchmarks.harness.results import Result


@dataclass(frozen=True)
class Options:
    """How to run."""

    quick: bool
    """A smoke run: as short as can be, once, and its figures mean nothing."""
    rule: Rule
    arguments: argparse.Namespace
    """The program's own arguments."""

    def seconds(self, full: float) -> float:
        """The length of one measured window."""
        return min(full, 0.3) if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """An amount of work."""
        return quick if self.quick else full


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
    started = time.monotonic()
    result = run(Options(arguments.quick, rule, arguments))
    seconds = time.monotonic() - started
    result.data = {**result.data, "seconds": seconds, "quick": arguments.quick}
    result.notes.append(f"It took {seconds:.0f} s.")
    result.print()
    if arguments.json is not None:
        result.write(arguments.json)

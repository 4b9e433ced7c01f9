"""Memory of a service a task, and an environment: its whole process, not only the curriculum.

    python -m benchmarks.memory [--quick] [--json FILE]

Bytes a task: what a whole service process has resident with 1,000,000 tasks beyond what one with 1,000 has, by the
number of tasks. Each run starts both, plays at least 16,000 episodes, which touch all that is allocated, has the
learner speak of every task where the curriculum listens, and looks when all is answered. So it is the curriculum, its
task space, the statistics, and what the allocator keeps of arrays that come and go. Once the service keeps nothing, and
once it keeps all on disk and has written a snapshot; with 64 environments that hold a task, and with 65,536.

Not here: the kinds of self-play, whose tasks are agents that a learner adds one by one, each as large as it is.
`benchmarks.curricula` tells what curricula hold by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.arms.memory import play
from benchmarks.harness import Arm, Run
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number

COLUMNS = {"few_mib": "MiB, 1,000 tasks", "many_mib": "MiB, 1,000,000 tasks", "bytes_per_task": "bytes a task"}
BYTES_PER_TASK = 100.0


@dataclass(frozen=True)
class Holder:
    """A curriculum, and how it comes to know of every task."""

    algorithm: str
    params: Mapping[str, Any] = field(default_factory=dict)
    learner: str = ""


HOLDERS = [
    Holder("domain_randomization"),
    Holder("online_learning_progress"),
    Holder("learning_progress", learner="success_rates"),
    Holder("omni", learner="success_rates"),
    Holder("prioritized_level_replay", learner="scores"),
]
DURABLE = [HOLDERS[1], HOLDERS[-1]]
MANY_ENVIRONMENTS = HOLDERS[:2]


def run(options: Options) -> Result:
    """Run each curriculum, volatile and durable, with few and many environments."""
    small, large = 64, options.count(65_536, 256)
    kinds = [
        *((holder, False, small) for holder in HOLDERS),
        *((holder, True, small) for holder in DURABLE),
        *((holder, False, large) for holder in MANY_ENVIRONMENTS),
    ]
    if options.quick:
        kinds = [kinds[0], kinds[len(HOLDERS) - 1], kinds[-2]]
    arms = [_arm(holder, durable, environments, options) for holder, durable, environments in kinds]
    # What a process holds does not depend on who else runs.
    calm = replace(options, rule=replace(options.rule, foreign=float("inf"), steal=float("inf")))
    comparison = calm.compare(arms)
    header, rows, notes = comparison_table(comparison, COLUMNS)
    worst = max((comparison.spread(arm.name, "bytes_per_task") for arm in arms), key=lambda each: each.median)
    over = [arm.name for arm in arms if comparison.spread(arm.name, "bytes_per_task").median >= BYTES_PER_TASK]
    verdict = Verdict(
        "memory",
        f"under {BYTES_PER_TASK:.0f} bytes a task, whatever the number of environments",
        f"at most {number(worst.median)} bytes a task of the whole service; over: {', '.join(over) or 'none'}",
        not over,
    )
    few, many = (
        comparison.spread(_name(HOLDERS[0], False, environments), "few_mib").median for environments in (small, large)
    )
    notes += [
        f"Bytes an environment that holds a task, with 1,000 tasks: {number((many - few) * 2**20 / (large - small))}.",
        "Foreign CPU does not matter here: every run counts.",
    ]
    question = "resident memory of a whole service that has played, and how it grows from 1,000 to 1,000,000 tasks"
    return Result("memory", question, header, rows, [verdict], notes, comparison.to_json())


def _name(holder: Holder, durable: bool, environments: int) -> str:
    return f"{holder.algorithm}, {environments:,} environments{', durable' if durable else ''}"


def _arm(holder: Holder, durable: bool, environments: int, options: Options) -> Arm:
    """Both sizes, one beside the other."""
    name = _name(holder, durable, environments)
    counts = options.count(1_000, 100), options.count(1_000_000, 10_000)
    work: dict[str, Any] = {
        "environments": environments,
        "algorithm": holder.algorithm,
        "episodes": max(options.count(16_000, 500), 2 * environments),
        "params": holder.params,
        "learner": holder.learner,
        "durable": durable,
    }

    def run() -> Run:
        with ThreadPoolExecutor(len(counts)) as pool:
            few, many = pool.map(lambda tasks: play(tasks=tasks, **work), counts)
        mib = few.values["rss_mib"], many.values["rss_mib"]
        per_task = (mib[1] - mib[0]) * 2**20 / (counts[1] - counts[0])
        return Run({"few_mib": mib[0], "many_mib": mib[1], "bytes_per_task": per_task}, many.noise)

    return Arm(name, run)


if __name__ == "__main__":
    run_program(__doc__, run, max_rounds=3)

"""Memory of a service by task and by environment: its whole process, not only the curriculum.

    python -m benchmarks.memory [--quick] [--json FILE]

The resident memory of a service after 30,000 episodes, and two of each environment, with 1,000 and with 1,000,000
tasks, and with 64 and with 65,536 environments that hold a task. The difference by task is what the curriculum, its
task space and the statistics hold, and what the allocator keeps of the arrays that come and go; the one by environment,
what sessions and assignments do. `benchmarks.curricula` tells the curricula's part alone.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.harness import compare, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, number

ALGORITHMS = ("domain_randomization", "online_learning_progress")
BYTES_PER_TASK = 100.0


def run(options: Options) -> Result:
    """Run each curriculum with few and many tasks, few and many environments."""
    few, many = options.count(1_000, 100), options.count(1_000_000, 10_000)
    small, large = 64, options.count(65_536, 256)
    episodes = options.count(30_000, 500)
    corners = [(tasks, environments) for tasks in (few, many) for environments in (small, large)]
    arms = [
        process_arm(
            f"{algorithm}, {tasks} tasks, {environments} environments",
            "memory",
            {
                "tasks": tasks,
                "environments": environments,
                "algorithm": algorithm,
                "episodes": max(episodes, 2 * environments),
            },
        )
        for algorithm in ALGORITHMS
        for tasks, environments in corners
    ]
    # What a process holds does not depend on who else runs.
    comparison = compare(arms, replace(options.rule, foreign=float("inf"), steal=float("inf")))

    rows, by_task = [], []
    for algorithm in ALGORITHMS:
        rss = {
            corner: comparison.spread(f"{algorithm}, {corner[0]} tasks, {corner[1]} environments", "rss_mib").median
            for corner in corners
        }
        tasks = [(rss[many, size] - rss[few, size]) * 2**20 / (many - few) for size in (small, large)]
        environments = [(rss[count, large] - rss[count, small]) * 2**20 / (large - small) for count in (few, many)]
        by_task += tasks
        rows.append([algorithm, *(number(rss[corner]) for corner in corners), *map(number, tasks + environments)])
    verdict = Verdict(
        "memory",
        f"under {BYTES_PER_TASK:.0f} bytes a task, whatever the number of environments",
        f"{number(max(by_task))} bytes a task of the whole service",
        max(by_task) < BYTES_PER_TASK,
    )
    header = [
        "",
        *(f"MiB: {tasks:,} tasks, {environments:,} envs" for tasks, environments in corners),
        *(f"bytes/task, {size:,} envs" for size in (small, large)),
        *(f"bytes/env, {count:,} tasks" for count in (few, many)),
    ]
    question = "resident memory of a whole service that has played"
    notes = ["Foreign CPU does not matter here: every run counts."]
    return Result("memory", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run, accepted=1, max_rounds=1)

"""What a curriculum costs an environment that does something: CartPole-v1, random actions, 4 processes.

    python -m benchmarks.cartpole [--quick] [--json FILE]

The arms play the same environments with the same seeds of the actions; one has domain randomization over 1,000 tasks
around them, the other nothing.
"""

from __future__ import annotations

from benchmarks.harness import process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table

OURS, NOTHING = "with a curriculum", "without"
COLUMNS = {
    "steps_per_s": "env steps/s",
    "episodes_per_s": "episodes/s",
    "wait_p50_us": "reset p50, us",
    "wait_p99_us": "reset p99, us",
    "cpu_us_per_episode": "CPU us/episode",
}
LOSS = 0.15


def run(options: Options) -> Result:
    """Run both arms."""
    work = {"processes": options.count(4, 2), "seconds": options.seconds(3.0), "environment": "CartPole-v1"}
    arms = [
        process_arm(OURS, "job", {**work, "tasks": 1_000}),
        process_arm(NOTHING, "job_without_curriculum", work, is_baseline=True),
    ]
    comparison = options.compare(arms, [(OURS, NOTHING)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "steps_per_s")
    ratio = comparison.ratio("steps_per_s", OURS, NOTHING)
    verdict = Verdict(
        "CartPole-v1, random actions, 4 processes",
        f"within {LOSS:.0%} of the same without a curriculum",
        f"{ratio.median:.1%} of the steps/s" if ratio else "the baseline did not run",
        ratio.median >= 1 - LOSS if ratio else None,
        ratio.noisy if ratio else False,
    )
    question = "CartPole-v1, random actions, 4 processes, with and without a curriculum"
    return Result("cartpole", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run)

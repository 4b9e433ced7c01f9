"""The main job: many short episodes in 8 processes of one machine, beside Syllabus and a plain Ray actor.

    python -m benchmarks.main_job [--quick] [--json FILE]

8 processes with one environment each that does nothing, 5 steps an episode, 1,000 tasks, domain randomization. `wait`
is the time of a whole `reset()`; CPU is that of all processes, the service's and the learner's too, by episode.
"""

from __future__ import annotations

from benchmarks.harness import Comparison, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, all_of, comparison_table, number
from benchmarks.harness.surroundings import LOOPBACK_ONLY, RAY_PYTHON, SYLLABUS_PYTHON, why_no_ray, why_no_syllabus

OURS, SYLLABUS, RAY = "this service", "Syllabus 0.7", "Ray actor"
COLUMNS = {
    "episodes_per_s": "episodes/s",
    "wait_p50_us": "wait p50, us",
    "wait_p99_us": "wait p99, us",
    "cpu_us_per_episode": "CPU us/episode",
}
WAIT_P50_US, WAIT_P99_US, TIMES_SYLLABUS, CPU_US = 50.0, 2000.0, 20.0, 60.0


def run(options: Options) -> Result:
    """Run the three arms."""
    work = {"processes": options.count(8, 2), "tasks": 1_000, "seconds": options.seconds(3.0), "length": 5}
    syllabus = {"python": SYLLABUS_PYTHON, "missing": why_no_syllabus(), "is_baseline": True}
    ray = {"python": RAY_PYTHON, "prefix": LOOPBACK_ONLY, "missing": why_no_ray(), "is_baseline": True}
    arms = [
        process_arm(OURS, "job", work),
        process_arm(SYLLABUS, "job_syllabus", work, **syllabus),
        process_arm(RAY, "job_ray_actor", work, **ray),
    ]
    comparison = options.compare(arms, [(OURS, SYLLABUS), (RAY, SYLLABUS)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "episodes_per_s")
    return Result(
        "main_job",
        "8 processes, 5-step episodes of an environment that does nothing, 1,000 tasks, domain randomization",
        header,
        rows,
        _verdicts(comparison),
        notes,
        comparison.to_json(),
    )


def _verdicts(comparison: Comparison) -> list[Verdict]:
    p50, p99, cpu = (comparison.spread(OURS, name) for name in ("wait_p50_us", "wait_p99_us", "cpu_us_per_episode"))
    times = comparison.ratio("episodes_per_s", OURS, SYLLABUS)
    return [
        Verdict(
            "`reset()`'s wait for a task: 8 processes, 5-step episodes, 1,000 tasks",
            f"p50 under {WAIT_P50_US:.0f} us, p99 under {WAIT_P99_US / 1000:.0f} ms",
            f"p50 {number(p50.median)} us, p99 {number(p99.median / 1000)} ms",
            p50.median < WAIT_P50_US and p99.median < WAIT_P99_US,
            p50.noisy,
        ),
        Verdict(
            "episodes per second, that work",
            f"{TIMES_SYLLABUS:.0f} x Syllabus, and under {CPU_US:.0f} us of CPU per episode",
            f"{f'{number(times.median)} x' if times else 'Syllabus not run'}, {number(cpu.median)} us",
            all_of(cpu.median < CPU_US, None if times is None else times.median >= TIMES_SYLLABUS),
            cpu.noisy or (times is not None and times.noisy),
        ),
    ]


if __name__ == "__main__":
    run_program(__doc__, run)

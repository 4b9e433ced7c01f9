"""More load than a service can take: does it slow its senders, drop nothing, stay healthy, and recover?

    python -m benchmarks.overload [--quick] [--json FILE]

A small client (8 episodes, 50 times a second) is alone with a service, then beside 128 sessions that each keep 32
batches of 256 episodes in flight, as many as the service allows, and then alone again: a million episodes wait at any
time. Its waits before, during and after are paired in each run. Health is asked for ten times a second. At the end
every episode that was sent must have been counted, once.
"""

from __future__ import annotations

from benchmarks.harness import compare, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, number, run_notes
from syllabus_service.limits import Limits

ARM = "overload"
PHASES = ("before", "during", "after")
RECOVERY_S, RSS_MIB = 1.0, 1024.0


def run(options: Options) -> Result:
    """Run the arm, and set its phases side by side."""
    work = {
        "sessions": options.count(128, 4),
        "rows": options.count(256, 16),
        "in_flight": Limits().max_unacknowledged_batches,
        "seconds": options.seconds(6.0),
        "quiet_seconds": options.seconds(3.0),
    }
    comparison = compare([process_arm(ARM, "overload", work)], options.rule)

    def median(name: str) -> str:
        return number(comparison.spread(ARM, name).median)

    rows = [
        [phase, median(f"{phase}_p50_ms"), median(f"{phase}_p99_ms"), median(f"rss_{phase}_mib")] for phase in PHASES
    ]
    refused = comparison.spread(ARM, "health_not_serving").high
    recovery, rss = comparison.spread(ARM, "recovery_s"), comparison.spread(ARM, "rss_during_mib")
    notes = [
        f"The flood got {median('flood_episodes_per_s')} episodes/s through; a batch of it waited "
        f"{median('flood_latency_p50_ms')} ms (p50), before and after it left.",
        f"Health: {median('health_checks')} checks a run, {number(refused)} not SERVING, the longest "
        f"{median('health_longest_ms')} ms.",
        f"When the flood ended, what was under way took {median('drain_s')} s to be answered; usual waits (twice the "
        f"p99 of before) {median('recovery_s')} s after that.",
        *run_notes(comparison),
    ]
    verdict = Verdict(
        "more load than it can take",
        "nothing dropped, health SERVING, memory bounded, usual waits within 1 s once all is answered",
        f"nothing dropped, {number(refused)} checks not SERVING, {number(rss.high)} MiB, {number(recovery.high)} s",
        refused == 0 and rss.high < RSS_MIB and recovery.high < RECOVERY_S,
        recovery.noisy,
    )
    question = "a small client's waits, and the service's memory, before, under and after a flood"
    header = ["", "wait p50, ms", "wait p99, ms", "most RSS, MiB"]
    return Result("overload", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run)

"""A thousand client processes' streams on one server: errors, starvation, memory.

    python -m benchmarks.sessions [--quick] [--json FILE]

1,000 sessions, each with a connection and a stream of its own, held by two load processes. In the first arm each says
every second that 8 environments have ended an episode, on a schedule that waits for no answer, so that what is offered
does not depend on what the server takes; a wait counts from when the batch was due. In the second each says so again as
soon as it is answered, so that all want more than there is, and what one gets shows whether it is fair. A session that
gets nothing in the measured time is starved. The baseline is a bare grpc.aio server with as many streams of as many
bytes.
"""

from __future__ import annotations

from benchmarks.harness import process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number

PACED, FLAT_OUT, ECHO = "a batch a second each", "as fast as answered", "as fast as answered, byte echo"
COLUMNS = {
    "batches_per_s": "batches/s",
    "latency_p50_ms": "answer p50, ms",
    "latency_p99_ms": "answer p99, ms",
    "latency_max_ms": "longest, ms",
    "fewest_over_median_episodes": "least served / median",
    "silent_sessions": "starved",
    "peak_rss_mib": "server's RSS, MiB",
}
RSS_MIB = 1024.0


def run(options: Options) -> Result:
    """Run the three arms."""
    count, every = options.count(1_000, 20), options.seconds(1.0)
    work = {"sessions": count, "rows": 8, "processes": 2, "seconds": options.seconds(4.0)}
    arms = [
        process_arm(PACED, "streams_service", {**work, "every": every}),
        process_arm(FLAT_OUT, "streams_service", work),
        process_arm(ECHO, "streams_echo", work, is_baseline=True),
    ]
    comparison = options.compare(arms, [(FLAT_OUT, ECHO)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "batches_per_s")
    achieved = comparison.spread(PACED, "batches_per_s")
    notes.append(f"{PACED}: {count / every:,.0f} batches/s were offered, {number(achieved.median)} answered.")
    notes.append("A run in which a stream breaks, or an episode is not counted, fails.")
    ours = [comparison.spread(arm, "peak_rss_mib") for arm in (PACED, FLAT_OUT)]
    starved = [comparison.spread(arm, "silent_sessions") for arm in (PACED, FLAT_OUT)]
    rss, most = max(each.high for each in ours), max(each.high for each in starved)
    verdict = Verdict(
        f"{count:,} client processes' streams on one server",
        "no error, no starvation, under 1 GiB",
        f"no error, {number(most)} starved, {number(rss)} MiB",
        rss < RSS_MIB and most == 0,
        any(each.noisy for each in ours),
    )
    question = f"{count:,} sessions, each with a stream and a connection of its own, 8 episodes a batch"
    return Result("sessions", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run, max_rounds=5)

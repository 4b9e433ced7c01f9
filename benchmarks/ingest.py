"""Ingest: columns of 2,048 episodes with their draws, journalled to disk, beside a byte-echo stream.

    python -m benchmarks.ingest [--quick] [--json FILE]

Four sessions of one load process, each with two batches in flight: 2,048 episodes (tasks, returns, lengths, progress,
environments) up, 2,048 new tasks down. The service writes its journal to this disk, and answers after the fsync. The
baseline is a bare grpc.aio server and the same load, as many bytes up and down and nothing in them. Two more echoes
tell what of the difference is not the service's code:

- `echo, fsync`: appends what it gets to a file, and answers after an fsync, which all have in common that have come;
- `echo, messages`: its load reads answers and makes messages as that of the service does, and shares the machine.
"""

from __future__ import annotations

from benchmarks.harness import process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, all_of, comparison_table, number

OURS, ECHO, DURABLE, BUILDING = "this service", "byte echo", "echo, fsync", "echo, messages"
COLUMNS = {
    "episodes_per_s": "episodes/s",
    "latency_p50_ms": "answer p50, ms",
    "latency_p99_ms": "answer p99, ms",
    "server_cpu_us_per_episode": "server's CPU us/episode",
    "peak_rss_mib": "RSS, MiB",
}
EPISODES_PER_S, OF_ECHO = 1_000_000.0, 0.5


def run(options: Options) -> Result:
    """Run the four arms."""
    work = {"sessions": 4, "rows": options.count(2048, 64), "in_flight": 2, "seconds": options.seconds(3.0)}
    arms = [
        process_arm(OURS, "streams_service", work),
        process_arm(ECHO, "streams_echo", work, is_baseline=True),
        process_arm(DURABLE, "streams_echo", {**work, "journal": True}, is_baseline=True),
        process_arm(BUILDING, "streams_echo", {**work, "build": True}, is_baseline=True),
    ]
    comparison = options.compare(arms, [(arm, ECHO) for arm in (OURS, DURABLE, BUILDING)])
    header, rows, notes = comparison_table(comparison, COLUMNS, "episodes_per_s")
    ours, ratio = comparison.spread(OURS, "episodes_per_s"), comparison.ratio("episodes_per_s", OURS, ECHO)
    verdict = Verdict(
        "StreamMetrics ingest, columns of 2,048 episodes with their refill draws, journalled to disk",
        f"{EPISODES_PER_S:,.0f} episodes/s, and at least half of a bare byte-echo stream of the same bytes",
        f"{number(ours.median)} episodes/s, {f'{number(ratio.median)} of the echo' if ratio else 'the echo not run'}",
        all_of(ours.median >= EPISODES_PER_S, ratio.median >= OF_ECHO if ratio else None),
        ours.noisy or (ratio is not None and ratio.noisy),
    )
    question = "columns of 2,048 episodes with their draws, journalled to disk, and a bare echo of as many bytes"
    return Result("ingest", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run)

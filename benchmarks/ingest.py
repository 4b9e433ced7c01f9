"""Ingest: columns of 2,048 episodes with their draws, journalled to disk, beside a byte-echo stream.

    python -m benchmarks.ingest [--quick] [--json FILE]

Four sessions of one load process, each with two batches in flight: 2,048 episodes (tasks, returns, lengths, progress,
environments) up, 2,048 new tasks down. The echo is a bare grpc.aio server and the same load, as many bytes up and down
and nothing in them. The service writes its journal to this disk, and answers after the fsync.
"""

from __future__ import annotations

from benchmarks.harness import compare, process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, comparison_table, number

OURS, ECHO = "this service", "byte echo"
COLUMNS = {
    "episodes_per_s": "episodes/s",
    "latency_p50_ms": "answer p50, ms",
    "latency_p99_ms": "answer p99, ms",
    "server_cpu_us_per_episode": "server's CPU us/episode",
    "peak_rss_mib": "RSS, MiB",
}
EPISODES_PER_S, OF_ECHO = 1_000_000.0, 0.5


def run(options: Options) -> Result:
    """Run both arms."""
    work = {"sessions": 4, "rows": options.count(2048, 64), "in_flight": 2, "seconds": options.seconds(4.0)}
    comparison = compare(
        [process_arm(OURS, "streams_service", work), process_arm(ECHO, "streams_echo", work)], options.rule
    )
    header, rows, notes = comparison_table(comparison, COLUMNS, ECHO, "episodes_per_s")
    ours, ratio = comparison.spread(OURS, "episodes_per_s"), comparison.ratio("episodes_per_s", OURS, ECHO)
    verdict = Verdict(
        "StreamMetrics ingest, columns of 2,048 episodes with their refill draws, journalled to disk",
        f"{EPISODES_PER_S:,.0f} episodes/s, and at least half of a bare byte-echo stream of the same bytes",
        f"{number(ours.median)} episodes/s, {number(ratio.median)} of the echo",
        ours.median >= EPISODES_PER_S and ratio.median >= OF_ECHO,
        ratio.noisy,
    )
    question = "columns of 2,048 episodes with their draws, journalled to disk, and a bare echo of as many bytes"
    return Result("ingest", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run)

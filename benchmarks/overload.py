"""More load than a service can take: does it slow its senders, drop nothing, stay healthy, and recover?

    python -m benchmarks.overload [--quick] [--json FILE]

`flood`: a small client (8 episodes, 50 times a second, on a schedule that waits for no answer; a wait counts from when
the batch was due) is alone with a service, then beside 128 sessions that each keep 32 batches of 256 episodes in
flight, as many as the service allows, and then alone again: a million episodes wait at any time. `half the flood` is
the same with 64 sessions: memory is bounded by what the sessions may have under way, so it must follow their number and
not the time. `during` begins a second after the flood is there; it must not take more memory in its second half than
in its first, but for a tenth. Health is asked for ten times a second. Recovery is the time from the moment when the
flood has sent its last batch, a million episodes of which are then still under way, to the first whole second in which
all waits of the small client are usual: at most twice the p99 of before, or 25 ms.

`clients`: two processes with a Session each that plays 1,024 environments and reports eight times as many episodes, and
one that reports as many and never waits, as fast as they are let. The former wait longer for tasks; the latter gets
BufferFullError. At the end of each run every row that a session took, or a stream sent, must have been counted, once.
"""

from __future__ import annotations

from benchmarks.harness import process_arm
from benchmarks.harness.program import Options, run_program
from benchmarks.harness.results import Result, Verdict, number, run_notes
from syllabus_service.limits import Limits

FLOOD, HALF, CLIENTS = "flood", "half the flood", "clients"
PHASES = ("before", "during", "after")
RECOVERY_S, RSS_MIB, SETTLED_RSS_MIB, RSS_GROWTH = 10.0, 1024.0, 512.0, 1.1


def run(options: Options) -> Result:
    """Run the arms, and set the phases side by side."""
    sessions = options.count(128, 4)
    work = {
        "rows": options.count(256, 16),
        "in_flight": Limits().max_unacknowledged_batches,
        "seconds": options.seconds(4.0),
        "quiet_seconds": options.seconds(2.0),
        "ramp_seconds": options.seconds(1.0),
        "settle_seconds": options.count(3, 2),
    }
    clients = {"environments": options.count(1_024, 64), "players": 2, "reporters": 1, "seconds": options.seconds(4.0)}
    comparison = options.compare(
        [
            process_arm(FLOOD, "overload", {**work, "sessions": sessions}),
            process_arm(HALF, "overload", {**work, "sessions": sessions // 2}),
            process_arm(CLIENTS, "overload_clients", clients),
        ]
    )

    def median(arm: str, name: str) -> str:
        spread = comparison.spread(arm, name)
        return f"{'~' if spread.noisy else ''}{number(spread.median)}"

    rows = [
        [
            f"{arm}, {phase}",
            *(median(arm, name) for name in (f"{phase}_p50_ms", f"{phase}_p99_ms", f"rss_{phase}_mib")),
        ]
        for arm in (FLOOD, HALF)
        for phase in PHASES
    ]
    rows += [
        [f"{CLIENTS}, alone", median(CLIENTS, "alone_wait_p50_ms"), "–", "–"],
        [f"{CLIENTS}, all", *(median(CLIENTS, name) for name in ("wait_p50_ms", "wait_p99_ms", "rss_mib"))],
    ]
    floods = (FLOOD, HALF)
    refused = max(comparison.spread(arm, "health_not_serving").high for arm in floods)
    recovery = max(comparison.spread(arm, "recovery_s").high for arm in floods)
    most = max(comparison.spread(arm, "rss_during_mib").high for arm in floods)
    growth = max(comparison.spread(arm, "rss_growth").median for arm in floods)
    settled = max(comparison.spread(arm, "rss_after_mib").high for arm in floods)
    notes = [
        *(
            f"{arm}: {median(arm, 'flood_episodes_per_s')} episodes/s got through; a batch of it waited "
            f"{median(arm, 'flood_latency_p50_ms')} ms (p50). What was under way at its end took "
            f"{median(arm, 'drain_s')} s to be answered; waits were usual {median(arm, 'recovery_s')} s after it. "
            f"Its second half had {median(arm, 'rss_growth')} times the memory of its first."
            for arm in floods
        ),
        f"Health: {median(FLOOD, 'health_checks')} checks a run, {number(refused)} not SERVING, the longest "
        f"{median(FLOOD, 'health_longest_ms')} ms.",
        f"{CLIENTS}: {median(CLIENTS, 'offered_rows_per_s')} rows/s offered, were there no waits, and "
        f"{median(CLIENTS, 'taken_rows_per_s')} taken; {median(CLIENTS, 'refused_rows')} refused by BufferFullError; "
        f"{median(CLIENTS, 'client_rss_mib')} MiB a client.",
        *run_notes(comparison),
    ]
    verdict = Verdict(
        "more load than it can take",
        f"nothing dropped, health SERVING, memory under 1 GiB and no longer growing, {SETTLED_RSS_MIB:.0f} MiB once it "
        f"has settled, usual waits within {RECOVERY_S:.0f} s of the end of the load",
        f"nothing dropped, {number(refused)} checks not SERVING, {number(most)} MiB, then x {number(growth)}, settled "
        f"{number(settled)} MiB, {number(recovery)} s",
        refused == 0 and most < RSS_MIB and growth < RSS_GROWTH and settled < SETTLED_RSS_MIB and recovery < RECOVERY_S,
        any(comparison.is_noisy(arm) for arm in comparison.arms),
    )
    question = "waits, and the service's memory, before, under and after more load than it can take"
    header = ["", "wait p50, ms", "wait p99, ms", "most RSS, MiB (after: settled)"]
    return Result("overload", question, header, rows, [verdict], notes, comparison.to_json())


if __name__ == "__main__":
    run_program(__doc__, run)

"""A worker process: takes tasks, reports episodes with known returns, and keeps a ledger of what was acknowledged.

``python -m tests.chaos.worker TARGET CURRICULUM LEDGER NUMBER``; ends, with everything delivered, on SIGTERM.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from pathlib import Path

from syllabus_client.errors import TaskTimeoutError
from syllabus_client.settings import SessionSettings
from syllabus_client.stream import Session, open_session
from tests.chaos.ledger import LedgerWriter

EPISODES_PER_WORKER = 10_000_000
"""Episodes of worker n are numbered from n times this."""

# How long an outage may last is the test's to say, and it says more of one than a worker that gives up: so no test
# allows as much as a worker waits.
_OUTAGE_SECONDS = 240.0
_END_SECONDS = 120.0
# Tasks may run out, then a worker looks whether it shall end; a half-open connection is given up soon.
_SETTINGS = SessionSettings(timeout=2.0, backoff_max=0.5, stall_timeout=3.0)


def main(target: str, curriculum: str, path: str, number: str) -> None:
    """Work until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    rng = random.Random(int(number))
    ledger = LedgerWriter(Path(path))
    session = open_session(target, curriculum=curriculum, settings=_SETTINGS)
    session.add_environments(4)
    episode = int(number) * EPISODES_PER_WORKER
    while not stopping.is_set():
        reported = _run_episodes(session, ledger, episode, rng.randint(1, 12))
        if reported:
            session.flush(_OUTAGE_SECONDS)
            ledger.confirmed()
            episode += reported
    session.close(_END_SECONDS)
    statistics = session.statistics
    ledger.resent(statistics.batches_resent, statistics.reconnects)
    ledger.close()
    if statistics.rows_undelivered or statistics.sessions_lost:
        raise SystemExit(f"not delivered: {statistics}")


def _run_episodes(session: Session, ledger: LedgerWriter, first: int, count: int) -> int:
    """Run episodes; their returns are their numbers. How many there were: fewer where tasks are short."""
    for episode in range(first, first + count):
        try:
            assignment = session.next_task()
        except TaskTimeoutError:
            return episode - first
        ledger.sent(episode, assignment.encoded)
        session.report_episode(
            assignment.id,
            episode_return=float(episode),
            length=episode % 100,
            progress=float(episode % 3 == 0),
            env_id=episode % 4,
        )
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])

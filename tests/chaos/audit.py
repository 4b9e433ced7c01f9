"""The audit after a run: ledgers against the journal, statistics against ledgers, a replay against what was served."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.host import CurriculumHost
from syllabus_service.recovery import recover
from syllabus_service.specs import build_curriculum, lease_seconds
from syllabus_service.store import CorruptJournalError, Store
from tests.chaos.ledger import Ledger


@dataclass(frozen=True)
class Evidence:
    """One curriculum, as its journal has it."""

    host: CurriculumHost
    """Replayed from the first record, or from the oldest snapshot where the journal was trimmed behind it."""
    trimmed: int
    """How many records were trimmed."""
    episodes: Counter[int]
    """How often each episode, by its number, is in the journal that is left."""
    expirations: int
    """How many records end leases."""

    @property
    def statistics(self) -> pb.GetStatisticsResponse:
        """All statistics."""
        return self.host.statistics(pb.GetStatisticsRequest())

    def counts(self) -> dict[int, int]:
        """Episodes by task."""
        return dict(enumerate(self.host._state.statistics.per_task.num_episodes.tolist()))

    def return_sums(self) -> dict[int, float]:
        """Sums of returns by task."""
        per_task = self.host._state.statistics.per_task
        return dict(enumerate((per_task.num_episodes * per_task.column("return_mean")).tolist()))


def make_host(spec: pb.CurriculumSpec) -> CurriculumHost:
    """The host as a service makes it."""
    return CurriculumHost(build_curriculum(spec, may_import=lambda _: True), lease_seconds=lease_seconds(spec))


def replay(store: Store, name: str) -> Evidence:
    """Replay all of a journal, and see that recovery by way of snapshots comes to the same state, bit for bit."""
    spec = next(pb.CurriculumSpec.FromString(each.spec) for each in store.list_curricula() if each.name == name)
    host = make_host(spec)
    episodes: Counter[int] = Counter()
    expirations = 0
    try:
        next(store.read(name, after=0), None)
    except CorruptJournalError:  # trimmed: some snapshot stands for what is gone
        *_, (_, oldest) = store.snapshots(name)
        host.load_snapshot(oldest)
    trimmed = host.position
    for _, record in store.read(name, after=trimmed):
        host.replay(record)
        body = c.Command.from_record(record, host.task_space).body
        if isinstance(body, c.Metrics) and body.episodes is not None:
            episodes.update(body.episodes.columns["episode_returns"].astype(np.int64).tolist())
        expirations += isinstance(body, c.ExpireSessions)
    assert recover(store, name, lambda: make_host(spec)).snapshot() == host.snapshot()
    return Evidence(host, trimmed, episodes, expirations)


def check_journal(evidence: Evidence, ledger: Ledger) -> None:
    """Every acknowledged episode is in the journal once; what else is there was sent by a worker that was killed."""
    twice = {episode: times for episode, times in evidence.episodes.items() if times != 1}
    assert not twice, f"in the journal more than once: {twice}"
    lost = ledger.confirmed.keys() - evidence.episodes.keys()
    assert evidence.trimmed or not lost, f"acknowledged, and not in the journal: {sorted(lost)}"
    unknown = evidence.episodes.keys() - ledger.confirmed.keys() - ledger.unconfirmed.keys()
    assert not unknown, f"in the journal, and sent by nobody: {sorted(unknown)}"


def check_counts(evidence: Evidence, ledger: Ledger) -> None:
    """Counts and sums of returns per task are those of the acknowledged episodes and of the others in the journal.

    Where it was trimmed, the counts are between those of the acknowledged episodes and those of all that were sent.
    """
    sent = {**ledger.confirmed, **ledger.unconfirmed}
    least, most = Counter(ledger.confirmed.values()), Counter(sent.values())
    assert all(least[task] <= count <= most[task] for task, count in evidence.counts().items())
    if evidence.trimmed:
        return
    counts: Counter[int] = Counter()
    sums: Counter[int] = Counter()
    for episode in evidence.episodes:
        counts[sent[episode]] += 1
        sums[sent[episode]] += episode
    assert evidence.counts() == {task: counts[task] for task in evidence.counts()}
    for task, total in evidence.return_sums().items():
        assert round(total) == sums[task]

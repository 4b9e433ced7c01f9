"""What Prometheus reads: every metric's name, labels and help, made from the tallies at each scrape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from syllabus_service.engine_interface import Engine, ServedCurriculum
from syllabus_service.metrics.distributions import DistributionWatch, Spread
from syllabus_service.metrics.door_tallies import CurriculumDoorTallies, DoorTallies
from syllabus_service.metrics.histogram import Histogram
from syllabus_service.metrics.runner_tallies import Readings

_PATIENCE_SECONDS = 5.0
_CURRICULUM = ("curriculum",)

Samples = Iterable[tuple[Sequence[str], float]]


@dataclass(frozen=True)
class _Seen:
    """What a scrape is made from; the loop hands it out, and the scrape's own thread reads it."""

    curricula: Sequence[ServedCurriculum]
    away: Sequence[str]
    spreads: Mapping[str, Spread]
    ready: bool
    num_broken: int
    loop_lag: float


class ServiceCollector(Collector):
    """The metrics of one service: its front door, and its curricula, wherever their state is.

    A scrape asks the event loop for what is known, which is short, and reads the numbers in its own thread; it neither
    locks nor waits for a curriculum, a store or another process. There is at most a fixed number of series for each
    curriculum and each method.

    Args:
        engine: the curricula; None: see ``serve``.
        door: what the front door counts.
        loop: the loop that the engine runs in.

    Raises:
        TimeoutError: from a scrape, where the loop did not answer within 5 s.
    """

    def __init__(self, engine: Engine | None, door: DoorTallies, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._door = door
        self._loop = loop
        self._distributions = DistributionWatch()

    def serve(self, engine: Engine) -> None:
        """Tell of this engine from now on. Called in the loop."""
        self._engine = engine

    async def stop(self) -> None:
        """End what it does in the background. Called in the loop."""
        await self._distributions.stop()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would scrape to find out the names, and the loop that answers would wait for it."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One scrape."""
        asked = time.perf_counter()
        looking: Future[_Seen] = Future()
        self._loop.call_soon_threadsafe(self._look, asked, looking)
        try:
            seen = looking.result(_PATIENCE_SECONDS)
        finally:
            looking.cancel()  # or a loop that hangs would have a look to take for each scrape that it let wait
        yield from self._service_metrics(seen)
        yield from _door_metrics(self._door)
        names = [each.name for each in seen.curricula]
        yield from _curriculum_door_metrics({name: self._door.of(name) for name in names})
        yield from _runner_metrics(seen)
        yield from _distribution_metrics(seen)

    def _look(self, asked: float, looking: Future[_Seen]) -> None:
        if not looking.set_running_or_notify_cancel():
            return
        try:
            looking.set_result(self._see(asked))
        except Exception as error:  # noqa: BLE001 - the scrape's to raise
            looking.set_exception(error)

    def _see(self, asked: float) -> _Seen:
        lag = time.perf_counter() - asked
        if (engine := self._engine) is None:
            return _Seen((), (), {}, ready=False, num_broken=0, loop_lag=lag)
        curricula = engine.served
        self._door.keep_only(each.name for each in curricula)
        spreads = self._distributions.spreads(curricula)
        return _Seen(curricula, engine.away, spreads, engine.available, engine.num_broken, lag)

    def _service_metrics(self, seen: _Seen) -> Iterator[Metric]:
        info = GaugeMetricFamily("syllabus_build_info", "The service's version; always 1.", labels=["version"])
        info.add_metric([version("syllabus-service")], 1)
        yield info
        yield _gauge("syllabus_ready", "Whether the service is fit to be sent requests.", seen.ready)
        yield _gauge("syllabus_curricula", "Curricula that are served.", len(seen.curricula))
        yield _gauge("syllabus_broken_curricula", "Curricula that could not be recovered.", seen.num_broken)
        yield _gauge(
            "syllabus_event_loop_lag_seconds", "How long the event loop let this scrape wait.", max(seen.loop_lag, 0.0)
        )


def _door_metrics(door: DoorTallies) -> Iterator[Metric]:
    yield _counters(
        "syllabus_rpcs", "RPCs that have ended, by status.", ("method", "status"), list(door.ended.copy().items())
    )
    yield _histograms(
        "syllabus_rpc_duration_seconds",
        "How long unary RPCs took.",
        ("method",),
        [((method,), histogram) for method, histogram in list(door.seconds.items())],
    )
    yield _counters(
        "syllabus_rpc_codec_seconds",
        "Time that the event loop spent on turning bytes into messages (parse) and back (serialize).",
        ("stage",),
        [(("parse",), door.parse_seconds), (("serialize",), door.serialize_seconds)],
    )


def _curriculum_door_metrics(tallies: Mapping[str, CurriculumDoorTallies]) -> Iterator[Metric]:
    def of(read: Callable[[CurriculumDoorTallies], float]) -> Samples:
        return [((name,), read(each)) for name, each in tallies.items()]

    def counter(name: str, text: str, read: Callable[[CurriculumDoorTallies], float]) -> Metric:
        return _counters(name, text, _CURRICULUM, of(read))

    def gauge(name: str, text: str, read: Callable[[CurriculumDoorTallies], float]) -> Metric:
        return _gauges(name, text, _CURRICULUM, of(read))

    yield counter(
        "syllabus_decode_seconds",
        "Time that the event loop spent on turning metrics batches into columns.",
        lambda door: door.decode_seconds,
    )
    yield gauge("syllabus_open_streams", "Metrics streams that are open.", lambda door: door.open_streams)
    yield counter(
        "syllabus_client_tasks_used",
        "Tasks used by a reset or a change of task, as clients say.",
        lambda door: door.clients.tasks_used,
    )
    yield counter(
        "syllabus_client_prefetch_misses",
        "Tasks that an environment had to wait for, as clients say.",
        lambda door: door.clients.prefetch_misses,
    )
    yield counter(
        "syllabus_client_reset_wait_seconds",
        "Time that resets waited for a task, as clients say.",
        lambda door: door.clients.reset_wait,
    )
    yield gauge(
        "syllabus_client_reset_wait_max_seconds",
        "Longest of these waits in the last one to two minutes.",
        lambda door: door.clients.reset_wait_max.value,
    )
    yield counter(
        "syllabus_client_task_age_seconds",
        "Time from the arrival of tasks to their use, as clients say.",
        lambda door: door.clients.task_age,
    )
    yield gauge(
        "syllabus_client_task_age_max_seconds",
        "Longest of these times in the last one to two minutes.",
        lambda door: door.clients.task_age_max.value,
    )
    yield counter(
        "syllabus_client_batches_resent",
        "Batches sent again after a reconnect, as clients say.",
        lambda door: door.clients.batches_resent,
    )
    yield counter(
        "syllabus_client_tasks_repeated",
        "Tasks run again because no new one could be had, as clients say.",
        lambda door: door.clients.tasks_repeated,
    )
    yield counter(
        "syllabus_client_episodes_invalid",
        "Episodes that clients did not send because they were not valid.",
        lambda door: door.clients.episodes_invalid,
    )
    yield counter(
        "syllabus_client_statistics_refused",
        "Messages of clients about themselves that were left out: no client could mean them.",
        lambda door: door.clients.refused,
    )


def _runner_metrics(seen: _Seen) -> Iterator[Metric]:
    """Of a curriculum's state. Every front door tells the same of one, as each has last heard it."""
    tallies = {each.name: readings for each in seen.curricula if (readings := each.readings()) is not None}

    def of(read: Callable[[Readings], float]) -> Samples:
        return [((name,), read(each)) for name, each in tallies.items()]

    def counter(name: str, text: str, read: Callable[[Readings], float]) -> Metric:
        return _counters(name, text, _CURRICULUM, of(read))

    def gauge(name: str, text: str, read: Callable[[Readings], float]) -> Metric:
        return _gauges(name, text, _CURRICULUM, of(read))

    yield _gauges(
        "syllabus_curriculum_available",
        "Whether requests are taken; 0 while nothing can be made durable, or its process cannot be reached.",
        _CURRICULUM,
        [
            *(((each.name,), float(each.available)) for each in seen.curricula),
            *(((name,), 0.0) for name in seen.away),
        ],
    )
    yield counter("syllabus_commands", "Commands in the journal.", lambda each: each.committed)
    yield gauge("syllabus_queued_commands", "Commands without an answer.", lambda each: each.num_queued)
    yield gauge(
        "syllabus_oldest_command_seconds",
        "For how long the oldest of them has been without one.",
        lambda each: each.oldest_seconds,
    )
    yield _histograms(
        "syllabus_batch_commands",
        "Commands in a micro-batch.",
        _CURRICULUM,
        [((name,), each.batch_sizes) for name, each in tallies.items()],
    )
    yield _histograms(
        "syllabus_batch_stage_seconds",
        "Stages of a micro-batch: apply, journal (until it is durable), answer (until the event loop has it).",
        ("curriculum", "stage"),
        [
            ((name, stage), histogram)
            for name, each in tallies.items()
            for stage, histogram in (
                ("apply", each.apply_seconds),
                ("journal", each.journal_seconds),
                ("answer", each.answer_seconds),
            )
        ],
    )
    yield gauge("syllabus_sessions", "Sessions that hold a lease.", lambda each: each.state.num_sessions)
    yield gauge("syllabus_open_assignments", "Assignments that are open.", lambda each: each.state.num_open_assignments)
    yield counter("syllabus_assignments", "Tasks handed out.", lambda each: each.state.num_assignments)
    yield counter(
        "syllabus_abandoned_assignments",
        "Assignments that were released, or whose lease ran out.",
        lambda each: each.state.num_abandoned,
    )
    yield counter("syllabus_episodes", "Episodes counted.", lambda each: each.state.num_episodes)
    yield counter("syllabus_steps", "Steps of these episodes.", lambda each: each.state.num_steps)
    yield counter(
        "syllabus_rejected_rows", "Reported rows that were not counted.", lambda each: each.state.num_rejected
    )
    yield counter(
        "syllabus_curriculum_errors",
        "Updates that the curriculum refused with an error.",
        lambda each: each.state.num_curriculum_errors,
    )
    ages = SummaryMetricFamily(
        "syllabus_task_age_commands",
        "Age of a task when its episode was reported, in commands since it was drawn.",
        labels=list(_CURRICULUM),
    )
    for name, each in tallies.items():
        ages.add_metric([name], count_value=each.state.task_age_count, sum_value=each.state.task_age_sum)
    yield ages
    yield _histograms(
        "syllabus_snapshot_seconds",
        "How long writing a snapshot took.",
        _CURRICULUM,
        [((name,), each.snapshot_seconds) for name, each in tallies.items()],
    )
    yield counter(
        "syllabus_snapshot_failures", "Snapshots that could not be written.", lambda each: each.snapshot_failures
    )
    kept = {name: each for name, each in tallies.items() if each.is_kept}
    yield _gauges(
        "syllabus_snapshots_given_up",
        "Whether none is tried any more, because the curriculum cannot be saved: a restart replays its whole journal.",
        _CURRICULUM,
        [((name,), float(each.snapshots_given_up)) for name, each in kept.items()],
    )
    yield _gauges(
        "syllabus_snapshot_timestamp_seconds",
        "When the last snapshot of this process was written, in seconds since 1970.",
        _CURRICULUM,
        [((name,), each.snapshot_time) for name, each in tallies.items() if each.snapshot_time],
    )
    yield gauge("syllabus_snapshot_bytes", "Size of the last snapshot.", lambda each: each.snapshot_bytes)
    yield _gauges(
        "syllabus_commands_since_snapshot",
        "Commands behind the last snapshot: what a restart replays.",
        _CURRICULUM,
        [((name,), float(max(each.committed - each.snapshot_position, 0))) for name, each in kept.items()],
    )


def _distribution_metrics(seen: _Seen) -> Iterator[Metric]:
    yield _gauges(
        "syllabus_tasks",
        "Tasks of the curriculum's space; absent where it is not enumerable.",
        _CURRICULUM,
        [((each.name,), float(n)) for each in seen.curricula if (n := each.task_space.num_tasks) is not None],
    )
    yield _gauges(
        "syllabus_distribution_entropy_nats",
        "Entropy of the distribution over tasks, looked at every 15 s or more rarely.",
        _CURRICULUM,
        [((name,), spread.entropy) for name, spread in seen.spreads.items()],
    )
    yield _gauges(
        "syllabus_distribution_effective_tasks",
        "exp(entropy): how many equally likely tasks would have this entropy.",
        _CURRICULUM,
        [((name,), spread.effective_num_tasks) for name, spread in seen.spreads.items()],
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _counters(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """A counter; its samples get the suffix ``_total``."""
    family = CounterMetricFamily(name, text, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _histograms(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=list(labels))
    for values, histogram in samples:
        family.add_metric(list(values), histogram.buckets(), histogram.total)
    return family

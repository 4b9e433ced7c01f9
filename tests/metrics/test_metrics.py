"""What a scrape of a server tells, under load and in trouble, and what it refuses to tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.addresses import AddressError
from syllabus_service.engine import LocalEngine
from syllabus_service.metrics import collector
from syllabus_service.metrics.collector import ServiceCollector
from syllabus_service.metrics.distributions import DistributionWatch
from syllabus_service.metrics.door_tallies import ClientTallies, DoorTallies, WindowMaximum
from syllabus_service.metrics.endpoint import MetricsEndpoint, parse_metrics_address
from syllabus_service.metrics.runner_tallies import RunnerTallies
from syllabus_service.runner import RunnerSettings
from syllabus_service.store import MemoryStore
from tests.metrics.scrape import Scrape, scrape
from tests.service.serving import TIMEOUT, Serving, Stream, column, episodes, serving
from tests.service.test_service_engine import UNSAVABLE, TroubledStore

MAZE = {"curriculum": "maze"}
PROMPT = RunnerSettings(tick_seconds=0.02)
"""Looks at the leases, and so at the state's counts, every 20 ms."""


@contextlib.contextmanager
def _watched(server: Serving) -> Iterator[str]:
    """A metrics endpoint beside a server; its address."""

    async def enter() -> MetricsEndpoint:
        return await MetricsEndpoint("127.0.0.1:0", server.engine, server.server.tallies).__aenter__()

    endpoint = server.run(enter)
    try:
        yield endpoint.address
    finally:
        server.run(lambda: endpoint.__aexit__(None, None, None))


def _wait_for(address: str, condition: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until the condition holds: what a thread publishes, it does in its own time."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        seen = scrape(address)
        with contextlib.suppress(KeyError):
            if condition(seen):
                return seen
        assert time.monotonic() < deadline, "the metrics never said so"
        time.sleep(0.02)


def test_a_scrape_tells_what_a_session_has_done() -> None:
    with serving(MemoryStore(), settings=PROMPT) as server, _watched(server) as address:
        server.create()
        stream = Stream(server.stub)
        stream.open()
        drawn = stream.ask(1, pb.MetricsBatch(num_tasks=8)).tasks
        ids = np.array(column(drawn.assignment_id), np.uint64)
        stream.ask(2, pb.MetricsBatch(episodes=episodes(assignment_ids=ids[:5])), acknowledged=1)
        with pytest.raises(grpc.RpcError):
            server.stub.GetTask(pb.GetTaskRequest(curriculum="nowhere"), timeout=TIMEOUT)
        seen = _wait_for(address, lambda seen: seen.value("syllabus_episodes_total", **MAZE) == 5)
        assert seen.value("syllabus_assignments_total", **MAZE) == 8
        assert seen.value("syllabus_open_assignments", **MAZE) == 3
        assert seen.value("syllabus_steps_total", **MAZE) == 25
        assert seen.value("syllabus_sessions", **MAZE) == 1
        assert seen.value("syllabus_open_streams", **MAZE) == 1
        assert seen.value("syllabus_commands_total", **MAZE) == 2
        assert seen.value("syllabus_commands_since_snapshot", **MAZE) == 2
        assert seen.value("syllabus_tasks", **MAZE) == 10
        assert seen.value("syllabus_task_age_commands_count", **MAZE) == 5
        assert seen.value("syllabus_task_age_commands_sum", **MAZE) == 5
        assert seen.value("syllabus_batch_commands_count", **MAZE) == 2
        for stage in ("apply", "journal", "answer"):
            assert seen.value("syllabus_batch_stage_seconds_sum", **MAZE, stage=stage) > 0
        assert seen.value("syllabus_decode_seconds_total", **MAZE) > 0
        assert seen.value("syllabus_rpc_codec_seconds_total", stage="parse") > 0
        assert seen.value("syllabus_rpc_codec_seconds_total", stage="serialize") > 0
        assert seen.value("syllabus_rpcs_total", method="CreateCurriculum", status="OK") == 1
        assert seen.value("syllabus_rpcs_total", method="GetTask", status="NOT_FOUND") == 1
        assert seen.value("syllabus_rpc_duration_seconds_count", method="CreateCurriculum") == 1
        assert seen.value("syllabus_queued_commands", **MAZE) == 0
        assert seen.value("syllabus_ready") == 1
        assert seen.value("process_resident_memory_bytes") > 0
        stream.close()
        seen = _wait_for(address, lambda seen: seen.value("syllabus_open_streams", **MAZE) == 0)
        assert seen.value("syllabus_rpcs_total", method="StreamMetrics", status="OK") == 1


def test_what_clients_say_of_themselves_is_added_up_by_curriculum_and_without_a_label_per_session() -> None:
    with serving() as server, _watched(server) as address:
        server.create()
        for session_id in ("one", "two"):
            stream = Stream(server.stub)
            stream.open(session_id=session_id)
            fares = pb.ClientStatistics(tasks_used=10, prefetch_misses=1, tasks_repeated=2)
            fares.reset_wait.FromMilliseconds(250)
            fares.reset_wait_max.FromMilliseconds(200)
            fares.task_age.FromSeconds(3)
            batch = pb.SessionBatch(sequence=1, batch=pb.MetricsBatch(num_tasks=1), client_statistics=fares)
            stream.send(pb.StreamMetricsRequest(batch=batch))
            stream.receive()
            stream.close()
        seen = scrape(address)
        assert seen.value("syllabus_client_tasks_used_total", **MAZE) == 20
        assert seen.value("syllabus_client_prefetch_misses_total", **MAZE) == 2
        assert seen.value("syllabus_client_tasks_repeated_total", **MAZE) == 4
        assert seen.value("syllabus_client_reset_wait_seconds_total", **MAZE) == pytest.approx(0.5)
        assert seen.value("syllabus_client_reset_wait_max_seconds", **MAZE) == pytest.approx(0.2)
        assert seen.value("syllabus_client_task_age_seconds_total", **MAZE) == pytest.approx(6.0)
        labels = {label for _, pairs in seen.samples for label, _ in pairs}
        assert labels <= {"curriculum", "method", "status", "stage", "le", "version"} | {
            "generation",
            "implementation",
            "major",
            "minor",
            "patchlevel",
        }


@pytest.mark.parametrize("field", ["reset_wait", "reset_wait_max", "task_age", "task_age_max"])
@pytest.mark.parametrize("seconds", [-1, 10_000_000_000])
def test_a_duration_that_no_client_can_mean_leaves_the_sums_alone(field: str, seconds: int) -> None:
    tallies = ClientTallies()
    hostile = pb.ClientStatistics(tasks_used=1)
    getattr(hostile, field).seconds = seconds
    tallies.add(hostile)
    assert (tallies.refused, tallies.tasks_used, tallies.reset_wait, tallies.task_age) == (1, 0, 0.0, 0.0)
    assert (tallies.reset_wait_max.value, tallies.task_age_max.value) == (0.0, 0.0)


def test_a_count_that_no_client_can_mean_leaves_the_sums_alone() -> None:
    tallies = ClientTallies()
    tallies.add(pb.ClientStatistics(prefetch_misses=2**64 - 1, tasks_used=3))
    assert (tallies.refused, tallies.prefetch_misses, tallies.tasks_used) == (1, 0, 0)


def test_the_maximum_of_a_window_is_forgotten_after_one_to_two_windows() -> None:
    now = 0.0
    maximum = WindowMaximum(lambda: now)
    maximum.observe(5.0)
    now = 61.0
    maximum.observe(2.0)
    assert maximum.value == 5.0
    now = 121.0
    assert maximum.value == 2.0
    now = 181.0
    assert maximum.value == 0.0


def test_while_nothing_can_be_made_durable_the_queue_and_its_age_grow_and_a_scrape_still_answers() -> None:
    store = TroubledStore()
    with serving(store, settings=PROMPT) as server, _watched(server) as address:
        server.create()
        store.trouble.gate.clear()
        ask = pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=1, num_tasks=1)
        pending = server.stub.GetTask.future(ask, timeout=TIMEOUT)
        first = _wait_for(address, lambda seen: seen.value("syllabus_queued_commands", **MAZE) == 1)
        age = first.value("syllabus_oldest_command_seconds", **MAZE)
        assert scrape(address).value("syllabus_oldest_command_seconds", **MAZE) > age > 0
        store.trouble.away = True
        store.trouble.gate.set()
        _wait_for(address, lambda seen: seen.value("syllabus_curriculum_available", **MAZE) == 0)
        assert scrape(address).value("syllabus_ready") == 0
        store.trouble.away = False
        assert pending.result().reply.position == 1
        back = _wait_for(address, lambda seen: seen.value("syllabus_queued_commands", **MAZE) == 0)
        assert back.value("syllabus_oldest_command_seconds", **MAZE) == 0
        assert back.value("syllabus_curriculum_available", **MAZE) == 1


def test_a_deleted_curriculum_has_no_metrics_any_more() -> None:
    with serving() as server, _watched(server) as address:
        server.create()
        server.stub.GetTask(
            pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=1, num_tasks=1), timeout=TIMEOUT
        )
        assert any(("curriculum", "maze") in labels for _, labels in scrape(address).samples)
        server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)
        assert not any(("curriculum", "maze") in labels for _, labels in scrape(address).samples)
        assert not server.server.tallies._curricula  # nor is anything kept of it


def test_the_spread_of_a_distribution_is_told_and_not_looked_at_in_each_scrape() -> None:
    with serving() as server, _watched(server) as address:
        server.create()
        seen = _wait_for(address, lambda seen: "syllabus_distribution_entropy_nats" in seen.names)
        assert seen.value("syllabus_distribution_entropy_nats", **MAZE) == pytest.approx(np.log(10))
        assert seen.value("syllabus_distribution_effective_tasks", **MAZE) == pytest.approx(10)


def test_looks_at_a_distribution_rest_in_proportion_to_what_they_cost() -> None:
    now = 0.0

    class Slow:
        """A curriculum whose distribution takes two seconds to tell."""

        name = "maze"
        looks = 0

        async def ask(self, question: pb.GetDistributionRequest) -> pb.GetDistributionResponse:
            nonlocal now
            now += 2.0
            self.looks += 1
            return pb.GetDistributionResponse(entropy=1.0)

    slow = Slow()

    async def run() -> None:
        nonlocal now
        watch = DistributionWatch(lambda: now)
        for at, looks in ((0.0, 1), (100.0, 1), (2000.0, 1), (2003.0, 2)):
            now = at
            watch.spreads([slow])
            await watch.settled()
            assert slow.looks == looks, at

    asyncio.run(run())


def test_the_last_snapshot_is_told_and_one_that_failed_is_counted() -> None:
    tallies = RunnerTallies(wall_clock=lambda: 1_000_000.0)
    tallies.snapshot(position=7, size=100, started=time.perf_counter())
    assert (tallies.snapshot_time, tallies.snapshot_position, tallies.snapshot_bytes) == (1_000_000.0, 7, 100)
    store = TroubledStore()
    store.trouble.fail_snapshots = True
    settings = RunnerSettings(tick_seconds=0.02, snapshot_after_commands=1)
    with serving(store, settings=settings) as server, _watched(server) as address:
        server.create()
        ask = pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=1, num_tasks=1)
        server.stub.GetTask(ask, timeout=TIMEOUT)
        seen = _wait_for(address, lambda seen: seen.value("syllabus_snapshot_failures_total", **MAZE) == 1)
        assert "syllabus_snapshot_timestamp_seconds" not in seen.names
        store.trouble.fail_snapshots = False
        ask = pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=2, num_tasks=1)
        server.stub.GetTask(ask, timeout=TIMEOUT)
        seen = _wait_for(address, lambda seen: seen.value("syllabus_snapshot_seconds_count", **MAZE) == 1)
        assert seen.value("syllabus_snapshot_timestamp_seconds", **MAZE) > 0
        assert seen.value("syllabus_commands_since_snapshot", **MAZE) == 0


def test_a_curriculum_that_cannot_be_saved_is_told() -> None:
    settings = RunnerSettings(tick_seconds=0.02, snapshot_after_commands=1)
    with (
        serving(MemoryStore(), settings=settings, allowed_curricula=[UNSAVABLE]) as server,
        _watched(server) as address,
    ):
        server.create("good")
        server.create("maze", algorithm=UNSAVABLE)
        assert scrape(address).value("syllabus_snapshots_given_up", **MAZE) == 0
        for name in ("maze", "good"):
            ask = pb.GetTaskRequest(curriculum=name, session_id="s", sequence=1, num_tasks=1)
            server.stub.GetTask(ask, timeout=TIMEOUT)
        seen = _wait_for(address, lambda seen: seen.value("syllabus_snapshots_given_up", **MAZE) == 1)
        assert seen.value("syllabus_snapshots_given_up", curriculum="good") == 0
        assert seen.value("syllabus_commands_since_snapshot", **MAZE) == 1
        assert seen.value("syllabus_snapshot_failures_total", **MAZE) == 0
    with serving() as server, _watched(server) as address:  # what is not stored has nothing to be told of
        server.create("maze")
        assert not {"syllabus_snapshots_given_up", "syllabus_commands_since_snapshot"} & scrape(address).names


def test_scrapes_that_a_hanging_loop_did_not_answer_are_not_made_up_for_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "_PATIENCE_SECONDS", 0.05)
    looks: list[float] = []

    class Counted(ServiceCollector):
        def _see(self, asked: float) -> Any:
            looks.append(asked)
            return super()._see(asked)

    async def live() -> None:
        async with LocalEngine() as engine:
            watched = Counted(engine, DoorTallies(), asyncio.get_running_loop())

            def scrape_in_vain() -> None:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        list(watched.collect())

            scraping = threading.Thread(target=scrape_in_vain)
            scraping.start()
            scraping.join()  # the loop hangs meanwhile
            for _ in range(10):
                await asyncio.sleep(0)
            assert looks == []
            assert await asyncio.to_thread(lambda: len(list(watched.collect()))) > 0
            await watched.stop()

    asyncio.run(live())


def test_before_there_is_an_engine_it_is_told_that_it_is_not_ready() -> None:
    with serving() as server:
        endpoint = MetricsEndpoint("127.0.0.1:0", None, server.server.tallies)
        server.run(endpoint.__aenter__)
        try:
            assert scrape(endpoint.address).value("syllabus_ready") == 0
            server.call(lambda: endpoint.serve(server.engine))
            assert scrape(endpoint.address).value("syllabus_ready") == 1
        finally:
            server.run(endpoint.stop)
            server.run(endpoint.stop)


@pytest.mark.parametrize(
    ("path", "method", "code"), [("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 405)]
)
def test_nothing_but_metrics_is_there(path: str, method: str, code: int) -> None:
    with serving() as server, _watched(server) as address:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", method=method), timeout=TIMEOUT)
        assert refused.value.code == code
        refused.value.close()


def test_callers_that_say_nothing_do_not_keep_others_from_their_answer_longer_than_their_share() -> None:
    with serving() as server, _watched(server) as address, contextlib.ExitStack() as stack:
        host, _, port = address.rpartition(":")
        for _ in range(4):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=TIMEOUT))
        assert scrape(address).value("syllabus_ready") == 1


def test_metrics_are_offered_beyond_this_machine_only_when_said_so() -> None:
    with pytest.raises(AddressError, match="--metrics-insecure"):
        parse_metrics_address("0.0.0.0:0", insecure=False)
    assert parse_metrics_address("0.0.0.0:0", insecure=True).host == "0.0.0.0"
    assert parse_metrics_address("127.0.0.1:0", insecure=False).is_private
    with pytest.raises(AddressError, match="expected HOST:PORT"):
        parse_metrics_address("unix:/run/metrics", insecure=False)


def test_a_port_that_is_taken_is_refused() -> None:
    with serving() as server, _watched(server) as address, pytest.raises(AddressError, match="cannot listen"):
        server.run(lambda: MetricsEndpoint(address, server.engine, server.server.tallies).__aenter__())

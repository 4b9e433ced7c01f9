"""Front doors and actors that misunderstand each other, do not answer, or are not each other's. Without Ray itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import metrics_command
from syllabus_service.errors import FailedPrecondition, NotFound, RequestError, Unavailable
from syllabus_service.limits import Limits
from syllabus_service.metrics.collector import ServiceCollector
from syllabus_service.metrics.door_tallies import DoorTallies
from syllabus_service.ray_engine import RayCluster, RayEngine, actor_calls
from syllabus_service.ray_engine import actor as actor_module
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine import engine as engine_module
from syllabus_service.store import Durability
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.in_process_actors import Actors, InProcessLink
from tests.postgresql import PostgresServer
from tests.service.serving import episodes, spec

_SPACE = DiscreteTaskSpace(10)
_PATIENCE_SECONDS = 30.0

Door = Callable[..., contextlib.AbstractAsyncContextManager[RayEngine]]


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> Actors:
    """No actor as yet."""
    monkeypatch.setattr(actor_module, "configure_logs", lambda *_: None)
    monkeypatch.setattr(engine_module, "RayLink", InProcessLink)
    monkeypatch.setattr(engine_module, "_LIST_SECONDS", 0.2)
    monkeypatch.setattr(engine_module, "_ROLL_CALL_SECONDS", 0.1)
    actors = Actors()
    monkeypatch.setattr(InProcessLink, "actors", actors, raising=False)
    return actors


@pytest.fixture
def url(database: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database."""
    return database.create_database(f"doors_{abs(hash(request.node.name)) % 10**9}")


@asynccontextmanager
async def _door(url: str, durability: Durability = Durability.FSYNC, cpus: float = 0.1) -> AsyncIterator[RayEngine]:
    """A front door."""
    with await asyncio.to_thread(PostgresqlStore, url) as store:
        async with RayEngine(store, url, durability, cluster=RayCluster(cpus_per_curriculum=cpus)) as engine:
            yield engine


def _run(actors: Actors, live: Callable[[], Awaitable[None]]) -> None:
    async def to_the_end() -> None:
        try:
            await live()
        finally:
            await actors.end()

    asyncio.run(to_the_end())


async def _report(engine: RayEngine, name: str, sequence: int, session_id: str = "worker") -> int:
    """Report an episode; the position of its command."""
    batch = pb.MetricsBatch(episodes=episodes([1]))
    command = metrics_command(session_id, sequence, sequence - 1, batch, _SPACE, Limits())
    return int((await (await engine.get(name)).submit(command)).position)  # type: ignore[union-attr]


async def _refusal(call: Awaitable[object]) -> RequestError:
    with pytest.raises(RequestError) as refused:
        await call
    return refused.value


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


# Settings and releases


def test_a_front_door_that_is_started_later_with_other_settings_has_its_actors_and_the_older_one_is_not_ready(
    actors: Actors, url: str
) -> None:
    async def live() -> None:
        async with _door(url) as older:
            await older.create("maze", spec())
            assert await _report(older, "maze", 1) == 1
            async with _door(url, Durability.OS) as later:
                assert await _report(later, "maze", 2) == 2
                assert actors.made["maze"] == 2
                (actor,) = actors.here.values()
                assert actor._source.durability == "os"  # type: ignore[union-attr]
                refusal = await _refusal(_report(older, "maze", 3))
                assert isinstance(refusal, Unavailable)
                assert "same options" in refusal.message
                assert (older.available, later.available) == (False, True)
                for sequence in range(3, 6):  # they do not take it from each other by turns
                    await _refusal(_report(older, "maze", sequence))
                    assert await _report(later, "maze", sequence) == sequence
                assert actors.made["maze"] == 2

    _run(actors, live)


def test_an_older_front_door_makes_actors_anew_once_no_door_of_the_later_settings_speaks_to_them(
    actors: Actors, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_module, "FORSAKEN_SECONDS", 0.5)

    async def live() -> None:
        async with _door(url) as older:
            await older.create("maze", spec())
            async with _door(url, cpus=0.2) as later:
                assert await _report(later, "maze", 1) == 1
                assert isinstance(await _refusal(_report(older, "maze", 2)), Unavailable)
            position = 0
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not position:
                    await asyncio.sleep(0.05)
                    with contextlib.suppress(Unavailable):
                        position = await _report(older, "maze", 2)
            assert (position, older.available, actors.made["maze"]) == (2, True, 3)

    _run(actors, live)


def test_actors_of_the_same_settings_stay_when_another_front_door_is_started(actors: Actors, url: str) -> None:
    async def live() -> None:
        async with _door(url) as one:
            await one.create("maze", spec())
            async with _door(url) as two:
                for sequence in (1, 2, 3, 4):
                    assert await _report((one, two)[sequence % 2], "maze", sequence) == sequence
        assert actors.made["maze"] == 1

    _run(actors, live)


def test_an_actor_that_speaks_another_protocol_takes_nothing_and_is_made_anew_only_once(
    actors: Actors, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with _door(url) as old:
            await old.create("maze", spec())
        monkeypatch.setattr(actor_calls, "PROTOCOL", 77)  # the front doors are upgraded; Ray's nodes are not yet
        async with _door(url) as new:
            for _ in range(3):
                refusal = await _refusal(_report(new, "maze", 1))
                assert isinstance(refusal, Unavailable)
                assert "another release" in refusal.message
            assert not new.available
            assert actors.made["maze"] == 2
            monkeypatch.setattr(actor_module, "PROTOCOL", 77)  # now they are
            assert await _report(new, "maze", 1) == 1
            assert new.available
            assert actors.made["maze"] == 2

    _run(actors, live)


def test_a_change_of_what_front_doors_and_actors_say_decides_about_the_protocols_number() -> None:
    said = hashlib.sha256(calls.DESCRIPTOR.serialized_pb).hexdigest()[:16]
    assert (actor_calls.PROTOCOL, said) == (1, "8bd666503377d0f8"), (
        "calls.proto has changed: raise PROTOCOL, unless front doors and actors of the release before would understand "
        "it and be understood, and note the new fingerprint here"
    )


def test_services_on_two_databases_share_a_ray_cluster_and_no_curriculum(
    actors: Actors, url: str, database: PostgresServer, request: pytest.FixtureRequest
) -> None:
    other_url = database.create_database("doors_of_another_service")

    async def live() -> None:
        async with _door(url) as one, _door(other_url) as other:
            await one.create("maze", spec())
            await other.create("maze", spec(seed=2))
            assert await _report(one, "maze", 1) == 1
            await other.delete("maze")
            assert isinstance(await _refusal(_report(other, "maze", 1)), NotFound)
            assert await _report(one, "maze", 2) == 2

    _run(actors, live)


# Deleting


def test_a_delete_whose_answer_is_lost_leaves_no_actor_once_it_is_sent_again(actors: Actors, url: str) -> None:
    async def live() -> None:
        async with _door(url) as engine:
            await engine.create("maze", spec())
            actors.lost_answers["maze"] = 1
            assert isinstance(await _refusal(engine.delete("maze")), Unavailable)
            assert len(actors.here) == 1
            assert isinstance(await _refusal(engine.delete("maze")), NotFound)
            assert not actors.here

    _run(actors, live)


def test_a_front_door_that_asks_for_what_another_has_deleted_leaves_no_actor(actors: Actors, url: str) -> None:
    async def live() -> None:
        async with _door(url) as one, _door(url) as other:
            await one.create("maze", spec())
            served = await other.get("maze")
            await one.delete("maze")
            question = pb.GetStatisticsRequest(curriculum="maze")
            assert isinstance(await _refusal(served.ask(question)), NotFound)
            await _until(lambda: not other.served and not actors.here)

    _run(actors, live)


def test_a_roll_call_lets_go_of_what_another_front_door_has_deleted_and_meets_what_is_new(
    actors: Actors, url: str
) -> None:
    async def live() -> None:
        async with _door(url) as one, _door(url) as other:
            await one.create("maze", spec())
            await _until(lambda: [each.name for each in other.served] == ["maze"])
            await one.delete("maze")
            await one.create("pole", spec())
            await _until(lambda: [each.name for each in other.served] == ["pole"])

    _run(actors, live)


# Exchanges


def test_whatever_an_actor_answers_everybody_who_waits_is_told_and_room_is_given_back(actors: Actors, url: str) -> None:
    def unknown_code(answer: calls.Answer) -> bytes:
        return calls.Answer(refusal=calls.Refusal(code="NO_SUCH_STATUS")).SerializeToString()

    def too_few(answer: calls.Answer) -> bytes:
        del answer.outcomes[:]
        return answer.SerializeToString()

    def unexpected_refusal(answer: calls.Answer) -> bytes:
        return calls.Answer(refusal=calls.Refusal(code="RESOURCE_EXHAUSTED")).SerializeToString()

    async def live() -> None:
        async with _door(url) as engine:
            served = await engine.create("maze", spec())
            for sequence, (garble, code) in enumerate(
                [
                    (lambda answer: b"\xff", "FAILED_PRECONDITION"),
                    (unknown_code, "FAILED_PRECONDITION"),
                    (too_few, "FAILED_PRECONDITION"),
                    (unexpected_refusal, "RESOURCE_EXHAUSTED"),
                ],
                start=1,
            ):
                actors.garbled["maze"] = garble
                waiting = [_report(engine, "maze", sequence, f"worker-{number}") for number in range(3)]
                refused = await asyncio.gather(*waiting, return_exceptions=True)
                assert [getattr(each, "code", each) for each in refused] == [code] * 3
                assert not served.available
            actors.garbled.clear()
            assert await _report(engine, "maze", 1) > 0
            assert served.available
            assert (served._room._items, served._room._bytes) == (0, 0)

    _run(actors, live)


def test_a_stream_that_ends_is_told_behind_its_beginning_and_not_in_place_of_the_one_that_follows(
    actors: Actors, url: str
) -> None:
    async def live() -> None:
        async with _door(url) as engine:
            served = await engine.create("maze", spec())
            (actor,) = actors.here.values()
            opening = asyncio.ensure_future(served.attach("worker"))
            await asyncio.sleep(0)
            served.detach("worker")
            await opening
            await _until(lambda: "worker" not in actor._doors)
            await served.attach("worker")
            served.detach("worker")
            await served.attach("worker")  # before the end of the older one was told
            await _report(engine, "maze", 1)
            assert "worker" in actor._doors
            for number in range(10_000):  # as many as one likes
                served.detach(f"nobody-{number}")
            assert len(served._queue) == 0

    _run(actors, live)


# Actors that do not answer


def test_an_actor_that_ray_cannot_place_keeps_nobody_from_the_others(actors: Actors, url: str) -> None:
    async def live() -> None:
        async with _door(url) as engine:
            actors.unplaceable.add("stuck")
            stuck = asyncio.ensure_future(engine.create("stuck", spec()))
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await engine.create("maze", spec())
                assert [each.name for each in await engine.list()] == ["maze"]
                await engine.delete("maze")
            assert not stuck.done()
            stuck.cancel()

    _run(actors, live)


def _series(collector: ServiceCollector) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("curriculum", "")): sample.value
        for family in collector.collect()
        for sample in family.samples
        if "le" not in sample.labels and "stage" not in sample.labels
    }


def test_a_scrape_of_any_front_door_tells_a_curriculums_state_and_waits_for_no_actor_and_no_store(
    actors: Actors, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with _door(url) as one, _door(url) as other:
            loop = asyncio.get_running_loop()
            for name in ("maze", "pole"):
                await one.create(name, spec(lease=8.0))
            await _report(one, "maze", 1)
            assert len(await other.list()) == 2
            collectors = [ServiceCollector(engine, DoorTallies(), loop) for engine in (one, other)]

            async def scrape(condition: Callable[[dict[tuple[str, str], float]], bool]) -> None:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    for each in collectors:
                        while not condition(await asyncio.to_thread(_series, each)):
                            await asyncio.sleep(0.05)

            await scrape(
                lambda seen: (
                    seen.get(("syllabus_episodes_total", "maze")) == 1
                    and seen["syllabus_commands_total", "maze"] == 1
                    and seen["syllabus_sessions", "maze"] == 1
                    and seen["syllabus_batch_commands_count", "maze"] == 1
                    and seen["syllabus_curriculum_available", "pole"] == 1
                )
            )
            actors.unplaceable.add("new")
            creating = asyncio.ensure_future(one.create("new", spec()))
            actors.lost_answers["maze"] = 1_000_000
            monkeypatch.setattr(PostgresqlStore, "list_curricula", lambda self: None)  # nobody may ask it
            await scrape(
                lambda seen: (
                    seen["syllabus_curriculum_available", "maze"] == 0
                    and seen["syllabus_curriculum_available", "pole"] == 1
                    and seen["syllabus_ready", ""] == 1
                )
            )
            await scrape(lambda seen: ("syllabus_episodes_total", "maze") not in seen)  # heard too long ago
            actors.lost_answers.clear()
            await scrape(lambda seen: seen["syllabus_curriculum_available", "maze"] == 1)
            creating.cancel()
            for each in collectors:
                await each.stop()

    _run(actors, live)


def test_a_curriculum_that_was_never_reached_is_told_as_unavailable_and_a_broken_one_as_broken(
    actors: Actors, url: str
) -> None:
    with PostgresqlStore(url) as store:
        store.create_curriculum("away", 1, spec().SerializeToString())
        store.create_curriculum("broken", 2, spec("no_such_algorithm").SerializeToString())

    async def live() -> None:
        actors.lost_answers["away"] = 1_000_000
        async with _door(url) as engine:
            await _until(lambda: (list(engine.away), engine.num_broken) == (["away"], 1))
            collector = ServiceCollector(engine, DoorTallies(), asyncio.get_running_loop())
            seen = await asyncio.to_thread(_series, collector)
            assert seen["syllabus_curriculum_available", "away"] == 0
            assert seen["syllabus_broken_curricula", ""] == 1
            assert await engine.list() == []
            assert isinstance(await _refusal(engine.get("broken")), FailedPrecondition)
            await engine.delete("broken")
            actors.lost_answers.clear()
            await _until(lambda: (list(engine.away), engine.num_broken) == ([], 0))
            assert [each.name for each in engine.served] == ["away"]
            await collector.stop()

    _run(actors, live)

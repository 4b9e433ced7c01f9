"""Two lives of a curriculum's actor on one database, as when the first one's node was cut off. Without Ray itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import metrics_command
from syllabus_service.limits import Limits
from syllabus_service.ray_engine import actor as actor_module
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.actor import CurriculumActor
from syllabus_service.ray_engine.settings import PROTOCOL, Stored
from syllabus_service.store.postgresql import PostgresqlStore
from tests.chaos.audit import replay
from tests.postgresql import PostgresServer
from tests.service.serving import episodes, spec

_SPACE = DiscreteTaskSpace(10)
_END_SECONDS = 30.0
_SLEEPER = """
import asyncio, struct, sys
from syllabus_service.limits import Limits
from syllabus_service.ray_engine.actor import CurriculumActor
from syllabus_service.ray_engine.settings import Stored

async def serve():
    actor = CurriculumActor("maze", Stored(sys.argv[1], "fsync", Limits()))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        answer = await actor.call(await reader.readexactly(size))
        sys.stdout.buffer.write(struct.pack("!I", len(answer)) + answer)
        sys.stdout.flush()

asyncio.run(serve())
"""


@pytest.fixture
def source(database: PostgresServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """A database with one curriculum; actors leave this process's logs alone."""
    url = database.create_database(request.node.name[:60])
    with PostgresqlStore(url) as store:
        store.create_curriculum("maze", 7, spec().SerializeToString(deterministic=True))
    monkeypatch.setattr(actor_module, "configure_logs", lambda *_: None)
    return Stored(url, "fsync", Limits())


def _batch(sequence: int, session_id: str = "worker") -> bytes:
    batch = pb.MetricsBatch(episodes=episodes([sequence]))
    return metrics_command(session_id, sequence, sequence - 1, batch, _SPACE, Limits()).to_record()


async def _call(actor: CurriculumActor, call: calls.Call) -> calls.Answer:
    assert isinstance(actor._source, Stored)
    call.protocol, call.settings = PROTOCOL, actor._source.settings
    return calls.Answer.FromString(await actor.call(call.SerializeToString()))


async def _exchange(actor: CurriculumActor, *items: calls.Item, door: str = "door") -> list[calls.Outcome]:
    answer = await _call(actor, calls.Call(door=door, incarnation=7, exchange=calls.Exchange(items=items)))
    if answer.HasField("refusal"):
        return [calls.Outcome(refusal=answer.refusal)] * len(items)
    return list(answer.outcomes)


def test_an_actor_that_wakes_up_when_another_serves_writes_nothing_and_ends(
    source: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    async def live() -> None:
        first, second = CurriculumActor("maze", source), CurriculumActor("maze", source)
        (outcome,) = await _exchange(first, calls.Item(single=_batch(1)))
        assert outcome.HasField("reply")
        (outcome,) = await _exchange(second, calls.Item(single=_batch(2)))  # it recovers, and so takes over
        assert outcome.HasField("reply")
        for _ in range(2):
            (outcome,) = await _exchange(first, calls.Item(single=_batch(2)))
            assert outcome.refusal.code == "UNAVAILABLE"  # so that it is sent again, to the other one
        while not ended:
            await asyncio.sleep(0.01)
        (outcome,) = await _exchange(second, calls.Item(single=_batch(3)))
        assert outcome.HasField("reply")
        await first.stop()
        await second.stop()

    monkeypatch.setattr(os, "_exit", ended.append)
    asyncio.run(live())
    assert ended == [1]
    with PostgresqlStore(source.store) as store:
        assert replay(store, "maze").host.position == 3


def test_a_process_that_slept_with_a_command_in_hand_has_its_append_refused_and_ends(
    source: Stored, tmp_path: Path
) -> None:
    log_path = tmp_path / "log"
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", _SLEEPER, source.store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as sleeper,
    ):
        try:
            assert sleeper.stdin is not None
            assert sleeper.stdout is not None

            def send(sequence: int) -> None:
                call = calls.Call(door="door", incarnation=7, protocol=PROTOCOL, settings=source.settings)
                call.exchange.items.add(single=_batch(sequence))
                packed = call.SerializeToString()
                sleeper.stdin.write(struct.pack("!I", len(packed)) + packed)
                sleeper.stdin.flush()

            def receive() -> calls.Answer:
                (size,) = struct.unpack("!I", sleeper.stdout.read(4))
                return calls.Answer.FromString(sleeper.stdout.read(size))

            send(1)
            assert receive().outcomes[0].HasField("reply")
            sleeper.send_signal(signal.SIGSTOP)
            send(2)  # it is there when the sleeper wakes up

            async def take_over() -> None:
                owner = CurriculumActor("maze", source)
                (outcome,) = await _exchange(owner, calls.Item(single=_batch(1, "another")))
                assert outcome.HasField("reply")
                await owner.stop()

            asyncio.run(take_over())
            sleeper.send_signal(signal.SIGCONT)
            assert receive().outcomes[0].refusal.code == "UNAVAILABLE"
            assert sleeper.wait(_END_SECONDS) == 1
        finally:
            sleeper.kill()
    events = [json.loads(line)["event"] for line in log_path.read_text().splitlines()]
    assert "curriculum_taken_over" in events
    assert "actor_ends" in events
    with PostgresqlStore(source.store) as store:
        assert replay(store, "maze").host.position == 2


def test_the_stream_of_an_actor_that_was_started_again_is_opened_again_before_it_goes_on(source: Stored) -> None:
    async def live() -> None:
        first = CurriculumActor("maze", source)
        (attached,) = await _exchange(first, calls.Item(attach="worker"))
        (replied,) = await _exchange(first, calls.Item(streamed=_batch(1)))
        assert (attached.applied_sequence, replied.HasField("reply")) == (0, True)
        await first.stop()
        second = CurriculumActor("maze", source)
        (outcome,) = await _exchange(second, calls.Item(streamed=_batch(2)))  # of the stream that was
        assert outcome.refusal.code == "UNAVAILABLE"
        (attached,) = await _exchange(second, calls.Item(attach="worker"))
        (replied,) = await _exchange(second, calls.Item(streamed=_batch(2)))
        assert (attached.applied_sequence, replied.HasField("reply")) == (1, True)
        await second.stop()

    asyncio.run(live())


def test_what_is_still_on_its_way_from_an_older_front_door_is_refused(source: Stored) -> None:
    async def live() -> None:
        actor = CurriculumActor("maze", source)
        await _exchange(actor, calls.Item(attach="worker"), door="older")
        (attached,) = await _exchange(actor, calls.Item(attach="worker"), door="newer")
        late = calls.Exchange(items=[calls.Item(streamed=_batch(1))], detached=["worker"])
        answer = await _call(actor, calls.Call(door="older", incarnation=7, exchange=late))
        assert (attached.applied_sequence, answer.outcomes[0].refusal.code) == (0, "ABORTED")
        (replied,) = await _exchange(actor, calls.Item(streamed=_batch(1)), door="newer")
        assert replied.HasField("reply")  # what the older one says of the end of its stream is nothing to the newer one
        await actor.stop()

    asyncio.run(live())


def test_only_the_creation_that_is_meant_is_deleted(source: Stored) -> None:
    async def live() -> None:
        actor = CurriculumActor("maze", source)
        answer = await _call(actor, calls.Call(incarnation=6, delete=calls.Delete()))  # of one that was here before
        assert (answer.refusal.code, answer.refusal.field) == ("NOT_FOUND", "curriculum")
        (replied,) = await _exchange(actor, calls.Item(single=_batch(1)))
        assert replied.HasField("reply")
        answer = await _call(actor, calls.Call(incarnation=7, delete=calls.Delete()))
        assert not answer.HasField("refusal")
        answer = await _call(actor, calls.Call(incarnation=7, delete=calls.Delete()))
        assert (answer.refusal.code, answer.absent) == ("NOT_FOUND", True)

    asyncio.run(live())
    with PostgresqlStore(source.store) as store:
        assert store.list_curricula() == []

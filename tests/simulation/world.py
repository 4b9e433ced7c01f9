"""Sessions, a network and a service with its store, all in one thread under one seeded scheduler.

The session machine and the host are the real ones. What connects them is simulated, so that a seed decides everything:
when a message arrives, when a connection breaks and whether both ends notice, when the service dies between any two of
its effects (apply, write, sync, reply) and how much of what it wrote and did not sync is lost, and when a worker dies.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from syllabus_client.session import SessionMachine
from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service import commands as c
from syllabus_service.errors import RequestError
from syllabus_service.host import CurriculumHost
from syllabus_service.limits import Limits
from tests.host.curricula import Notebook

LEASE = 4.0
LIMITS = Limits(max_unacknowledged_batches=4, max_rows_per_batch=64, max_tasks_per_request=64)
SPACE = DiscreteTaskSpace(50)
INCARNATION = 7


@dataclass
class Journal:
    """A store whose writes are lost in a crash unless they were synced."""

    records: list[bytes] = field(default_factory=list)
    synced: int = 0
    snapshot: tuple[int, bytes] | None = None


class Connection:
    """Two directions of messages, each in order; a broken one loses what is on its way."""

    def __init__(self, world: World, worker: Worker) -> None:
        self.world = world
        self.worker = worker
        self.broken = False
        self.session_id = ""
        self._up_at = self._down_at = 0.0

    def up(self, message: pb.StreamMetricsRequest) -> None:
        """To the service."""
        self._up_at = max(self._up_at, self.world.now + self.world.delay())
        data = message.SerializeToString()
        self.world.at(self._up_at, lambda: self.broken or self.world.service.receive(self, data))

    def down(self, message: pb.StreamMetricsResponse) -> None:
        """To the worker."""
        self._down_at = max(self._down_at, self.world.now + self.world.delay())
        data = message.SerializeToString()
        self.world.at(self._down_at, lambda: self.broken or self.worker.receive(self, data))

    def abort(self, code: str) -> None:
        """The service ends the stream with a status."""
        self._down_at = max(self._down_at, self.world.now + self.world.delay())
        self.world.at(self._down_at, lambda: self.worker.lost(self, code))

    def cut(self, *, noticed: bool) -> None:
        """Break it; a worker that does not notice has to find out by itself."""
        if not self.broken:
            self.broken = True
            if noticed:
                self.world.at(self.world.now + self.world.delay(), lambda: self.worker.lost(self, "UNAVAILABLE"))


class Service:
    """The host behind a micro-batching commit; dies and recovers."""

    def __init__(self, world: World, make_host: Callable[[], CurriculumHost]) -> None:
        self.world = world
        self.make_host = make_host
        self.journal = Journal()
        self.sync = True  # a test breaks it, to see that the simulation finds out
        self.up = True
        self.life = 0
        self.connections: dict[str, Connection] = {}
        self._start()

    def _start(self) -> None:
        self.host = self.make_host()
        position = 0
        if self.journal.snapshot is not None:
            position, state = self.journal.snapshot
            self.host.load_snapshot(state)
        for record in self.journal.records[position:]:
            self.host.replay(record)
        self.host.renew_leases(self.world.now)
        self.inbox: list[tuple[Connection, c.Command]] = []
        self.busy = False
        self.up = True

    def crash(self) -> None:
        """Die now: unsynced writes are lost from some point on, all connections break."""
        if not self.up:
            return
        self.up = False
        self.life += 1
        journal = self.journal
        keep = self.world.rng.randint(journal.synced, len(journal.records))
        del journal.records[keep:]
        journal.synced = keep
        if journal.snapshot is not None and journal.snapshot[0] > keep:
            journal.snapshot = None
        for connection in list(self.connections.values()):
            connection.cut(noticed=True)
        self.connections.clear()
        self.world.at(self.world.now + self.world.rng.uniform(0.0, 2.0), self._start)

    def receive(self, connection: Connection, data: bytes) -> None:
        """A message arrived."""
        if not self.up:
            connection.cut(noticed=True)
            return
        message = pb.StreamMetricsRequest.FromString(data)
        match message.WhichOneof("message"):
            case "open":
                self._open(connection, message.open)
            case "heartbeat":
                self.host.touch(connection.session_id, self.world.now)
                connection.down(pb.StreamMetricsResponse(heartbeat=pb.Heartbeat()))
            case "batch":
                batch = message.batch
                command = c.metrics_command(
                    connection.session_id, batch.sequence, batch.acknowledged_sequence, batch.batch, SPACE, LIMITS
                )
                self.inbox.append((connection, command))
                self._go()

    def _open(self, connection: Connection, message: pb.OpenSession) -> None:
        connection.session_id = message.session_id
        older = self.connections.pop(message.session_id, None)
        if older is not None:
            older.cut(noticed=False)
            self.inbox = [each for each in self.inbox if each[0] is not older]
        self.connections[message.session_id] = connection
        self.host.touch(message.session_id, self.world.now)
        opened = pb.SessionOpened(
            curriculum=pb.Curriculum(name="c", incarnation=INCARNATION),
            applied_sequence=self.host.applied_sequence(message.session_id),
            limits=LIMITS.to_proto(),
        )
        opened.lease.FromNanoseconds(int(LEASE * 1e9))
        connection.down(pb.StreamMetricsResponse(opened=opened))

    def _go(self) -> None:
        if self.busy or not self.inbox:
            return
        self.busy = True
        life = self.life
        size = self.world.rng.randint(1, 3)
        taken, self.inbox = self.inbox[:size], self.inbox[size:]
        batch = self.host.apply([command for _, command in taken], self.world.now)

        def write() -> None:
            if self.life == life:
                self.journal.records += batch.records
                self.world.at(self.world.now + self.world.delay(), sync)

        def sync() -> None:
            if self.life == life:
                if self.sync:
                    self.journal.synced = len(self.journal.records)
                self.world.at(self.world.now + self.world.delay(), reply)

        def reply() -> None:
            if self.life != life:
                return
            for (connection, _), answer in zip(taken, batch.answers, strict=True):
                if isinstance(answer, RequestError):
                    connection.abort(answer.code)
                else:
                    connection.down(pb.StreamMetricsResponse(reply=answer))
            self.busy = False
            if self.world.rng.random() < 0.1:
                self.journal.snapshot = (self.host.position, self.host.snapshot())
            self._go()

        self.world.at(self.world.now + self.world.delay(), write)

    def tick(self) -> None:
        """End leases that ran out."""
        if self.up and not self.busy and (command := self.host.expire(self.world.now)) is not None:
            self.journal.records += self.host.apply([command], self.world.now).records
            self.journal.synced = len(self.journal.records)


class Worker:
    """A process with a session machine and environments that run tasks of random length."""

    def __init__(self, world: World, name: str, environments: int) -> None:
        self.world = world
        self.name = name
        rng = world.rng
        settings = SessionSettings(
            max_latency=rng.choice([0.0, 0.01, 0.1]),
            prefetch=rng.choice(["adaptive", 0, 1, 3]),
            max_unacknowledged=rng.randint(1, 5),
            stall_timeout=3.0,
            backoff_max=0.5,
        )
        lives = iter(range(1000))
        self.machine = SessionMachine(
            "c", settings, rng=random.Random(rng.random()), new_session_id=lambda: f"{name}-{next(lives)}"
        )
        self.machine.environments = environments
        self.alive = True
        self.stopping = False
        self.reported: list[int] = []
        self.rejected: dict[int, int] = {}  # episodes that were not counted, by sequence
        self.idle = environments
        self._connection: Connection | None = None
        self._wakeup = -1
        self.pump()

    def pump(self) -> None:
        """Let the machine say what it has to say, and give tasks to environments that wait."""
        if not self.alive:
            return
        machine, now = self.machine, self.world.now
        machine.waiting = self.idle
        while self.idle and not self.stopping and (task := machine.take(1, now)) is not None:
            self.idle -= 1
            machine.waiting = self.idle
            self._run(int(task.ids[0]))
        connect_at = machine.connect_at()
        if connect_at is not None and connect_at <= now:
            self._connection = Connection(self.world, self)
            machine.connected(now)
        for message in machine.poll(now):
            if self._connection is not None:
                self._connection.up(message)
        if machine.must_reconnect and self._connection is not None:
            self.lost(self._connection, "UNAVAILABLE")
            return
        times = [each for each in (machine.next_wakeup(now), machine.connect_at()) if each is not None]
        if times:
            self._wakeup += 1
            ticket = self._wakeup
            self.world.at(max(min(times), now + 1e-6), lambda: ticket == self._wakeup and self.pump())

    def _run(self, assignment: int) -> None:
        rng = self.world.rng
        steps = rng.choice([0.001, 0.01, 0.3, 2.0]) * rng.random()

        def end() -> None:
            if not self.alive:
                return
            if rng.random() < 0.1:
                self.machine.release(self.world.now, np.array([assignment], np.uint64))
            else:
                episode = self.world.new_episode()
                self.reported.append(episode)
                self.machine.report_episode(self.world.now, assignment, None, float(episode), 1, 0.0, 0)
            self.idle += 1
            self.pump()

        self.world.at(self.world.now + steps, end)

    def receive(self, connection: Connection, data: bytes) -> None:
        """A message arrived."""
        if self.alive and connection is self._connection:
            message = pb.StreamMetricsResponse.FromString(data)
            parts = [each.part for each in message.reply.rejections]
            self.rejected[message.reply.sequence] = parts.count(pb.BATCH_PART_EPISODES)
            self.machine.receive(message, self.world.now)
            self.pump()

    def lost(self, connection: Connection, code: str) -> None:
        """The stream ended."""
        if self.alive and connection is self._connection:
            connection.broken = True
            self._connection = None
            self.machine.disconnected(code, "", self.world.now)
            self.pump()

    def cut(self) -> None:
        """Break the connection, if there is one."""
        if self._connection is not None:
            self._connection.cut(noticed=self.world.rng.random() < 0.7)

    def kill(self) -> None:
        """Die without a word."""
        self.alive = False
        self.cut()


class World:
    """One schedule: everything that happens follows from its seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = 0
        self._episodes = 0
        self.service = Service(
            self, lambda: CurriculumHost(Notebook(SPACE, seed=1), limits=LIMITS, lease_seconds=LEASE)
        )
        self.workers = [Worker(self, f"w{number}", self.rng.randint(1, 3)) for number in range(self.rng.randint(1, 3))]

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Let something happen at a time."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what))

    def delay(self) -> float:
        """How long a message or a write takes; sometimes long."""
        return self.rng.expovariate(1 / 0.01) if self.rng.random() < 0.95 else self.rng.uniform(0.0, 1.5)

    def new_episode(self) -> int:
        """A number that no other episode has."""
        self._episodes += 1
        return self._episodes

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Let happen what happens until a time, or until ``stop``."""
        while self._events and self._events[0][0] <= until and not stop():
            self.now, _, what = heapq.heappop(self._events)
            what()
        if not stop():
            self.now = until

    def run_with_faults(self, seconds: float, faults: int) -> None:
        """Let everything go wrong for a while."""
        for _ in range(faults):
            when = self.rng.uniform(0.0, seconds)
            kind = self.rng.choice(["crash", "cut", "cut", "kill"])
            self.at(when, getattr(self, f"_{kind}"))
        for number in range(int(seconds + 60)):
            self.at(number * 1.0, self.service.tick)
        self.run(seconds)

    def settle(self) -> None:
        """Faults are over: environments stop, sessions deliver what they have and close."""
        for worker in self.live:
            worker.stopping = True
        self.run(self.now + 10.0)
        for worker in self.live:
            worker.machine.close()
            worker.pump()
        self.run(self.now + 40.0, lambda: all(worker.machine.closed for worker in self.live))

    @property
    def live(self) -> list[Worker]:
        """Workers that were not killed."""
        return [worker for worker in self.workers if worker.alive]

    def _crash(self) -> None:
        self.service.crash()

    def _cut(self) -> None:
        self.rng.choice(self.workers).cut()

    def _kill(self) -> None:
        victim = self.rng.choice(self.workers)
        if victim.alive:
            victim.kill()
            self.workers.append(Worker(self, f"w{len(self.workers)}", victim.idle + 1))

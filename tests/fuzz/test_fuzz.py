"""Anything that a client might send to any RPC: nothing crashes, nothing refused leaves a trace, the others are served.

Each RPC gets messages made from its descriptor, and these with their bytes changed; and plain random bytes. They go to
a real service process, whose log must not hold the name of a bug. SYLLABUS_FUZZ_EXAMPLES says how many messages each
RPC gets; more than the default are drawn anew each time, and what fails is printed with how to try it again.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_client.wire.metadata import APPLIED
from syllabus_service.authorization import curriculum_of
from tests.fuzz.strategies import CURRICULA, DELETED, NEXT, OWN, messages
from tests.security.calls import METHODS
from tests.service.serving import TIMEOUT, Stream, episodes, spec
from tests.service_process import ServiceProcess

DEFAULT_EXAMPLES = 50
EXAMPLES = int(os.environ.get("SYLLABUS_FUZZ_EXAMPLES", DEFAULT_EXAMPLES))
MUTANTS = 1
RANDOM = 10
MEMORY_BYTES = 6 << 30  # of address space; a request that asks for more must be refused, not kill the machine

REFUSALS = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED"),
}
BUGS = (
    *("unexpected_error", "apply_failed", "command_refused", "read_failed", "curriculum_failed", "recovery_failed"),
    "curriculum_cannot_be_saved",
)

CONFIG = """
curricula:
  witness: {algorithm: domain_randomization, task_space: 10, lease_seconds: 600000}
  maze: {algorithm: domain_randomization, task_space: 10, lease_seconds: 600000}
  box:
    algorithm: domain_randomization
    task_space: {box: {low: [0.0, 0.0], high: [1.0, 1.0]}}
    lease_seconds: 600000
  olp: {algorithm: online_learning_progress, task_space: 10, lease_seconds: 600000}
  plr: {algorithm: prioritized_level_replay, task_space: 10, lease_seconds: 600000}
  manual: {algorithm: manual, task_space: 10, lease_seconds: 600000}
  stages:
    algorithm: sequential
    params: {stages: [[0, 1], [2, 3]], stopping_conditions: ["episodes>=3"]}
    task_space: 10
    lease_seconds: 600000
  play: {algorithm: fictitious_self_play, task_space: 10, lease_seconds: 600000}
  huge:
    algorithm: domain_randomization
    task_space: {discrete: {num_tasks: 4611686018427387904}}
    lease_seconds: 600000
  pairs:
    algorithm: domain_randomization
    task_space: {multi_discrete: {components: [3, 4], encoding: tuple}}
    lease_seconds: 600000
"""


class Witness(threading.Thread):
    """A worker of a curriculum that no request is about: it reports and draws, one batch after the other."""

    def __init__(self, service: ServiceProcess) -> None:
        super().__init__(name="witness")
        self.waits: list[float] = []
        self.error: Exception | None = None
        self._service = service
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            with self._service.stub() as stub:
                stream = Stream(stub, timeout=24 * 3600)
                stream.open("witness", f"witness-{time.monotonic_ns()}")
                sequence = 1
                while not self._stop_asked.wait(0.005):
                    started = time.perf_counter()
                    batch = pb.MetricsBatch(episodes=episodes([sequence % 10]), num_tasks=1)
                    reply = stream.ask(sequence, batch, acknowledged=sequence - 1)
                    self.waits.append(time.perf_counter() - started)
                    if reply.sequence != sequence or reply.rejections or not reply.tasks.assignment_id.data:
                        raise AssertionError(f"the witness was answered {reply}")
                    release = pb.MetricsBatch(released=reply.tasks.assignment_id)
                    stream.ask(sequence + 1, release, acknowledged=sequence)
                    sequence += 2
                stream.close()
                list(stream.call)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.error = error

    def finish(self) -> None:
        self._stop_asked.set()
        self.join()


class Fuzzed:
    """The service under fuzz, and what is known of it."""

    def __init__(self, service: ServiceProcess, channel: grpc.Channel) -> None:
        self.service = service
        self.statuses: Counter[str] = Counter()
        self.witness_waits: list[float] = []
        self.by_rpc: dict[str, Counter[str]] = {method.name: Counter() for method in METHODS}
        self._channel = channel
        self.stub = pb_grpc.CurriculumServiceStub(channel)
        self._sequences: dict[tuple[str, str], int] = {}
        self._states: dict[str, bytes] = {}

    def checkpoint(self, curriculum: str) -> bytes:
        """A curriculum's whole state."""
        return self.stub.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=curriculum), timeout=TIMEOUT).checkpoint

    def listed(self) -> list[tuple[str, int, int]]:
        """All curricula: name, incarnation, position."""
        found = self.stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT).curricula
        return [(each.name, each.incarnation, each.position) for each in found if each.name != "witness"]

    def create(self, names: Iterable[str]) -> None:
        """Create curricula."""
        for name in names:
            self.stub.CreateCurriculum(pb.CreateCurriculumRequest(name=name, spec=spec()), timeout=TIMEOUT)

    def try_requests(self, method: MethodDescriptor, requests: list[Message]) -> None:
        """Send messages: where they are refused, nothing may have changed."""
        for request in requests:
            self._complete(request)
        self.try_bytes(method, [request.SerializeToString() for request in requests])

    def try_bytes(self, method: MethodDescriptor, requests: list[bytes]) -> None:
        """The same with bytes."""
        name = self._curriculum_in(method, requests[0])
        if name not in self._states:
            self._states[name] = self.checkpoint(name)
        before = self.listed() if method.name in ("CreateCurriculum", "DeleteCurriculum") else None
        code, applied = self._call(method, requests)
        self.statuses[code] += 1
        self.by_rpc[method.name][code] += 1
        assert code == "OK" or code in REFUSALS, f"{method.name} answered {code} to {requests!r}"
        if code == "OK" or applied or len(requests) > 2:  # of more requests, those before the refused one were applied
            del self._states[name]
            if code == "OK" or applied:
                self._note_sequence(method, requests[0])
            return
        assert self.checkpoint(name) == self._states[name], f"{method.name} was refused ({code}) and changed {name}"
        assert before is None or self.listed() == before

    def _call(self, method: MethodDescriptor, requests: list[bytes]) -> tuple[str, bool]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            if not method.server_streaming:
                self._channel.unary_unary(path)(requests[0], timeout=TIMEOUT)
            elif method.client_streaming:
                for _ in self._channel.stream_stream(path)(iter(requests), timeout=TIMEOUT):
                    pass
            else:
                answers = self._channel.unary_stream(path)(requests[0], timeout=TIMEOUT)
                next(answers)
                answers.cancel()
        except grpc.RpcError as error:
            return error.code().name, (APPLIED, "1") in tuple(error.trailing_metadata() or ())
        return "OK", False

    def _curriculum_in(self, method: MethodDescriptor, request: bytes) -> str:
        try:
            name = curriculum_of(method.name, GetMessageClass(method.input_type).FromString(request))
        except DecodeError:
            return CURRICULA[0]
        return name if name in CURRICULA else CURRICULA[0]

    def _complete(self, request: Message) -> None:
        """Put the session's next sequence, or the curriculum's own checkpoint, where one is asked for."""
        if isinstance(request, pb.RestoreCheckpointRequest) and request.checkpoint == OWN:
            request.checkpoint = self.checkpoint(request.curriculum if request.curriculum in CURRICULA else "maze")
        if getattr(request, "sequence", 0) == NEXT:
            request.sequence = self._sequences.get((request.curriculum, request.session_id), 0) + 1

    def _note_sequence(self, method: MethodDescriptor, data: bytes) -> None:
        """A numbered request was applied: the session's next is the one after it."""
        request = GetMessageClass(method.input_type).FromString(data)
        if "sequence" in method.input_type.fields_by_name:
            key = (request.curriculum, request.session_id)
            self._sequences[key] = max(request.sequence, self._sequences.get(key, 0))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    directory = tmp_path_factory.mktemp("fuzz")
    config = directory / "curricula.yaml"
    config.write_text(CONFIG)
    service = ServiceProcess(
        directory,
        "--config",
        str(config),
        "--durability",
        "none",
        data_dir=directory / "data",
        listen=_socket(directory),
    )
    service.start()
    try:
        resource.prlimit(service.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        with grpc.insecure_channel(service.target, [("grpc.max_receive_message_length", -1)]) as channel:
            yield Fuzzed(service, channel)
    finally:
        service.close()


def _socket(directory: Path) -> str:
    return f"unix:{directory}/s"


@pytest.fixture(autouse=True)
def _others_are_served(fuzzed: Fuzzed) -> Iterator[None]:
    """A witness is served before, during and after; and nothing that happened was a bug of the service."""
    witness = Witness(fuzzed.service)
    before = fuzzed.service.pid
    witness.start()
    yield
    witness.finish()
    fuzzed.witness_waits += witness.waits
    assert witness.error is None
    assert fuzzed.service.pid == before
    assert fuzzed.checkpoint("witness")
    assert {name: found[0] for name in BUGS if (found := fuzzed.service.events(name))} == {}


def mutants(requests: list[bytes], seed: int) -> Iterator[list[bytes]]:
    """The same bytes with some changed, left out, put in twice or at another place."""
    rng = random.Random(seed)
    for _ in range(MUTANTS):
        changed = [bytearray(request) for request in requests]
        data = changed[-1]
        for _ in range(rng.randint(1, 3)):
            if not data:
                data.append(rng.randrange(256))
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
                case 2:
                    del data[at : at + rng.randint(1, 8)]
                case 3:
                    data[at:at] = data[at : at + rng.randint(1, 8)]
                case 4:
                    del data[at:]
        yield [bytes(each) for each in changed]


@pytest.mark.timeout(max(120, EXAMPLES * 2))
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_whatever_is_sent_is_answered_or_refused_and_a_refusal_changes_nothing(
    fuzzed: Fuzzed, method: MethodDescriptor
) -> None:
    checkpoints = tuple(fuzzed.checkpoint(name) for name in CURRICULA)
    if method.name == "DeleteCurriculum":
        fuzzed.create(DELETED)
    one = messages(method.input_type, checkpoints)
    several = st.tuples(one, one).map(list) if method.client_streaming else one.map(lambda message: [message])

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= DEFAULT_EXAMPLES,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(several, st.integers(0, 2**32))
    def run(requests: list[Message], seed: int) -> None:
        if method.client_streaming and seed % 8:  # mostly, a stream begins as it should
            name = CURRICULA[seed % len(CURRICULA)]
            opening = pb.StreamMetricsRequest(open=pb.OpenSession(curriculum=name, session_id=f"stream-{seed}"))
            if requests[1].HasField("batch") and requests[1].batch.sequence == NEXT:
                requests[1].batch.sequence = 1
            requests = [opening, requests[1]]
        fuzzed.try_requests(method, requests)
        for changed in mutants([request.SerializeToString() for request in requests], seed):
            fuzzed.try_bytes(method, changed)

    run()
    for name, _, _ in fuzzed.listed():
        if name not in CURRICULA:
            fuzzed.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum=name), timeout=TIMEOUT)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_random_bytes_are_refused(fuzzed: Fuzzed, method: MethodDescriptor) -> None:
    rng = random.Random(method.name)
    for _ in range(RANDOM):
        fuzzed.try_bytes(method, [rng.randbytes(rng.choice([1, 2, 5, 20, 100])) for _ in range(2)])


def test_the_run_is_told_in_figures(fuzzed: Fuzzed, capsys: pytest.CaptureFixture[str]) -> None:
    """Last in this file. It prints what was tried; every RPC was answered with OK and with a refusal somewhere."""
    total = sum(fuzzed.statuses.values())
    with capsys.disabled():
        middle, late = statistics.quantiles(fuzzed.witness_waits, n=100)[49::49]
        sys.stdout.write(f"\nfuzz: {total} requests: {dict(fuzzed.statuses.most_common())}; ")
        sys.stdout.write(f"{len(fuzzed.witness_waits)} batches of another session, ")
        sys.stdout.write(
            f"p50 {middle * 1e3:.1f} ms, p99 {late * 1e3:.1f} ms, max {max(fuzzed.witness_waits) * 1e3:.0f} ms\n"
        )
    missing = [name for name, found in fuzzed.by_rpc.items() if not (found["OK"] and sum(found.values()) > found["OK"])]
    assert not missing, {name: dict(fuzzed.by_rpc[name]) for name in missing}

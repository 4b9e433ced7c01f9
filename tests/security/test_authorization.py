"""Every RPC over a real socket, for every kind of caller: a table that follows the contract's descriptor."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from structlog.testing import capture_logs

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.authorization import SERVICE, Authorizer, Rule, checked_rules
from syllabus_service.limits import Limits, RateLimiter
from syllabus_service.tokens import Scope, TokenFile, add_token, make_token, remove_token
from tests.security.calls import METHODS, REQUESTS, bearer, call, host_maze
from tests.service.serving import TIMEOUT, Serving, serving, spec

LEAST_SCOPE = {
    "GetCurriculum": "worker",
    "GetTask": "worker",
    "ReportEpisode": "worker",
    "StreamMetrics": "worker",
    "GetAgent": "worker",
    "CreateCurriculum": "learner",
    "ListCurricula": "learner",
    "CustomUpdate": "learner",
    "GetDistribution": "learner",
    "GetStatistics": "learner",
    "WatchCurriculum": "learner",
    "SaveCheckpoint": "learner",
    "RestoreCheckpoint": "learner",
    "AddAgent": "learner",
    "DeleteCurriculum": "admin",
}
SCOPES = ["worker", "learner", "admin"]
LONG = 3600


class Door:
    """A server that asks for tokens, its file, and a clock by which they expire."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tokens.yaml"
        self.ahead = timedelta()
        self.texts: dict[str, str] = {}
        for scope in SCOPES:
            self.add(scope, scope)
            self.add(f"{scope}-maze", scope, curricula=["maze", "maze-*"])
            self.add(f"{scope}-elsewhere", scope, curricula=["other", "ma?", "*-maze"])
            self.add(f"{scope}-expired", scope, expires=datetime.now(UTC) - timedelta(seconds=1))

    def add(self, name: str, scope: str, **options) -> str:
        text, entry = make_token(name, scope, **options)
        add_token(self.path, entry)
        self.texts[name] = text
        return text

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    @contextlib.contextmanager
    def serving(self, limits: Limits | None = None) -> Iterator[Serving]:
        authorizer = Authorizer(TokenFile(self.path), limits=limits, now=self.now)
        with serving(limits=limits, authorizer=authorizer) as server:
            host_maze(server)
            yield server


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("door"))


@pytest.fixture
def server(door: Door) -> Iterator[Serving]:
    with door.serving() as server:
        yield server


@pytest.fixture
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def ask(channel: grpc.Channel, server: Serving, method: MethodDescriptor, metadata) -> str:
    """The status that a good request of this RPC gets."""
    return call(channel, method, REQUESTS[method.name](server).SerializeToString(), metadata)[0]


every_rpc = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@every_rpc
def test_who_has_no_good_token_is_unauthenticated(
    channel: grpc.Channel, server: Serving, door: Door, method: MethodDescriptor
) -> None:
    good = door.texts["admin"]
    callers = {
        "none": (),
        "another scheme": (("authorization", f"Basic {good}"),),
        "no scheme": (("authorization", good),),
        "no token": (("authorization", "Bearer"),),
        "nothing after the scheme": (("authorization", "Bearer "),),
        "two": (*bearer(good), *bearer(good)),
        "short": bearer("x"),
        "spaces within": bearer(f"{good} {good}"),
        "long": bearer("x" * 3000),
        "unknown": bearer("syl_" + "x" * 43),
        "beginning of a good one": bearer(good[:-1]),
        "a good one's hash": bearer(TokenFile(door.path).tokens.tokens[0].sha256),
        "expired": bearer(door.texts["admin-expired"]),
    }
    found = {name: ask(channel, server, method, metadata) for name, metadata in callers.items()}
    assert found == dict.fromkeys(callers, "UNAUTHENTICATED")


@every_rpc
def test_a_token_s_scope_says_which_rpcs_it_may_call(
    channel: grpc.Channel, server: Serving, door: Door, method: MethodDescriptor
) -> None:
    least = SCOPES.index(LEAST_SCOPE[method.name])
    found = {scope: ask(channel, server, method, bearer(door.texts[scope])) for scope in SCOPES}
    assert found == {scope: "OK" if at >= least else "PERMISSION_DENIED" for at, scope in enumerate(SCOPES)}


@every_rpc
def test_a_token_of_some_curricula_is_good_for_no_other(
    channel: grpc.Channel, server: Serving, door: Door, method: MethodDescriptor
) -> None:
    scope = LEAST_SCOPE[method.name]
    assert ask(channel, server, method, bearer(door.texts[f"{scope}-maze"])) == "OK"
    elsewhere = "OK" if method.name == "ListCurricula" else "PERMISSION_DENIED"
    assert ask(channel, server, method, bearer(door.texts[f"{scope}-elsewhere"])) == elsewhere


@every_rpc
def test_a_caller_is_refused_before_its_request_is_parsed(
    channel: grpc.Channel, door: Door, method: MethodDescriptor
) -> None:
    assert call(channel, method, b"\xff" * 10)[0] == "UNAUTHENTICATED"
    assert call(channel, method, b"\xff" * 10, bearer(door.texts["admin"]))[0] == "INVALID_ARGUMENT"


def test_every_rpc_is_in_the_tables_of_this_test() -> None:
    assert sorted(LEAST_SCOPE) == sorted(REQUESTS) == sorted(method.name for method in METHODS)


def test_an_rpc_without_a_rule_is_not_served() -> None:
    rules = {method.name: Rule(Scope.ADMIN, None) for method in METHODS}
    assert set(checked_rules(SERVICE, rules)) == set(LEAST_SCOPE)
    del rules["GetTask"]
    with pytest.raises(TypeError, match="GetTask"):
        checked_rules(SERVICE, rules)
    with pytest.raises(TypeError, match=r"no field open\.name"):
        checked_rules(SERVICE, {**rules, "GetTask": Rule(Scope.ADMIN, "open.name")})


def test_a_refusal_does_not_tell_whether_a_curriculum_exists(channel: grpc.Channel, door: Door) -> None:
    stub = pb_grpc.CurriculumServiceStub(channel)
    answers = []
    for name in ("maze", "nowhere"):
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetCurriculum(
                pb.GetCurriculumRequest(curriculum=name), metadata=bearer(door.texts["worker-elsewhere"])
            )
        answers.append((refused.value.code(), refused.value.details().replace(name, "NAME")))
    assert answers[0] == answers[1]


def test_only_one_s_own_curricula_are_listed_whatever_the_size_of_the_pages(
    channel: grpc.Channel, server: Serving, door: Door
) -> None:
    for name in ("aaa", "maze-x", "zzz"):
        server.run(lambda name=name: server.engine.create(name, spec(), allow_existing=True))
    stub = pb_grpc.CurriculumServiceStub(channel)
    names, token = [], ""
    while True:
        page = stub.ListCurricula(
            pb.ListCurriculaRequest(page_size=1, page_token=token), metadata=bearer(door.texts["learner-maze"])
        )
        names += [each.name for each in page.curricula]
        if not (token := page.next_page_token):
            break
    assert {"maze", "maze-x"} <= set(names)
    assert all(name.startswith("maze") for name in names)


def test_health_and_reflection_are_open(server: Serving) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(server.address) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status == 1
        assert SERVICE.full_name in ProtoReflectionDescriptorDatabase(channel).get_services()


def _open(stub: pb_grpc.CurriculumServiceStub, rpc: str, metadata):
    """An open stream that has had its first answer, and what it is fed from."""
    import queue

    if rpc == "WatchCurriculum":
        request = pb.WatchCurriculumRequest(curriculum="maze")
        request.interval.FromSeconds(LONG)
        answers = stub.WatchCurriculum(request, metadata=metadata, timeout=TIMEOUT)
        next(answers)
        return answers, queue.SimpleQueue()
    feed: queue.SimpleQueue = queue.SimpleQueue()
    feed.put(pb.StreamMetricsRequest(open=pb.OpenSession(curriculum="maze", session_id=f"s{time.monotonic_ns()}")))
    answers = stub.StreamMetrics(iter(feed.get, None), metadata=metadata, timeout=TIMEOUT)
    next(answers)
    return answers, feed


def _end_of(answers, feed) -> str:
    try:
        for _ in answers:
            pass
        return "OK"
    except grpc.RpcError as error:
        return error.code().name
    finally:
        feed.put(None)


STREAMS = [method.name for method in METHODS if method.server_streaming]
LOSSES: dict[str, tuple[str, Callable[[Door], None]]] = {
    "revoked": ("UNAUTHENTICATED", lambda door: remove_token(door.path, "short-lived")),
    "expired": ("UNAUTHENTICATED", lambda door: setattr(door, "ahead", timedelta(hours=2))),
    "bound to another curriculum": (
        "PERMISSION_DENIED",
        lambda door: door.path.write_text(door.path.read_text().replace("maz[e]", "elsewhere")),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rpc", STREAMS)
def test_an_open_stream_ends_when_its_token_ends_and_other_streams_go_on(tmp_path: Path, rpc: str, loss: str) -> None:
    code, lose = LOSSES[loss]
    door = Door(tmp_path)
    end = datetime.now(UTC) + timedelta(hours=1)
    door.add("short-lived", "learner", curricula=["maz[e]"], expires=end)
    with door.serving() as server, grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.CurriculumServiceStub(channel)
        other, other_feed = _open(stub, "StreamMetrics", bearer(door.texts["worker-maze"]))
        answers, feed = _open(stub, rpc, bearer(door.texts["short-lived"]))
        lose(door)
        assert _end_of(answers, feed) == code
        other_feed.put(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
        assert next(other).WhichOneof("message") == "heartbeat"
        other_feed.put(None)
        list(other)


def _audit(logs: list) -> list[tuple]:
    return [
        (line["rpc"], line["curriculum"], line["token"], line["peer"], line["outcome"])
        for line in logs
        if line["event"] == "audit"
    ]


def test_the_audit_log_says_who_changed_what_and_who_was_refused(tmp_path: Path) -> None:
    door = Door(tmp_path)
    with capture_logs() as logs, door.serving() as server, grpc.insecure_channel(server.address) as channel:
        stub = pb_grpc.CurriculumServiceStub(channel)
        create = pb.CreateCurriculumRequest(name="maze-new", spec=spec())
        delete = pb.DeleteCurriculumRequest(curriculum="maze-new")
        stub.CreateCurriculum(create, metadata=bearer(door.texts["learner"]))
        for refused, metadata in (
            (lambda metadata: stub.CreateCurriculum(create, metadata=metadata), bearer(door.texts["learner"])),
            (lambda metadata: stub.DeleteCurriculum(delete, metadata=metadata), bearer(door.texts["learner"])),
            (lambda metadata: stub.DeleteCurriculum(delete, metadata=metadata), bearer(door.texts["admin-elsewhere"])),
            (lambda metadata: stub.DeleteCurriculum(delete, metadata=metadata), ()),
        ):
            with pytest.raises(grpc.RpcError):
                refused(metadata)
        stub.DeleteCurriculum(delete, metadata=bearer(door.texts["admin"]))
        stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), metadata=bearer(door.texts["worker"]))
    host = "ipv4:127.0.0.1"
    assert _audit(logs) == [
        ("CreateCurriculum", "maze-new", "learner", host, "OK"),
        ("CreateCurriculum", "maze-new", "learner", host, "ALREADY_EXISTS"),
        ("DeleteCurriculum", "", "learner", host, "PERMISSION_DENIED"),
        ("DeleteCurriculum", "maze-new", "admin-elsewhere", host, "PERMISSION_DENIED"),
        ("DeleteCurriculum", "", None, host, "UNAUTHENTICATED"),
        ("DeleteCurriculum", "maze-new", "admin", host, "OK"),
    ]
    written = "".join(map(str, logs)) + door.path.read_text()
    assert not [name for name, text in door.texts.items() if text in written]


def test_refused_callers_cannot_fill_the_log_and_are_counted(tmp_path: Path) -> None:
    door = Door(tmp_path)
    with capture_logs() as logs, door.serving() as server, grpc.insecure_channel(server.address) as channel:
        method = SERVICE.methods_by_name["GetTask"]
        for _ in range(200):
            assert call(channel, method, b"")[0] == "UNAUTHENTICATED"
        while not any("refusals_not_logged" in line for line in logs):  # the bucket gives one line a second
            call(channel, method, b"")
            time.sleep(0.05)
    lines = [line for line in logs if line["event"] == "audit"]
    assert len(lines) < 100
    assert sum(line.get("refusals_not_logged", 0) for line in lines) >= 200 - len(lines)


def test_a_caller_above_its_rate_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    door = Door(tmp_path)
    limits = Limits(max_requests_per_second=0.01)  # one at once, and then none for the length of a test
    with door.serving(limits) as server, grpc.insecure_channel(server.address) as channel:
        method = SERVICE.methods_by_name["GetCurriculum"]
        assert ask(channel, server, method, bearer(door.texts["worker"])) == "OK"
        assert ask(channel, server, method, bearer(door.texts["worker"])) == "RESOURCE_EXHAUSTED"
        assert ask(channel, server, method, bearer(door.texts["learner"])) == "OK"
        assert ask(channel, server, method, ()) == "UNAUTHENTICATED"
        assert ask(channel, server, method, ()) == "RESOURCE_EXHAUSTED"


def test_a_bucket_gives_a_second_s_worth_at_once_and_then_its_rate() -> None:
    time_now = [0.0]
    limiter = RateLimiter(10, lambda: time_now[0])
    assert [limiter.take("a") for _ in range(12)] == [True] * 10 + [False] * 2
    assert limiter.take("b")
    time_now[0] = 0.35
    assert [limiter.take("a") for _ in range(5)] == [True] * 3 + [False] * 2
    time_now[0] = 100.0
    assert sum(limiter.take("a") for _ in range(100)) == 10


def test_a_limiter_keeps_a_bounded_number_of_names_and_those_that_were_heard_last() -> None:
    time_now = [0.0]
    limiter = RateLimiter(1, lambda: time_now[0], max_names=10)
    for number in range(1000):
        time_now[0] += 0.001
        limiter.take(str(number))
    assert len(limiter._full_at) <= 10
    assert not limiter.take("999")

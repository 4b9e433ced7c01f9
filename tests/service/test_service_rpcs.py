"""Every RPC over a real socket, and what each refuses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs

from syllabus_client.task_spaces import BoxTaskSpace, DiscreteTaskSpace
from syllabus_client.wire import codec
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.curricula import Curriculum
from syllabus_service.engine import LocalEngine
from syllabus_service.limits import Limits
from tests.service.serving import (
    TIMEOUT,
    Serving,
    Stream,
    bad_field,
    column,
    episodes,
    num_episodes,
    serving,
    spec,
    status,
)


class Agents(Curriculum):
    """Stores agents, as self-play does, in the least that the host asks for."""

    state_fields = ("agents",)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.agents: list[bytes] = []

    def _draw(self, k: int) -> np.ndarray:
        return np.zeros(k, np.int64)

    def add_agent(self, agent: bytes) -> int:
        self.agents.append(agent)
        return len(self.agents) - 1

    def get_agent(self, agent_id: int) -> bytes:
        return self.agents[agent_id]

    def custom_update(self, **metrics):
        return {name: np.asarray(value) * 2 for name, value in metrics.items()}


class Unsavable(Curriculum):
    """Names no state."""

    def _draw(self, k: int) -> np.ndarray:
        return np.zeros(k, np.int64)


@pytest.fixture(scope="module")
def _server() -> Iterator[Serving]:
    limits = Limits(max_tasks_per_request=100, max_rows_per_batch=100, max_agent_bytes=1000, max_curricula=50)
    with serving(limits=limits) as running:
        running.host("agents", Agents(DiscreteTaskSpace(10), seed=1))
        running.host("unsavable", Unsavable(DiscreteTaskSpace(10), seed=1))
        running.host("box", Unsavable(BoxTaskSpace(np.zeros(2), np.ones(2)), seed=1))
        yield running


@pytest.fixture
def server(_server: Serving) -> Iterator[Serving]:
    """A server with a new curriculum named maze."""
    _server.create("maze")
    yield _server
    _server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="maze"), timeout=TIMEOUT)


@pytest.fixture
def stub(server: Serving) -> pb_grpc.CurriculumServiceStub:
    return server.stub


def test_a_created_curriculum_is_found_with_its_spec(server: Serving, stub: pb_grpc.CurriculumServiceStub) -> None:
    created = server.create("zoo", task_space=DiscreteTaskSpace(["cat", "dog"]), seed=2**64 - 1, lease=3.5)
    found = stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="zoo"), timeout=TIMEOUT).curriculum
    stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="zoo"), timeout=TIMEOUT)
    assert found == created
    assert found.incarnation != 0
    assert (found.position, found.spec.seed, found.spec.lease.ToMilliseconds()) == (0, 2**64 - 1, 3500)
    assert list(found.spec.task_space.discrete.json_tasks) == ['"cat"', '"dog"']


def test_an_existing_name_is_an_answer_only_for_an_equal_spec_and_when_that_is_allowed(server: Serving) -> None:
    incarnation = server.create("twice", lease=9.0).incarnation
    ask = lambda spec, allowed: server.stub.CreateCurriculum(  # noqa: E731
        pb.CreateCurriculumRequest(name="twice", spec=spec, allow_existing=allowed), timeout=TIMEOUT
    )
    assert ask(spec(lease=9.0), True).curriculum.incarnation == incarnation
    for other, allowed in ((spec(lease=9.0), False), (spec(lease=8.0), True)):
        with pytest.raises(grpc.RpcError) as refused:
            ask(other, allowed)
        assert (status(refused.value), bad_field(refused.value)) == ("ALREADY_EXISTS", "name")
    server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="twice"), timeout=TIMEOUT)


def test_a_name_can_be_used_again_after_deletion_and_gets_another_incarnation(server: Serving) -> None:
    first = server.create("again")
    server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="again"), timeout=TIMEOUT)
    second = server.create("again")
    server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="again"), timeout=TIMEOUT)
    assert first.incarnation != second.incarnation


def test_curricula_are_listed_in_pages_by_name_without_their_task_spaces(
    stub: pb_grpc.CurriculumServiceStub,
) -> None:
    names, token = [], ""
    while True:
        page = stub.ListCurricula(pb.ListCurriculaRequest(page_size=3, page_token=token), timeout=TIMEOUT)
        assert len(page.curricula) <= 3
        assert not any(each.spec.HasField("task_space") for each in page.curricula)
        names += [each.name for each in page.curricula]
        if not (token := page.next_page_token):
            break
    assert names == ["agents", "box", "maze", "unsavable"]


def test_tasks_are_drawn_and_their_episodes_counted(stub: pb_grpc.CurriculumServiceStub) -> None:
    drawn = stub.GetTask(
        pb.GetTaskRequest(curriculum="maze", session_id="worker", sequence=1, num_tasks=4), timeout=TIMEOUT
    )
    tasks, ids = column(drawn.reply.tasks.task), column(drawn.reply.tasks.assignment_id)
    assert drawn.incarnation != 0
    assert len(set(ids)) == 4
    assert column(drawn.reply.tasks.probability) == [0.1] * 4
    report = pb.ReportEpisodeRequest(
        curriculum="maze", session_id="worker", sequence=2, episodes=episodes(assignment_ids=ids[:3])
    )
    report.episodes.ClearField("task")
    report.released.CopyFrom(codec.to_tensor(np.asarray(ids[3:], np.uint64)))
    assert stub.ReportEpisode(report, timeout=TIMEOUT).reply.position == 2
    counted = num_episodes(stub)
    assert counted == {task: tasks[:3].count(task) for task in tasks[:3]}
    summary = next(stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum="maze"), timeout=TIMEOUT))
    assert (summary.num_episodes, summary.num_assignments, summary.num_abandoned) == (3, 4, 1)


def test_a_custom_update_reaches_the_algorithm_and_its_answer_comes_back(stub: pb_grpc.CurriculumServiceStub) -> None:
    request = pb.CustomUpdateRequest(curriculum="agents", session_id="learner", sequence=1)
    request.arrays["scores"].CopyFrom(codec.to_tensor(np.asarray([1.0, 2.5])))
    answer = stub.CustomUpdate(request, timeout=TIMEOUT)
    assert column(answer.arrays["scores"]) == [2.0, 5.0]


def test_the_distribution_comes_whole_or_as_its_most_probable_tasks(stub: pb_grpc.CurriculumServiceStub) -> None:
    whole = stub.GetDistribution(pb.GetDistributionRequest(curriculum="maze"), timeout=TIMEOUT)
    assert column(whole.probability) == pytest.approx([0.1] * 10)
    assert whole.effective_num_tasks == pytest.approx(10.0)
    top = stub.GetDistribution(pb.GetDistributionRequest(curriculum="maze", top_n=2), timeout=TIMEOUT)
    assert column(top.task) == [0, 1]


def test_a_watcher_gets_a_summary_at_once_and_then_one_per_interval(stub: pb_grpc.CurriculumServiceStub) -> None:
    request = pb.WatchCurriculumRequest(curriculum="maze", top_n=3)
    request.interval.FromMilliseconds(100)
    watching = stub.WatchCurriculum(request, timeout=TIMEOUT)
    assert next(watching).position == 0
    stub.GetTask(pb.GetTaskRequest(curriculum="maze", session_id="s", sequence=1, num_tasks=1), timeout=TIMEOUT)
    assert any(summary.position == 1 for summary in watching)
    watching.cancel()


def test_a_checkpoint_brings_back_the_state_and_refuses_another_task_space(
    server: Serving, stub: pb_grpc.CurriculumServiceStub
) -> None:
    report = pb.ReportEpisodeRequest(curriculum="maze", session_id="s", sequence=1, episodes=episodes([3, 3]))
    stub.ReportEpisode(report, timeout=TIMEOUT)
    saved = stub.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum="maze"), timeout=TIMEOUT)
    report.sequence = 2
    stub.ReportEpisode(report, timeout=TIMEOUT)
    restore = pb.RestoreCheckpointRequest(
        curriculum="maze", session_id="learner", sequence=1, checkpoint=saved.checkpoint
    )
    assert saved.position == 1
    assert stub.RestoreCheckpoint(restore, timeout=TIMEOUT).position == 3
    assert num_episodes(stub) == {3: 2}
    server.create("other", task_space=DiscreteTaskSpace(11))
    restore.curriculum = "other"
    with pytest.raises(grpc.RpcError) as refused:
        stub.RestoreCheckpoint(restore, timeout=TIMEOUT)
    stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="other"), timeout=TIMEOUT)
    assert status(refused.value) == "FAILED_PRECONDITION"


def test_agents_are_stored_and_given_back_as_bytes(stub: pb_grpc.CurriculumServiceStub) -> None:
    request = pb.AddAgentRequest(curriculum="agents", session_id="agents", sequence=1, agent=b"\x80weights")
    added = stub.AddAgent(request, timeout=TIMEOUT)
    found = stub.GetAgent(pb.GetAgentRequest(curriculum="agents", agent_id=added.agent_id), timeout=TIMEOUT)
    assert found.agent == b"\x80weights"


_ONE = episodes([1])


def _nan() -> pb.EpisodeBatch:
    return episodes([1, 2], returns=[0.0, float("nan")])


def _foreign_dtype() -> pb.EpisodeBatch:
    batch = episodes([1])
    batch.length.CopyFrom(codec.to_tensor(np.ones(1)))
    return batch


def _report(batch: pb.EpisodeBatch, **fields) -> pb.ReportEpisodeRequest:
    return pb.ReportEpisodeRequest(
        **{"curriculum": "maze", "session_id": "s", "sequence": 1, "episodes": batch, **fields}
    )


def _watch(seconds: float) -> pb.WatchCurriculumRequest:
    request = pb.WatchCurriculumRequest(curriculum="maze")
    request.interval.FromNanoseconds(int(seconds * 1e9))
    return request


def _create(**fields) -> pb.CreateCurriculumRequest:
    return pb.CreateCurriculumRequest(**{"name": "new", "spec": spec(), **fields})


def _get(**fields) -> pb.GetTaskRequest:
    return pb.GetTaskRequest(**{"curriculum": "maze", "session_id": "s", "sequence": 1, "num_tasks": 1, **fields})


_REFUSED = {
    "a name that is none": ("CreateCurriculum", _create(name="a/b"), "INVALID_ARGUMENT", "name"),
    "no algorithm": ("CreateCurriculum", _create(spec=spec("")), "INVALID_ARGUMENT", "spec.algorithm"),
    "an unknown algorithm": ("CreateCurriculum", _create(spec=spec("nope")), "INVALID_ARGUMENT", "spec.algorithm"),
    "an algorithm to import": (
        "CreateCurriculum",
        _create(spec=spec("antigravity:Curriculum")),
        "INVALID_ARGUMENT",
        "spec.algorithm",
    ),
    "an unknown parameter": ("CreateCurriculum", _create(spec=spec(colour="red")), "INVALID_ARGUMENT", "spec.params"),
    "an infinite parameter": (
        "CreateCurriculum",
        _create(spec=spec(colour=float("inf"))),
        "INVALID_ARGUMENT",
        "spec.params",
    ),
    "no task space": (
        "CreateCurriculum",
        _create(spec=pb.CurriculumSpec(algorithm="domain_randomization")),
        "INVALID_ARGUMENT",
        "spec.task_space.kind",
    ),
    "a lease of no time": ("CreateCurriculum", _create(spec=spec(lease=0.0)), "INVALID_ARGUMENT", "spec.lease"),
    "an unknown curriculum": ("GetCurriculum", pb.GetCurriculumRequest(curriculum="x"), "NOT_FOUND", "curriculum"),
    "an empty name": ("GetCurriculum", pb.GetCurriculumRequest(), "INVALID_ARGUMENT", "curriculum"),
    "a page token that is none": (
        "ListCurricula",
        pb.ListCurriculaRequest(page_token="a b"),
        "INVALID_ARGUMENT",
        "page_token",
    ),
    "an unknown curriculum to delete": (
        "DeleteCurriculum",
        pb.DeleteCurriculumRequest(curriculum="x"),
        "NOT_FOUND",
        "curriculum",
    ),
    "no tasks": ("GetTask", _get(num_tasks=0), "INVALID_ARGUMENT", "num_tasks"),
    "too many tasks": ("GetTask", _get(num_tasks=101), "INVALID_ARGUMENT", "num_tasks"),
    "no session": ("GetTask", _get(session_id=""), "INVALID_ARGUMENT", "session_id"),
    "a session id that is none": ("GetTask", _get(session_id="a b"), "INVALID_ARGUMENT", "session_id"),
    "no sequence": ("GetTask", _get(sequence=0), "INVALID_ARGUMENT", "sequence"),
    "a giant sequence": ("GetTask", _get(sequence=2**64 - 1), "INVALID_ARGUMENT", "sequence"),
    "a sequence gap": ("GetTask", _get(sequence=2), "FAILED_PRECONDITION", "sequence"),
    "a return that is not finite": (
        "ReportEpisode",
        _report(_nan()),
        "INVALID_ARGUMENT",
        "episodes.episode_return[1]",
    ),
    "a wrong dtype": ("ReportEpisode", _report(_foreign_dtype()), "INVALID_ARGUMENT", "episodes.length.dtype"),
    "an unknown task": ("ReportEpisode", _report(episodes([1, 10])), "INVALID_ARGUMENT", "episodes.task[1]"),
    "too many rows": ("ReportEpisode", _report(episodes([1] * 101)), "INVALID_ARGUMENT", "episodes"),
    "progress above 1": (
        "ReportEpisode",
        _report(episodes([1], progress=[1.5])),
        "INVALID_ARGUMENT",
        "episodes.progress[0]",
    ),
    "an update that the curriculum refuses": (
        "CustomUpdate",
        pb.CustomUpdateRequest(
            curriculum="maze", session_id="s", sequence=1, arrays={"scores": codec.to_tensor(np.ones(1))}
        ),
        "INVALID_ARGUMENT",
        "arrays",
    ),
    "a distribution over a box": (
        "GetDistribution",
        pb.GetDistributionRequest(curriculum="box"),
        "FAILED_PRECONDITION",
        "curriculum",
    ),
    "statistics of an unknown task": (
        "GetStatistics",
        pb.GetStatisticsRequest(curriculum="maze", task=codec.to_tensor(np.asarray([10]))),
        "INVALID_ARGUMENT",
        "task",
    ),
    "a watch without a pause": ("WatchCurriculum", _watch(0.0), "INVALID_ARGUMENT", "interval"),
    "a watch of too many tasks": (
        "WatchCurriculum",
        pb.WatchCurriculumRequest(curriculum="maze", top_n=1001),
        "INVALID_ARGUMENT",
        "top_n",
    ),
    "a checkpoint of what cannot be saved": (
        "SaveCheckpoint",
        pb.SaveCheckpointRequest(curriculum="unsavable"),
        "FAILED_PRECONDITION",
        "curriculum",
    ),
    "no checkpoint": (
        "RestoreCheckpoint",
        pb.RestoreCheckpointRequest(curriculum="maze", session_id="s", sequence=1),
        "INVALID_ARGUMENT",
        "checkpoint",
    ),
    "a forged checkpoint": (
        "RestoreCheckpoint",
        pb.RestoreCheckpointRequest(curriculum="maze", session_id="s", sequence=1, checkpoint=b"forged" * 9),
        "INVALID_ARGUMENT",
        "checkpoint",
    ),
    "an agent that is too large": (
        "AddAgent",
        pb.AddAgentRequest(curriculum="agents", session_id="t", sequence=1, agent=bytes(1001)),
        "RESOURCE_EXHAUSTED",
        "agent",
    ),
    "an agent where none are stored": (
        "AddAgent",
        pb.AddAgentRequest(curriculum="maze", session_id="s", sequence=1, agent=b"a"),
        "FAILED_PRECONDITION",
        "curriculum",
    ),
    "an agent that is not there": (
        "GetAgent",
        pb.GetAgentRequest(curriculum="agents", agent_id=99),
        "NOT_FOUND",
        "agent_id",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_a_bad_request_is_refused_with_its_status_and_field_and_changes_nothing(
    stub: pb_grpc.CurriculumServiceStub, case: str
) -> None:
    rpc, request, code, field = _REFUSED[case]
    before = _state(stub)
    call: Callable = getattr(stub, rpc)
    with pytest.raises(grpc.RpcError) as refused:
        _first(call(request, timeout=TIMEOUT))
    assert (status(refused.value), bad_field(refused.value)) == (code, field)
    assert refused.value.details()
    # What the curriculum itself refused has its place in the journal; everything else leaves no trace.
    assert _state(stub) == before or case == "an update that the curriculum refuses"


def test_every_rpc_that_can_refuse_is_in_the_table_of_refusals() -> None:
    rpcs = {method.name for method in pb.DESCRIPTOR.services_by_name["CurriculumService"].methods}
    assert {rpc for rpc, *_ in _REFUSED.values()} == rpcs - {"StreamMetrics"}  # which has a file of its own


@pytest.mark.parametrize(
    "method", list(pb.DESCRIPTOR.services_by_name["CurriculumService"].methods), ids=lambda m: m.name
)
def test_bytes_that_are_no_message_are_an_invalid_argument(server: Serving, method) -> None:
    rng = random.Random(method.name)
    before = _state(server.stub)
    with grpc.insecure_channel(server.address) as channel:
        path = f"/{method.containing_service.full_name}/{method.name}"
        ends = ["stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)]
        call = getattr(channel, "_".join(ends))(path)
        for _ in range(20):
            request = b"\xff" + rng.randbytes(rng.randrange(40))  # a tag that no field has
            with pytest.raises(grpc.RpcError) as refused:
                _first(call(iter([request]) if method.client_streaming else request, timeout=TIMEOUT))
            assert status(refused.value) == "INVALID_ARGUMENT"
    assert _state(server.stub) == before


def test_a_message_above_the_bound_is_refused_and_the_connection_lives(stub: pb_grpc.CurriculumServiceStub) -> None:
    request = pb.AddAgentRequest(curriculum="agents", session_id="s", sequence=1, agent=bytes(65 << 20))
    with pytest.raises(grpc.RpcError) as refused:
        stub.AddAgent(request, timeout=TIMEOUT)
    assert status(refused.value) == "RESOURCE_EXHAUSTED"
    assert _state(stub) == 0


def test_more_curricula_than_allowed_are_refused() -> None:
    with serving(limits=Limits(max_curricula=1)) as server:
        server.create("first")
        with pytest.raises(grpc.RpcError) as refused:
            server.create("second")
        assert status(refused.value) == "RESOURCE_EXHAUSTED"


def test_a_class_that_the_operator_allowed_may_be_named_over_the_wire() -> None:
    name = f"{Unsavable.__module__}:{Unsavable.__qualname__}"
    with serving(allowed_curricula=[name]) as server:
        assert server.create("own", name).spec.algorithm == name
        with pytest.raises(grpc.RpcError) as refused:
            server.create("other", f"{Agents.__module__}:{Agents.__qualname__}")
        assert (status(refused.value), bad_field(refused.value)) == ("INVALID_ARGUMENT", "spec.algorithm")


def test_a_bug_in_the_service_is_logged_and_is_neither_internal_nor_unknown() -> None:
    class Broken(Unsavable):
        def distribution(self) -> np.ndarray:
            raise ZeroDivisionError("a bug")

    with serving() as server:
        server.host("broken", Broken(DiscreteTaskSpace(2), seed=1))
        with capture_logs() as logs, pytest.raises(grpc.RpcError) as refused:
            server.stub.GetDistribution(pb.GetDistributionRequest(curriculum="broken"), timeout=TIMEOUT)
        assert status(refused.value) == "FAILED_PRECONDITION"
        assert "log" in refused.value.details()
    assert [(line["event"], line["log_level"]) for line in logs] == [("read_failed", "error")]


def test_a_bug_in_the_servicer_is_logged_under_the_reference_that_the_caller_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(self: LocalEngine) -> list:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(LocalEngine, "list", faulty)
    with serving() as server, capture_logs() as logs:
        with pytest.raises(grpc.RpcError) as refused:
            server.stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT)
        assert status(refused.value) == "FAILED_PRECONDITION"
        error = next(line for line in logs if line["event"] == "unexpected_error")
        assert error["reference"] in refused.value.details()
        assert isinstance(error["exc_info"], ZeroDivisionError)


def test_a_bug_s_log_line_says_which_curriculum_and_session_the_request_was_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(self: LocalEngine, name: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(LocalEngine, "get", faulty)
    ask = pb.GetTaskRequest(curriculum="maze", session_id="worker-1", sequence=1, num_tasks=1)
    with serving() as server, capture_logs() as logs, pytest.raises(grpc.RpcError):
        server.stub.GetTask(ask, timeout=TIMEOUT)
    error = next(line for line in logs if line["event"] == "unexpected_error")
    assert (error["rpc"], error["curriculum"], error["session_id"]) == ("GetTask", "maze", "worker-1")


def test_deleting_a_curriculum_ends_its_streams(server: Serving) -> None:
    server.create("short")
    stream = Stream(server.stub)
    stream.open("short")
    server.stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum="short"), timeout=TIMEOUT)
    assert status(stream.error()) == "NOT_FOUND"


def _first(answer):
    """The answer, or the first one of a stream."""
    return next(answer) if hasattr(answer, "__next__") else answer


def _state(stub: pb_grpc.CurriculumServiceStub) -> int:
    return stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="maze"), timeout=TIMEOUT).curriculum.position

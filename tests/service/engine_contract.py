"""What every engine does, seen through its front doors. A new engine only has to supply ``doors``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

from syllabus_client.task_spaces import DiscreteTaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_client.wire.metadata import APPLIED
from syllabus_service.commands import metrics_command
from syllabus_service.curricula import Curriculum
from syllabus_service.host import CurriculumHost
from syllabus_service.limits import Limits
from syllabus_service.specs import build_curriculum
from tests.service.serving import Stream, bad_field, column, episodes, num_episodes, spec, status

TIMEOUT = 60.0
Doors = Sequence[pb_grpc.CurriculumServiceStub]
_NUMBERS = itertools.count()


class Picky(Curriculum):
    """A user's class: it refuses updates that are not named."""

    def _draw(self, k: int) -> np.ndarray:
        return np.zeros(k, dtype=np.int64)

    def custom_update(self, **metrics: object) -> None:
        if "named" not in metrics:
            raise ValueError("expected something named")


class Brittle(Curriculum):
    """A user's class that cannot be made while a file is there."""

    def __init__(self, task_space: DiscreteTaskSpace, *, breaks_at: str, seed: int | None = None) -> None:
        if Path(breaks_at).exists():
            raise RuntimeError("broken")
        super().__init__(task_space, seed=seed)

    def _draw(self, k: int) -> np.ndarray:
        return np.zeros(k, dtype=np.int64)


BRITTLE = f"{Brittle.__module__}:{Brittle.__qualname__}"
PICKY = f"{Picky.__module__}:{Picky.__qualname__}"


def refusal(call: object, request: object) -> grpc.RpcError:
    """The error of a call that must be refused."""
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=TIMEOUT)  # type: ignore[operator]
    return refused.value


class EngineContract:
    """The contract. The fixture ``doors``: two front doors of one service, or one twice; PICKY and BRITTLE are allowed
    there. The fixture ``lose_states``: a call that ends what has the curricula's states, so that they are recovered.
    """

    lease = 6.0
    """Seconds; long enough for whoever speaks to be heard in time."""

    @pytest.fixture
    def name(self) -> str:
        """A name that no other test uses."""
        return f"maze-{next(_NUMBERS)}"

    def create(
        self, doors: Doors, name: str, algorithm: str = "domain_randomization", **options: object
    ) -> pb.Curriculum:
        """Create a curriculum at the first door."""
        request = pb.CreateCurriculumRequest(name=name, spec=spec(algorithm, **options))  # type: ignore[arg-type]
        return doors[0].CreateCurriculum(request, timeout=TIMEOUT).curriculum

    def report(self, name: str, sequence: int, tasks: list[int], session_id: str = "worker") -> pb.ReportEpisodeRequest:
        """Some episodes."""
        return pb.ReportEpisodeRequest(
            curriculum=name, session_id=session_id, sequence=sequence, episodes=episodes(tasks)
        )

    # Curricula

    def test_a_curriculum_that_one_door_created_is_found_by_every_door(self, doors: Doors, name: str) -> None:
        created = self.create(doors, name, seed=7)
        for door in doors:
            found = door.GetCurriculum(pb.GetCurriculumRequest(curriculum=name), timeout=TIMEOUT).curriculum
            assert found == created
            listed = door.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT).curricula
            assert name in [each.name for each in listed]
            assert [each.name for each in listed] == sorted(each.name for each in listed)
            assert all(not each.spec.HasField("task_space") for each in listed)

    def test_a_name_is_given_once_and_an_equal_spec_may_be_an_answer(self, doors: Doors, name: str) -> None:
        created = self.create(doors, name)
        for door in doors:
            again = pb.CreateCurriculumRequest(name=name, spec=spec())
            assert status(refusal(door.CreateCurriculum, again)) == "ALREADY_EXISTS"
            again.allow_existing = True
            assert door.CreateCurriculum(again, timeout=TIMEOUT).curriculum == created
            other = pb.CreateCurriculumRequest(name=name, spec=spec(seed=2), allow_existing=True)
            assert status(refusal(door.CreateCurriculum, other)) == "ALREADY_EXISTS"

    def test_one_of_two_creations_at_the_same_time_wins(self, doors: Doors, name: str) -> None:
        requests = [pb.CreateCurriculumRequest(name=name, spec=spec(seed=seed)) for seed in (1, 2)]
        asked = [
            door.CreateCurriculum.future(each, timeout=TIMEOUT) for door, each in zip(doors, requests, strict=True)
        ]
        errors = [each.exception() for each in asked]
        assert [status(error) for error in errors if error is not None] == ["ALREADY_EXISTS"]
        found = [each.GetCurriculum(pb.GetCurriculumRequest(curriculum=name), timeout=TIMEOUT) for each in doors]
        assert found[0] == found[1]

    def test_a_spec_that_cannot_be_built_is_refused_with_its_field_and_leaves_nothing(
        self, doors: Doors, name: str
    ) -> None:
        for bad, field in ((spec("no_such"), "spec.algorithm"), (spec(no_such=1), "spec.params")):
            error = refusal(doors[0].CreateCurriculum, pb.CreateCurriculumRequest(name=name, spec=bad))
            assert (status(error), bad_field(error)) == ("INVALID_ARGUMENT", field)
        assert status(refusal(doors[1].GetCurriculum, pb.GetCurriculumRequest(curriculum=name))) == "NOT_FOUND"

    def test_a_deleted_curriculum_is_gone_at_every_door_and_one_of_its_name_is_another(
        self, doors: Doors, name: str
    ) -> None:
        created = self.create(doors, name)
        streams = [Stream(door, TIMEOUT) for door in doors]
        for number, stream in enumerate(streams):
            stream.open(name, f"session-{number}")
        doors[0].ReportEpisode(self.report(name, 1, [1]), timeout=TIMEOUT)
        doors[1].DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum=name), timeout=TIMEOUT)
        for stream in streams:
            stream.send_batch(1)
            assert status(stream.error()) == "NOT_FOUND"
        for door in doors:
            assert status(refusal(door.ReportEpisode, self.report(name, 2, [1]))) == "NOT_FOUND"
        assert status(refusal(doors[0].DeleteCurriculum, pb.DeleteCurriculumRequest(curriculum=name))) == "NOT_FOUND"
        anew = self.create(doors, name)
        assert (anew.incarnation == created.incarnation, anew.position) == (False, 0)
        for number, door in enumerate(doors):
            assert num_episodes(door, name) == {}
            old = Stream(door, TIMEOUT)
            old.send(
                pb.StreamMetricsRequest(
                    open=pb.OpenSession(
                        curriculum=name, session_id=f"session-{number}", incarnation=created.incarnation
                    )
                )
            )
            assert status(old.error()) == "FAILED_PRECONDITION"

    def test_a_curriculum_that_cannot_be_recovered_is_refused_and_can_be_deleted(
        self, doors: Doors, name: str, lose_states: Callable[[], None], tmp_path: Path
    ) -> None:
        obstacle = tmp_path / "obstacle"
        created = self.create(doors, name, BRITTLE, breaks_at=str(obstacle))
        obstacle.touch()
        lose_states()
        deadline = time.monotonic() + TIMEOUT
        for number, door in enumerate(doors):
            ask = pb.GetTaskRequest(curriculum=name, session_id="worker", sequence=1 + number, num_tasks=1)
            while status(error := refusal(door.GetTask, ask)) == "UNAVAILABLE":  # it is being recovered
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert (status(error), "recovered" in (error.details() or "")) == ("FAILED_PRECONDITION", True)
        doors[1].DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum=name), timeout=TIMEOUT)
        for door in doors:
            assert status(refusal(door.GetCurriculum, pb.GetCurriculumRequest(curriculum=name))) == "NOT_FOUND"
        obstacle.unlink()
        anew = self.create(doors, name, BRITTLE, breaks_at=str(obstacle))
        assert anew.incarnation != created.incarnation
        ask = pb.GetTaskRequest(curriculum=name, session_id="worker", sequence=1, num_tasks=1)
        assert doors[1].GetTask(ask, timeout=TIMEOUT).reply.position == 1

    # Commands

    def test_a_command_sent_again_by_another_door_is_answered_again_and_not_applied_again(
        self, doors: Doors, name: str
    ) -> None:
        self.create(doors, name)
        ask = pb.GetTaskRequest(curriculum=name, session_id="worker", sequence=1, num_tasks=3)
        first = doors[0].GetTask(ask, timeout=TIMEOUT)
        assert doors[1].GetTask(ask, timeout=TIMEOUT) == first
        answers = [door.ReportEpisode(self.report(name, 2, [4, 4, 5]), timeout=TIMEOUT) for door in doors]
        assert answers[0] == answers[1]
        assert [num_episodes(door, name) for door in doors] == [{4: 2, 5: 1}] * 2

    def test_a_refused_command_names_its_field_and_changes_nothing(self, doors: Doors, name: str) -> None:
        self.create(doors, name)
        bad = self.report(name, 1, [1])
        bad.episodes.episode_return.data = np.full(1, np.nan).tobytes()
        gap = self.report(name, 5, [1])
        for door in doors:
            error = refusal(door.ReportEpisode, bad)
            assert (status(error), bad_field(error)) == ("INVALID_ARGUMENT", "episodes.episode_return[0]")
            error = refusal(door.ReportEpisode, gap)
            assert (status(error), bad_field(error)) == ("FAILED_PRECONDITION", "sequence")
            assert num_episodes(door, name) == {}

    def test_what_the_curriculum_itself_refuses_says_that_its_sequence_is_used_up(
        self, doors: Doors, name: str
    ) -> None:
        self.create(doors, name, PICKY)
        update = pb.CustomUpdateRequest(curriculum=name, session_id="learner", sequence=1)
        for door in doors:  # the second time it is recognised
            error = refusal(door.CustomUpdate, update)
            assert "expected something named" in (error.details() or "")
            assert (APPLIED, "1") in tuple(error.trailing_metadata())
        update = pb.CustomUpdateRequest(curriculum=name, session_id="learner", sequence=2)
        update.values.update({"named": 1})
        doors[0].CustomUpdate(update, timeout=TIMEOUT)

    def test_the_same_commands_give_the_same_tasks_and_state_as_the_curriculum_alone(
        self, doors: Doors, name: str
    ) -> None:
        self.create(doors, name, "online_learning_progress", seed=11)
        host = CurriculumHost(build_curriculum(spec("online_learning_progress", seed=11), may_import=lambda _: False))
        space, limits = DiscreteTaskSpace(10), Limits()
        for sequence in range(1, 9):
            report = self.report(name, sequence, [sequence % 10, 3])
            batch = pb.MetricsBatch(episodes=report.episodes)
            host.apply([metrics_command("worker", sequence, sequence - 1, batch, space, limits)])
            doors[sequence % 2].ReportEpisode(report, timeout=TIMEOUT)
        ask = pb.GetTaskRequest(curriculum=name, session_id="worker", sequence=9, num_tasks=20)
        batch = pb.MetricsBatch(num_tasks=20)
        (reply,) = host.apply([metrics_command("worker", 9, 8, batch, space, limits)]).answers
        assert doors[1].GetTask(ask, timeout=TIMEOUT).reply == reply
        for door in doors:
            saved = door.SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=name), timeout=TIMEOUT)
            assert (saved.checkpoint, saved.position) == (host.snapshot(), 9)

    # Questions

    def test_every_question_is_answered_at_every_door(self, doors: Doors, name: str) -> None:
        self.create(doors, name, "self_play")
        store = pb.AddAgentRequest(curriculum=name, session_id="learner", sequence=1, agent=b"weights")
        agent_id = doors[0].AddAgent(store, timeout=TIMEOUT).agent_id
        doors[0].ReportEpisode(self.report(name, 1, [0]), timeout=TIMEOUT)
        for door in doors:
            asked = pb.GetAgentRequest(curriculum=name, agent_id=agent_id)
            assert door.GetAgent(asked, timeout=TIMEOUT).agent == b"weights"
            asked.agent_id = agent_id + 100
            error = refusal(door.GetAgent, asked)
            assert (status(error), bad_field(error)) == ("NOT_FOUND", "agent_id")
            summary = next(iter(door.WatchCurriculum(pb.WatchCurriculumRequest(curriculum=name), timeout=TIMEOUT)))
            assert (summary.position, summary.num_episodes) == (2, 1)
            told = door.GetDistribution(pb.GetDistributionRequest(curriculum=name, top_n=1), timeout=TIMEOUT)
            assert (told.position, len(column(told.task))) == (2, 1)

    def test_a_checkpoint_of_one_door_is_restored_by_another(self, doors: Doors, name: str) -> None:
        self.create(doors, name)
        doors[0].ReportEpisode(self.report(name, 1, [1, 2]), timeout=TIMEOUT)
        saved = doors[0].SaveCheckpoint(pb.SaveCheckpointRequest(curriculum=name), timeout=TIMEOUT).checkpoint
        doors[0].ReportEpisode(self.report(name, 2, [3]), timeout=TIMEOUT)
        restore = pb.RestoreCheckpointRequest(curriculum=name, session_id="learner", sequence=1, checkpoint=saved)
        doors[1].RestoreCheckpoint(restore, timeout=TIMEOUT)
        assert [num_episodes(door, name) for door in doors] == [{1: 1, 2: 1}] * 2

    # Streams

    def test_pipelined_batches_of_many_streams_are_answered_in_order_and_counted_once(
        self, doors: Doors, name: str
    ) -> None:
        self.create(doors, name)
        streams = [Stream(doors[number % 2], TIMEOUT) for number in range(6)]
        for number, stream in enumerate(streams):
            assert stream.open(name, f"session-{number}").applied_sequence == 0
        for sequence in range(1, 11):
            for stream in streams:
                stream.send_batch(sequence, pb.MetricsBatch(episodes=episodes([sequence % 10]), num_tasks=1))
        for stream in streams:
            assert [stream.receive().reply.sequence for _ in range(10)] == list(range(1, 11))
            stream.close()
        assert num_episodes(doors[0], name) == dict.fromkeys(range(10), 6)

    def test_the_newest_stream_of_a_session_wins_and_goes_on_where_the_older_one_was(
        self, doors: Doors, name: str
    ) -> None:
        self.create(doors, name)
        older, newer = Stream(doors[0], TIMEOUT), Stream(doors[1], TIMEOUT)
        older.open(name, "worker")
        first = older.ask(1, pb.MetricsBatch(episodes=episodes([1]), num_tasks=2))
        assert newer.open(name, "worker").applied_sequence == 1
        older.send_batch(2, pb.MetricsBatch(episodes=episodes([2])))
        assert status(older.error()) == "ABORTED"
        assert num_episodes(doors[0], name) == {1: 1}
        assert newer.ask(1, pb.MetricsBatch(episodes=episodes([1]), num_tasks=2)) == first
        assert newer.ask(2, pb.MetricsBatch(episodes=episodes([3]))).sequence == 2
        newer.close()
        assert num_episodes(doors[0], name) == {1: 1, 3: 1}

    def test_a_session_that_is_heard_keeps_its_tasks_and_a_silent_one_loses_them(self, doors: Doors, name: str) -> None:
        self.create(doors, name, lease=self.lease)
        speaking, silent = Stream(doors[0], 2 * TIMEOUT), Stream(doors[1], 2 * TIMEOUT)
        for session_id, stream in (("speaking", speaking), ("silent", silent)):
            stream.open(name, session_id)
            stream.ask(1, pb.MetricsBatch(num_tasks=2))
        deadline = time.monotonic() + TIMEOUT
        watch = pb.WatchCurriculumRequest(curriculum=name)
        while time.monotonic() < deadline:
            speaking.send(pb.StreamMetricsRequest(heartbeat=pb.Heartbeat()))
            assert speaking.receive().HasField("heartbeat")
            summary = next(iter(doors[0].WatchCurriculum(watch, timeout=TIMEOUT)))
            if summary.num_abandoned:
                break
            time.sleep(0.05)
        assert (summary.num_abandoned, summary.num_open_assignments) == (2, 2)
        speaking.close()
        silent.close()

"""CurriculumClient: the learner's handle on a curriculum."""

from __future__ import annotations

import builtins
import contextlib
import os
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
from google.protobuf import struct_pb2

from syllabus_client.errors import CurriculumServiceError, ServiceUnavailableError, from_rpc_error, status_of
from syllabus_client.metric_values import split_metrics
from syllabus_client.metrics_log import MetricsLog
from syllabus_client.normalization import normalized
from syllabus_client.readings import CurriculumStatistics, CurriculumSummary, Distribution, EpisodeStatistics
from syllabus_client.ready_tasks import TRAIN
from syllabus_client.stream import Assignment
from syllabus_client.target import Target
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.unary import RETRIED, UnaryCalls
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import from_tensor, tensor_map, to_tensor

_MAX_ROWS = 16_384  # episodes in one request; a service takes at least as many
_WATCH_PAUSE = 0.5  # seconds until a watch that was cut is opened again


class CurriculumClient:
    """The learner's handle on one curriculum.

    Connects on first use, in the process that uses it; it can be pickled, and used on both sides of a fork. Calls are
    sent again until they are answered, at most ``timeout`` seconds, and applied once. Thread-safe.

    Args:
        target: the service, ``host:port`` or ``unix:PATH``; None: SYLLABUS_TARGET.
        curriculum: name of the curriculum; None: SYLLABUS_CURRICULUM.
        token: bearer token; None: SYLLABUS_TOKEN, or no token.
        timeout: seconds until a call that is not answered raises ServiceUnavailableError.

    Every method raises CurriculumServiceError, of a kind that names what is wrong: ServiceUnavailableError,
    CurriculumNotFoundError, InvalidArgumentError, AuthenticationError ...
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout: expected more than 0 seconds, got {timeout}")
        self._arguments = (target, curriculum, token)
        self._timeout = timeout
        self._calls_made: UnaryCalls | None = None
        self._space: TaskSpace | None = None
        self._metrics_log = MetricsLog()

    @property
    def _calls(self) -> UnaryCalls:
        if self._calls_made is None:
            target, curriculum, token = self._arguments
            resolved = Target.resolve(target, curriculum=curriculum, token=token)
            self._calls_made = UnaryCalls(resolved, self._timeout)
        return self._calls_made

    @property
    def target(self) -> Target:
        """Where the curriculum is. Raises ValueError where that is not known."""
        return self._calls.target

    @property
    def name(self) -> str:
        """The curriculum's name."""
        return self.target.curriculum

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_calls_made": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. A later call connects again."""
        if self._calls_made is not None:
            self._calls_made.close()

    def __repr__(self) -> str:
        target, curriculum, _ = self._arguments
        return f"{type(self).__name__}({target!r}, curriculum={curriculum!r})"

    # Curricula

    def create(
        self,
        algorithm: str,
        task_space: TaskSpace,
        params: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        lease: float | None = None,
        allow_existing: bool = False,
    ) -> pb.Curriculum:
        """Create the curriculum on the service.

        Args:
            algorithm: registered name, such as ``"domain_randomization"``.
            task_space: the tasks.
            params: the algorithm's parameters.
            seed: of its random generator, 0 to 2**64 - 1.
            lease: seconds that a session may stay silent before its assignments are abandoned; None: 120.
            allow_existing: whether an equal curriculum that exists will do.

        Where the answer to an attempt was lost and an equal curriculum is there afterwards, it is created.

        Raises CurriculumExistsError, InvalidArgumentError.
        """
        spec = pb.CurriculumSpec(algorithm=algorithm, task_space=task_space.to_proto(), seed=seed)
        spec.params.CopyFrom(_struct(params or {}))
        if lease is not None:
            spec.lease.FromNanoseconds(round(lease * 1e9))
        request = pb.CreateCurriculumRequest(name=self.name, spec=spec, allow_existing=allow_existing)
        response = self._calls.change_unnumbered("CreateCurriculum", request, "ALREADY_EXISTS")
        if response is None:  # one is there, and it may be that of an attempt whose answer was lost
            request.allow_existing = True  # the service is the one who can say whether it is equal
            response = self._calls.read("CreateCurriculum", request)
        return response.curriculum

    def get(self) -> pb.Curriculum:
        """Spec, incarnation and position. Raises CurriculumNotFoundError."""
        return self._calls.read("GetCurriculum", pb.GetCurriculumRequest(curriculum=self.name)).curriculum

    def list(self) -> builtins.list[pb.Curriculum]:
        """All curricula of the service, by name, without their task spaces."""
        found: list[pb.Curriculum] = []
        token = ""
        while True:
            page = self._calls.read("ListCurricula", pb.ListCurriculaRequest(page_token=token))
            found += page.curricula
            token = page.next_page_token
            if not token:
                return found

    def delete(self) -> None:
        """Delete the curriculum and all that is stored of it. Raises CurriculumNotFoundError.

        Where the answer to an attempt was lost and it is not found afterwards, it is deleted.
        """
        self._calls.change_unnumbered("DeleteCurriculum", pb.DeleteCurriculumRequest(curriculum=self.name), "NOT_FOUND")
        self._space = None

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks; asked for once."""
        if self._space is None:
            self._space = TaskSpace.from_proto(self.get().spec.task_space)
        return self._space

    @property
    def requires_step_updates(self) -> bool:
        """Whether environments must report steps."""
        return self.get().requires_step_updates

    # Tasks and episodes

    def sample(self, k: int = 1) -> builtins.list[Any]:
        """Draw up to k tasks, decoded; fewer when the curriculum is short of tasks.

        The assignments stay open until ``report_episodes`` names them (see ``next_tasks``) or the lease runs out.
        """
        return [assignment.task for assignment in self.next_tasks(k)]

    def next_tasks(self, k: int = 1) -> builtins.list[Assignment]:
        """Draw up to k tasks, with their assignments; fewer when the curriculum is short of tasks."""
        space = self.task_space
        reply = self._calls.change(
            "GetTask",
            lambda session, sequence: pb.GetTaskRequest(
                curriculum=self.name, session_id=session, sequence=sequence, num_tasks=k
            ),
        ).reply
        self._raise_curriculum_error(reply)
        if not reply.HasField("tasks"):
            return []
        tasks = reply.tasks
        encoded = from_tensor(tasks.task, "task")
        count = len(encoded)
        probabilities: Sequence[float | None] = [None] * count
        if tasks.HasField("probability"):
            probabilities = from_tensor(tasks.probability, "probability").tolist()
        return [
            Assignment(*row, tasks.position)
            for row in zip(
                from_tensor(tasks.assignment_id, "assignment_id").tolist(),
                encoded.tolist() if encoded.ndim == 1 else encoded,
                space.decode_many(encoded),
                list(tasks.purpose) or [TRAIN] * count,
                probabilities,
                strict=True,
            )
        ]

    def add_tasks(self, tasks: Sequence[Any]) -> None:
        """Queue tasks, decoded, in a Manual curriculum. Raises TaskNotInSpaceError for one that is not in the space."""
        self.custom_update(tasks=self.task_space.encode_many(tasks))

    def report_episodes(
        self,
        tasks: Sequence[Any] | None,
        episode_returns: Sequence[float] | np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        progress: Sequence[float] | np.ndarray,
        env_ids: Sequence[int] | np.ndarray | None = None,
        *,
        assignment_ids: Sequence[int] | np.ndarray | None = None,
        metrics: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    ) -> int:
        """Report n finished episodes from the learner's process.

        Args:
            tasks: decoded tasks that were run; None: as assigned.
            episode_returns: sums of rewards, finite.
            lengths: numbers of steps, at least 0.
            progress: task completion in [0, 1].
            env_ids: environments, at least 0; None: 0.
            assignment_ids: from ``next_tasks``; None: tasks that were not handed out.
            metrics: further scalars by name, NaN where an episode has none.

        Returns:
            How many rows the service did not count: their assignments had ended.

        Raises InvalidArgumentError, naming the field; then nothing of the request was counted. More than 16,384
        episodes are sent as several requests.
        """
        rows = len(episode_returns)
        columns = {
            "assignment_id": _column(assignment_ids, np.uint64, rows, "assignment_ids"),
            "episode_return": _column(episode_returns, np.float64, rows, "episode_returns"),
            "length": _column(lengths, np.int64, rows, "lengths"),
            "progress": _column(progress, np.float64, rows, "progress"),
            "env_id": _column(env_ids, np.int64, rows, "env_ids"),
        }
        if tasks is not None:
            columns["task"] = _column(self.task_space.encode_many(tasks), None, rows, "tasks")
        extras = {name: _column(values, np.float64, rows, name) for name, values in (metrics or {}).items()}
        rejected = 0
        for start in range(0, rows, _MAX_ROWS):
            part = slice(start, start + _MAX_ROWS)
            episodes = pb.EpisodeBatch()
            for name, column in columns.items():
                getattr(episodes, name).CopyFrom(to_tensor(column[part]))
            for name, column in extras.items():
                episodes.metrics[name].CopyFrom(to_tensor(column[part]))
            rejected += self._report(episodes)
        return rejected

    def _report(self, episodes: pb.EpisodeBatch) -> int:
        reply = self._calls.change(
            "ReportEpisode",
            lambda session, sequence: pb.ReportEpisodeRequest(
                curriculum=self.name, session_id=session, sequence=sequence, episodes=episodes
            ),
        ).reply
        self._raise_curriculum_error(reply)
        return len(reply.rejections)

    def _raise_curriculum_error(self, reply: pb.BatchReply) -> None:
        if reply.curriculum_error:
            raise CurriculumServiceError(
                f"curriculum {self.name!r} raised an error: {reply.curriculum_error}",
                target=self.target.address,
                code="FAILED_PRECONDITION",
            )

    # What only the learner knows

    def custom_update(self, **metrics: Any) -> dict[str, np.ndarray]:
        """Tell the algorithm what only the learner knows, by name; what it takes is said in its documentation.

        Numbers, numpy arrays, tensors (of torch, on any device; of JAX) and lists of them travel as arrays; strings,
        booleans, lists and dicts as plain values.

        Returns:
            Named arrays that the algorithm answers with; most answer with none.

        Raises InvalidArgumentError where the algorithm cannot use them; TypeError for what does not travel.
        """
        arrays, values = split_metrics(metrics)
        tensors, struct = tensor_map(arrays), _struct(values)
        response = self._calls.change(
            "CustomUpdate",
            lambda session, sequence: pb.CustomUpdateRequest(
                curriculum=self.name, session_id=session, sequence=sequence, arrays=tensors, values=struct
            ),
        )
        return {name: from_tensor(tensor, f"arrays[{name}]") for name, tensor in response.arrays.items()}

    def add_agent(self, agent: bytes) -> int:
        """Store an agent, as bytes that the service never opens, as a new opponent; its task id."""
        response = self._calls.change(
            "AddAgent",
            lambda session, sequence: pb.AddAgentRequest(
                curriculum=self.name, session_id=session, sequence=sequence, agent=agent
            ),
        )
        return response.agent_id

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of a stored agent. Raises CurriculumNotFoundError."""
        return self._calls.read("GetAgent", pb.GetAgentRequest(curriculum=self.name, agent_id=agent_id)).agent

    # How it stands

    def distribution(self) -> np.ndarray:
        """float64 (N,): the probability of each task, by id. Raises PreconditionError where there is none to tell."""
        request = pb.GetDistributionRequest(curriculum=self.name)
        return Distribution.from_proto(self._calls.read("GetDistribution", request)).probabilities

    def top_tasks(self, n: int = 10) -> builtins.list[tuple[Any, float]]:
        """The n most probable tasks, decoded, with their probabilities, most probable first."""
        if n < 1:
            raise ValueError(f"n: expected at least 1, got {n}")
        request = pb.GetDistributionRequest(curriculum=self.name, top_n=n)
        found = Distribution.from_proto(self._calls.read("GetDistribution", request))
        return list(zip(self._decode_ids(found.tasks), found.probabilities.tolist(), strict=True))

    def statistics(self, tasks: Sequence[Any] | None = None, *, top_n: int = 0) -> CurriculumStatistics:
        """Statistics per task and over all.

        Args:
            tasks: decoded tasks that are asked for; None: all that have an episode.
            top_n: without ``tasks``: only those with most episodes; 0: all.
        """
        request = pb.GetStatisticsRequest(curriculum=self.name, top_n=top_n)
        if tasks is not None:
            space = self.task_space
            request.task.CopyFrom(to_tensor(space.to_index(space.encode_many(tasks)).astype(np.int64)))
        response = self._calls.read("GetStatistics", request)
        return CurriculumStatistics(
            EpisodeStatistics.from_proto(response.tasks),
            EpisodeStatistics.from_proto(response.total),
            response.position,
        )

    def normalize(self, rewards: Any, tasks: Any, *, center: bool = False) -> Any:
        """Rewards, or returns, in units of the standard deviation of their own task's returns so far.

        So tasks of large and of small rewards weigh alike. One request, however many rewards there are.

        Args:
            rewards: a number, or (n,).
            tasks: the decoded task of all of them; or n, one for each.
            center: whether the mean of the task's returns is subtracted first: for returns, not for rewards of steps.

        Returns:
            float, or float64 (n,). A deviation below 0.01 counts as 0.01. What is of a task with fewer than two
            episodes stays as it is.

        Raises TaskNotInSpaceError; TypeError where the space is not enumerable; ValueError for another number of tasks.
        """
        values = np.atleast_1d(np.asarray(rewards, np.float64))
        space = self.task_space
        tasks = [tasks] * len(values) if space.contains(tasks) else list(tasks)
        if values.ndim != 1 or len(tasks) != len(values):
            raise ValueError(f"tasks: expected one, or one for each of {len(values)} rewards, got {len(tasks)}")
        ids, rows = np.unique(space.to_index(space.encode_many(tasks)), return_inverse=True)
        statistics = self.statistics(space.decode_many(space.from_index(ids))).tasks
        result = normalized(values, statistics, rows, center=center)
        return float(result[0]) if np.ndim(rewards) == 0 else result

    def summary(self, top_n: int = 0) -> CurriculumSummary:
        """How the curriculum stands now, with its ``top_n`` most probable tasks, at most 1,000."""
        with contextlib.closing(self.watch(top_n=top_n)) as watch:
            return next(watch)

    def watch(self, interval: float = 1.0, *, top_n: int = 0) -> Generator[CurriculumSummary, None, None]:
        """A summary at once and then one per ``interval`` seconds (0.1 s to 1 h), until the iterator is closed.

        A watch that is cut is opened again; ServiceUnavailableError where none came for ``timeout`` seconds more than
        the interval.
        """
        request = pb.WatchCurriculumRequest(curriculum=self.name, top_n=top_n)
        request.interval.FromNanoseconds(round(interval * 1e9))
        calls = self._calls
        bound = interval + self._timeout
        heard = time.monotonic()
        while True:
            remaining = heard + bound - time.monotonic()
            # A stream's messages have no deadlines of their own: a stream ends after some of them and is opened again.
            lasting = max(remaining, 0.001) + (16 * interval if remaining > self._timeout / 2 else 0.0)
            call = calls.stub.WatchCurriculum(request, timeout=lasting, metadata=calls.target.metadata)
            try:
                for message in call:
                    yield CurriculumSummary.from_proto(message)
                    heard = time.monotonic()
            except grpc.RpcError as error:
                code, details, _ = status_of(error)
                if code not in RETRIED:
                    raise from_rpc_error(error, target=calls.target.address) from None
                if time.monotonic() + _WATCH_PAUSE > heard + bound:
                    raise ServiceUnavailableError(
                        f"the curriculum service at {calls.target.address} sent no summary within {bound:g} s: "
                        f"{code}: {details}",
                        target=calls.target.address,
                        code=code,
                    ) from None
                time.sleep(min(_WATCH_PAUSE, interval))
            finally:
                call.cancel()

    def log_metrics(
        self,
        writer: Any,
        step: int | None = None,
        *,
        log_n_tasks: int = 1,
        tasks: Sequence[Any] | None = None,
        prefix: str = "curriculum",
    ) -> dict[str, float]:
        """Write how the curriculum stands, and some of its tasks.

        Of the curriculum: episodes, success rate and mean return, entropy and effective number of tasks, the age of
        tasks when used (in commands, and in seconds), how long resets waited for them, and what was abandoned or
        refused. Of tasks: probability, episodes, success rate and mean return, under ``probability/NAME`` and the like.
        What has no value yet is left out.

        Never raises: where it cannot, it says so in the log, once for each reason.

        Args:
            writer: TensorBoard's SummaryWriter, a wandb run or module, a logger of Stable Baselines 3, or a dict.
            step: the learner's step.
            log_n_tasks: that many of the most probable tasks are written; -1: all.
            tasks: decoded tasks that are written instead.
            prefix: of the names.

        Returns:
            What was written, by name; empty where nothing was.
        """
        return self._metrics_log.write(self, writer, step, log_n_tasks=log_n_tasks, tasks=tasks, prefix=prefix)

    def _decode_ids(self, ids: np.ndarray | None) -> builtins.list[Any]:
        space = self.task_space
        return [] if ids is None else space.decode_many(space.from_index(ids))

    # Checkpoints

    def save_checkpoint(self) -> bytes:
        """The whole state as one opaque, versioned, checksummed blob, to be kept with the model's checkpoint."""
        return self._calls.read("SaveCheckpoint", pb.SaveCheckpointRequest(curriculum=self.name)).checkpoint

    def restore_checkpoint(self, checkpoint: bytes) -> None:
        """Replace the state by that of a checkpoint of the same algorithm and task space."""
        self._calls.change(
            "RestoreCheckpoint",
            lambda session, sequence: pb.RestoreCheckpointRequest(
                curriculum=self.name, session_id=session, sequence=sequence, checkpoint=checkpoint
            ),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint to a file: the whole of it or nothing."""
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(self.save_checkpoint())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restore a checkpoint from a file that ``save`` wrote."""
        self.restore_checkpoint(Path(path).read_bytes())


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def _column(values: Any, dtype: Any, rows: int, name: str) -> np.ndarray:
    column = np.zeros(rows, dtype) if values is None else np.asarray(values, dtype)
    if column.ndim == 0 or len(column) != rows:
        raise ValueError(f"{name}: expected {rows} rows, got an array of shape {column.shape}")
    return column

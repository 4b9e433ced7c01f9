"""The state of one curriculum: everything that commands change, and its form as bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from syllabus_service.assignments import AssignmentTable
from syllabus_service.curricula import Curriculum
from syllabus_service.errors import FailedPrecondition
from syllabus_service.limits import Limits
from syllabus_service.sessions import SessionTable
from syllabus_service.state_codec import decode_state, encode_state
from syllabus_service.statistics import EpisodeStatistics


@dataclass
class Counters:
    """Totals since the curriculum was created."""

    num_steps: int = 0
    num_abandoned: int = 0
    num_rejected: int = 0
    num_curriculum_errors: int = 0
    last_curriculum_error: str = ""
    task_age_sum: int = 0
    task_age_count: int = 0


class CurriculumState:
    """A curriculum, and what the service knows about it.

    Attributes:
        curriculum: the algorithm.
        position: number of commands applied.
        sessions: what each session has said.
        assignments: those that are open.
        statistics: of episodes.
        counters: totals.
    """

    def __init__(self, curriculum: Curriculum, limits: Limits) -> None:
        self.curriculum = curriculum
        self.task_space = curriculum.task_space
        self.position = 0
        self._limits = limits
        self.sessions = self.no_sessions()
        self.assignments = self.no_assignments()
        self.statistics = EpisodeStatistics(self.task_space.num_tasks)
        self.counters = Counters()

    def no_sessions(self) -> SessionTable:
        """An empty table with this curriculum's bounds."""
        return SessionTable(self._limits.max_sessions, self._limits.max_unacknowledged_batches)

    def no_assignments(self) -> AssignmentTable:
        """An empty table for the tasks of this space."""
        return AssignmentTable(self.task_space.encoded_shape, self.task_space.encoded_dtype)

    def snapshot(self) -> bytes:
        """The whole state, of snapshots and of checkpoints. Raises as ``capture``."""
        return encode_state(self.capture())

    def capture(self) -> dict[str, Any]:
        """What a snapshot holds, not yet encoded: copies, which commands leave as they are. O(state).

        Raises NotImplementedError where the curriculum cannot be saved.
        """
        return {
            "algorithm": self._algorithm(),
            "task_space": self._task_space(),
            "position": self.position,
            "curriculum": self.curriculum.state_dict(),
            "statistics": self.statistics.state_dict(),
            "sessions": self.sessions.state_dict(),
            "assignments": self.assignments.state_dict(),
            "counters": asdict(self.counters),
        }

    def load_snapshot(self, data: bytes) -> None:
        """Restore exactly the state of ``snapshot``. Raises as ``read_snapshot``."""
        state = self.read_snapshot(data)
        self.curriculum.load_state_dict(state["curriculum"])
        self.statistics.load_state_dict(state["statistics"])
        self.sessions.load_state_dict(state["sessions"])
        self.assignments.load_state_dict(state["assignments"])
        self.counters = Counters(**state["counters"])
        self.position = state["position"]

    def read_snapshot(self, data: bytes) -> dict[str, Any]:
        """The parts of a snapshot.

        Raises CorruptStateError, or FailedPrecondition for the snapshot of another algorithm or task space.
        """
        state = decode_state(data)
        if state["algorithm"] != self._algorithm():
            raise FailedPrecondition(
                f"checkpoint: expected one of {self._algorithm()}, got one of {state['algorithm']}", field="checkpoint"
            )
        if state["task_space"] != self._task_space():
            raise FailedPrecondition("checkpoint: expected one of the same task space", field="checkpoint")
        return state

    def _algorithm(self) -> str:
        return f"{type(self.curriculum).__module__}:{type(self.curriculum).__qualname__}"

    def _task_space(self) -> bytes:
        return self.task_space.to_proto().SerializeToString(deterministic=True)

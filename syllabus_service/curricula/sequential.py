"""One curriculum after the other, each until its condition is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from syllabus_client.task_spaces import TaskSpace
from syllabus_service.curricula import conditions
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import TRAIN, Draw, EpisodeBatch, StepBatch
from syllabus_service.curricula.return_window import ReturnWindow
from syllabus_service.curricula.stage import Stage, make_stage

_CHUNK = 256  # episodes looked at together: more would be looked at again when stages are short


class Sequential(Curriculum):
    """Stages, one after the other. After Syllabus' SequentialCurriculum.

    1. Tasks are drawn from the current stage's curriculum, which has a space, and so an encoding, of its own.
    2. Each drawn task and each reported episode is an event. After each event the current stage's condition is
       evaluated once, so that a draw of k tasks, or a batch of n episodes, is as k or n single ones. When it is true,
       the next stage begins; after the last one the first, if ``should_loop``.
    3. Conditions speak of ``steps``, ``episodes`` and ``tasks`` (drawn) since the stage began, ``total_steps``,
       ``total_episodes`` and ``total_tasks`` since the beginning of all, and ``episode_return``: the mean of the
       stage's last ``return_buffer_size`` returns, 0 before the first. Their grammar is ``conditions.parse``'s:
       ``steps >= 1e5 & episode_return > 0.8 | tasks >= 500``.
    4. An episode counts for the current stage, whichever stage its task came from. Its result goes to the curriculum
       of the stage that drew its task where that is known, otherwise of the newest stage that holds the task. An
       abandoned task goes back to the stage that drew it.

    A stage that is short of tasks makes the draw short; no task is lost. A stage that is over is not gone back to
    (but by looping), so let a Manual stage end on ``episodes``, not ``tasks``, where each of its tasks must be run.
    During a warm-up nothing counts.

    ``custom_update`` goes to the current stage, or to ``stage=i``; its ``tasks`` are of the sequence's encoding. An
    agent goes to every stage that stores agents, so that a stage finds its opponents when it begins, and has the same
    id in each; these stages are on the sequence's own task space.

    Cost: O(1) an episode and a draw, and what the stage's curriculum takes.

    Args:
        task_space: any that holds the stages' tasks.
        stages: each is a list of decoded tasks, drawn uniformly; or ``{"algorithm": name, "params": {...},
            "tasks": [...]}``, a curriculum by name on the listed tasks, or on all; or, in Python, a ``TaskSpace``,
            drawn uniformly, or a ``Curriculum``.
        stopping_conditions: one for each stage; without ``should_loop`` one fewer, as the last stage stays.
        should_loop: whether the first stage follows the last.
        return_buffer_size: number of returns behind ``episode_return``, at least 1.
        seed, random_start_tasks: see ``Curriculum``. The stages' seeds are drawn from it.

    Attributes:
        stage: number of the current stage, from 0.
        counts: the metrics of conditions, but for ``episode_return``.
    """

    state_fields = ("stage", "counts", "returns", "open_draws", "stage_states")

    def __init__(
        self,
        task_space: TaskSpace,
        stages: Sequence[Any],
        stopping_conditions: Sequence[str],
        *,
        should_loop: bool = False,
        return_buffer_size: int = 1000,
        seed: int | None = None,
        random_start_tasks: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        if not isinstance(stages, Sequence) or isinstance(stages, str) or len(stages) == 0:
            raise ValueError(f"stages: expected a list of at least one, got {stages!r}")
        if isinstance(stopping_conditions, str):
            raise ValueError("stopping_conditions: expected a list of conditions, got one text")
        wanted = len(stages) if should_loop else len(stages) - 1
        if len(stopping_conditions) != wanted:
            rule = "one for each stage" if should_loop else "one fewer than stages, as the last stays"
            raise ValueError(f"stopping_conditions: expected {wanted} ({rule}), got {len(stopping_conditions)}")
        if return_buffer_size < 1:
            raise ValueError(f"return_buffer_size: expected at least 1, got {return_buffer_size}")
        self._conditions = [
            _named(f"stopping_conditions[{i}]", conditions.parse, text) for i, text in enumerate(stopping_conditions)
        ]
        seeds = self.rng.integers(2**63, size=len(stages)).tolist()
        self._stages: list[Stage] = [
            _named(f"stages[{i}]", make_stage, task_space, given, seeds[i]) for i, given in enumerate(stages)
        ]
        self._pools: list[Any] = [
            stage.curriculum for stage in self._stages if getattr(stage.curriculum, "stores_agents", False)
        ]
        if self._pools and random_start_tasks > 0:
            raise ValueError("random_start_tasks: expected 0, as a stage stores agents; give it to the stages")
        self.requires_step_updates = any(stage.curriculum.requires_step_updates for stage in self._stages)
        self._tracks_draws = any(stage.takes_back for stage in self._stages)
        self.stage = 0
        self.counts = dict.fromkeys((name for name in conditions.METRICS if name != "episode_return"), 0)
        self._returns = ReturnWindow(return_buffer_size)
        self.open_draws: dict[str, list[int]] = {}  # task -> stages that drew it and have not heard of it, oldest first

    @property
    def current(self) -> Curriculum:
        """The current stage's curriculum."""
        return self._stages[self.stage].curriculum

    # Drawing

    def _draw(self, k: int) -> Draw:
        parts: list[Draw] = []
        left = k
        while left > 0:
            until, ends_stage = self._draws_until_end(left)
            drawn = self._stages[self.stage].draw(until)
            self._count(tasks=len(drawn))
            self._note_draws(drawn.tasks)
            parts.append(drawn)
            left -= len(drawn)
            if len(drawn) < until:
                break
            if ends_stage:
                self._advance()
        return _joined(parts, self._as_tasks([]))

    def _distribution(self) -> np.ndarray:
        self.num_tasks  # noqa: B018 - raises where the space is not enumerable
        return self._stages[self.stage].distribution()

    def _draws_until_end(self, most: int) -> tuple[int, bool]:
        """How many draws (at least 1) may be made before the stage ends or ``most`` is reached; whether it ends."""
        end = self._first_true(most, tasks=np.arange(1, most + 1))
        return (most, False) if end is None else (end + 1, True)

    # Stages

    def _first_true(self, n: int, returns: np.ndarray | None = None, **grown: np.ndarray) -> int | None:
        """The first of n events after which the stage's condition is true; None where after none of them.

        ``grown`` is by how much each count has grown after each event; ``returns`` are those of the events.
        """
        if self.stage >= len(self._conditions):
            return None
        condition = self._conditions[self.stage]
        columns: dict[str, np.ndarray] = {}
        for name, count in self.counts.items():
            growth = grown.get(name.removeprefix("total_"))
            columns[name] = np.array([count]) if growth is None else count + growth
        if condition.speaks_of("episode_return"):
            means = np.array([self._returns.mean]) if returns is None else self._returns.extend(returns)
            columns["episode_return"] = means
        true = np.broadcast_to(condition.holds(columns), (n,))
        return int(np.argmax(true)) if true.any() else None

    def _count(self, **grown: int) -> None:
        for name, number in grown.items():
            self.counts[name] += number
            self.counts[f"total_{name}"] += number

    def _advance(self) -> None:
        self.stage = (self.stage + 1) % len(self._stages)
        for name in ("steps", "episodes", "tasks"):
            self.counts[name] = 0
        self._returns.clear()

    # Learning

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        self.update_on_episodes(
            EpisodeBatch(
                tasks=self._as_tasks(task),
                episode_returns=np.array([episode_return], dtype=np.float64),
                lengths=np.array([length], dtype=np.int64),
                progress=np.array([progress], dtype=np.float64),
                env_ids=np.array([0 if env_id is None else env_id], dtype=np.int64),
            )
        )

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        row = min(len(batch), max(0, self.random_start_tasks - self.num_episodes))
        self.num_episodes += len(batch)
        self._teach(batch.select(slice(0, row)))
        while row < len(batch):
            rows = batch.select(slice(row, row + _CHUNK))
            steps = np.cumsum(rows.lengths)
            episodes = np.arange(1, len(rows) + 1)
            # When it ends the stage, the returns that were looked at beyond the end are cleared with the others.
            end = self._first_true(len(rows), rows.episode_returns, steps=steps, episodes=episodes)
            taken = len(rows) if end is None else end + 1
            self._count(steps=int(steps[taken - 1]), episodes=taken)
            self._teach(rows if taken == len(rows) else rows.select(slice(0, taken)))
            if end is not None:
                self._advance()
            row += taken

    def _teach(self, batch: EpisodeBatch) -> None:
        def deliver(stage: Stage, rows: np.ndarray, tasks: np.ndarray) -> None:
            stage.curriculum.update_on_episodes(replace(batch.select(rows), tasks=tasks))

        self._deliver(batch.tasks, deliver, self._owners(batch.tasks, close=True))

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        def deliver(stage: Stage, rows: np.ndarray, tasks: np.ndarray) -> None:
            stage.curriculum.update_task_progress(tasks[0], progress, env_id)

        tasks = self._as_tasks(task)
        self._deliver(tasks, deliver, self._owners(tasks, close=False))

    def update_on_step_batch(self, batch: StepBatch) -> None:
        def deliver(stage: Stage, rows: np.ndarray, tasks: np.ndarray) -> None:
            if stage.curriculum.requires_step_updates:
                stage.curriculum.update_on_step_batch(replace(batch.select(rows), tasks=tasks))

        self._deliver(batch.tasks, deliver, self._owners(batch.tasks, close=False))

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Give tasks back to the stages that drew them. A task that no stage drew is nobody's to take back."""
        owners = self._owners(tasks, close=True)
        for number in np.unique(owners[owners >= 0]).tolist():
            _, encoded = self._stages[number].encode(tasks[owners == number])
            self._stages[number].curriculum.on_abandoned(encoded)

    def custom_update(self, **metrics: Any) -> Mapping[str, np.ndarray] | None:
        """Hand an update to the current stage, or to ``stage``; ``tasks`` are of the sequence's encoding.

        Raises ValueError for a stage that is not there, a task that is not its own, and what its curriculum refuses.
        """
        number = metrics.pop("stage", self.stage)
        if not isinstance(number, (int, np.integer)) or not 0 <= number < len(self._stages):
            raise ValueError(f"stage: expected a number from 0 to {len(self._stages) - 1}, got {number!r}")
        stage = self._stages[number]
        if "tasks" in metrics:
            tasks = np.asarray(metrics["tasks"])
            flat = tasks.reshape(-1, *self.task_space.encoded_shape)
            known = self.task_space.contains_encoded(flat)
            inside, encoded = stage.encode(self._as_tasks(flat)) if known.all() else (known, flat)
            if not inside.all():
                row = int(np.argmin(inside))
                raise ValueError(f"tasks[{row}]: {flat[row].tolist()} is no task of stage {number}")
            batch_shape = tasks.shape[: tasks.ndim - len(self.task_space.encoded_shape)]
            metrics["tasks"] = encoded.reshape(*batch_shape, *stage.curriculum.task_space.encoded_shape)
        return stage.curriculum.custom_update(**metrics)

    @property
    def stores_agents(self) -> bool:
        """Whether a stage does."""
        return len(self._pools) > 0

    def check_agent(self, agent: bytes) -> None:
        """Raise as ``add_agent`` would."""
        if not self._pools:
            raise ValueError("stages: none stores agents")
        for pool in self._pools:
            if pool.task_space != self.task_space:
                raise ValueError(
                    f"stages: expected one that stores agents on {self.task_space!r}, got one on {pool.task_space!r}"
                )
            pool.check_agent(agent)

    def add_agent(self, agent: bytes) -> int:
        """Store an agent with every stage that stores agents; return its id. O(stages).

        Raises ValueError, and nothing has changed, where no stage does, one is on a space of its own, or refuses it.
        """
        self.check_agent(agent)
        ids = [int(pool.add_agent(agent)) for pool in self._pools]
        return ids[0]

    def get_agent(self, agent_id: int) -> bytes:
        """The bytes of an agent. Raises ValueError for an id that was never added, or that no stage keeps."""
        refusal = ValueError("stages: none stores agents")
        for pool in self._pools:
            try:
                agent: bytes = pool.get_agent(agent_id)
                return agent
            except ValueError as error:
                refusal = error
        raise refusal

    def _deliver(
        self, tasks: np.ndarray, deliver: Callable[[Stage, np.ndarray, np.ndarray], None], owners: np.ndarray
    ) -> None:
        """Call ``deliver(stage, rows, tasks in the stage's encoding)`` for each stage that has rows.

        ``owners`` is the stage of each row; -1: the newest that holds the task, if any.
        """
        unknown = owners < 0
        for back in range(len(self._stages)):
            number = (self.stage - back) % len(self._stages)
            rows = np.flatnonzero(unknown | (owners == number))
            if len(rows) == 0:
                continue
            inside, encoded = self._stages[number].encode(tasks[rows])
            unknown[rows[inside]] = False
            if inside.any():
                deliver(self._stages[number], rows[inside], encoded)

    # Who drew what

    def _note_draws(self, tasks: np.ndarray) -> None:
        if self._tracks_draws:
            for task in tasks:
                self.open_draws.setdefault(task.tobytes().hex(), []).append(self.stage)

    def _owners(self, tasks: np.ndarray, *, close: bool) -> np.ndarray:
        """int64 (n,): the stage that drew each task first, -1 where none is known. ``close``: it is no longer open."""
        owners = np.full(len(tasks), -1)
        if not self.open_draws:
            return owners
        for row, task in enumerate(tasks):
            key = task.tobytes().hex()
            if drawn := self.open_draws.get(key):
                owners[row] = drawn[0]
                if close:
                    del drawn[0]
                    if not drawn:
                        del self.open_draws[key]
        return owners

    # State

    @property
    def returns(self) -> dict[str, Any]:
        """The stage's last returns."""
        return self._returns.state

    @returns.setter
    def returns(self, state: dict[str, Any]) -> None:
        self._returns.state = state

    @property
    def stage_states(self) -> list[dict[str, Any]]:
        """The states of the stages' curricula."""
        return [stage.curriculum.state_dict() for stage in self._stages]

    @stage_states.setter
    def stage_states(self, states: list[dict[str, Any]]) -> None:
        if len(states) != len(self._stages):
            raise ValueError(f"expected the state of {len(self._stages)} stages, got {len(states)}")
        for stage, state in zip(self._stages, states, strict=True):
            stage.curriculum.load_state_dict(state)


def _named(field: str, make: Callable[..., Any], *args: Any) -> Any:
    """``make(*args)``; what it refuses is told with the field."""
    try:
        return make(*args)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field}: {error}") from error


def _joined(parts: list[Draw], nothing: np.ndarray) -> Draw:
    """One draw of several, the first first."""
    if len(parts) == 1:
        return parts[0]
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    purposes = None
    if any(part.purposes is not None for part in parts):
        purposes = np.concatenate(
            [np.full(len(part), TRAIN, np.uint8) if part.purposes is None else part.purposes for part in parts]
        )
    return Draw(
        np.concatenate([nothing, *(part.tasks for part in parts)]),
        np.concatenate(probabilities) if parts and len(probabilities) == len(parts) else None,
        purposes,
    )

"""One curriculum for each component of a product of task spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from syllabus_client.task_spaces import MultiDiscreteTaskSpace, TaskSpace, TupleTaskSpace
from syllabus_client.task_spaces.multi_discrete import flat_ids, id_vectors
from syllabus_service.curricula import registry
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import EVALUATE, TRAIN, Draw, EpisodeBatch, StepBatch

CurriculumSpec = Mapping[str, Any] | Curriculum
"""``{"algorithm": name, "params": {...}}``, where params may be missing, or a curriculum."""


def build(given: CurriculumSpec, task_space: TaskSpace, seed: int | None, place: int, name: str) -> Curriculum:
    """The inner curriculum that a parameter stands for.

    Args:
        given: a spec, or a curriculum of its own on ``task_space``. A spec names a built-in or installed algorithm:
            ``module:Class`` is refused, because specs come over the network.
        task_space: its tasks.
        seed: of the outer curriculum, or None.
        place: among the inner curricula, so that each has a generator of its own.
        name: of the parameter, for errors.

    Raises ValueError, naming the parameter.
    """
    if isinstance(given, Curriculum):
        if given.task_space != task_space:
            raise ValueError(f"{name}: expected a curriculum on {task_space!r}, got one on {given.task_space!r}")
        return given
    if not isinstance(given, Mapping) or not {"algorithm"} <= set(given) <= {"algorithm", "params"}:
        raise ValueError(f"{name}: expected an object with algorithm and params, got {given!r}")
    inner_seed = None
    if seed is not None:
        inner_seed = int(np.random.SeedSequence([seed, place]).generate_state(1, np.uint64)[0])
    try:
        return registry.create(given["algorithm"], task_space, given.get("params"), inner_seed, allow_import=False)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


class ProductCurriculum(Curriculum):
    """Draws each component of a task from an inner curriculum of that component, independently.

    The probability of a task is the product of its components', its purpose EVALUATE where one of them is. Where an
    inner curriculum is short of tasks, so is this one: the components that the others have drawn in vain are abandoned.
    Draws, progress, steps and abandoned tasks are passed on by component; a subclass says which inner curriculum learns
    what from an episode. The inner curricula warm up, each with ``random_start_tasks``, rather than this one.

    Args:
        task_space: a product, each of whose components has an inner curriculum.
        inner: the inner curricula, by component.
        seed: see ``Curriculum``; not used but by specs.
        random_start_tasks: warm-up of every inner curriculum that hasn't a longer one.
    """

    state_fields = ("inner_states",)

    def __init__(
        self, task_space: TaskSpace, inner: Sequence[Curriculum], *, seed: int | None, random_start_tasks: int
    ) -> None:
        super().__init__(task_space, seed=seed, random_start_tasks=random_start_tasks)
        self.inner = tuple(inner)
        for each in self.inner:
            each.random_start_tasks = max(each.random_start_tasks, random_start_tasks)
        self.requires_step_updates = any(each.requires_step_updates for each in self.inner)

    @property
    def warming_up(self) -> bool:
        """False: it is the inner curricula that warm up."""
        return False

    def split(self, tasks: np.ndarray) -> list[np.ndarray]:
        """The components of encoded tasks (k, *encoded_shape), each (k, *the component's encoded_shape)."""
        return split_tasks(self.task_space, tasks)

    # Drawing

    def _draw(self, k: int) -> Draw:
        drawn: list[Draw] = []
        # The last component first: in a dual curriculum it is the opponents that may be missing.
        for each in reversed(self.inner):
            drawn.insert(0, each.draw(min([k, *map(len, drawn)])))
        count = min(map(len, drawn))
        for each, draw in zip(self.inner, drawn, strict=True):
            if len(draw) > count:
                each.on_abandoned(draw.tasks[count:])
        tasks = join_tasks(self.task_space, [draw.tasks[:count] for draw in drawn])
        columns = [draw.probabilities for draw in drawn]
        known = [column[:count] for column in columns if column is not None]
        probabilities = np.prod(known, axis=0) if len(known) == len(columns) else None
        evaluated = [draw.purposes[:count] == EVALUATE for draw in drawn if draw.purposes is not None]
        purposes = np.where(np.any(evaluated, axis=0), EVALUATE, TRAIN).astype(np.uint8) if evaluated else None
        return Draw(tasks, probabilities, purposes)

    def _distribution(self) -> np.ndarray:
        product = np.ones(1)
        self.num_tasks  # noqa: B018 - raises where the space is not enumerable
        for each in self.inner:
            product = np.multiply.outer(product, each.distribution()).reshape(-1)
        return product

    # Learning

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        """Pass the completion of a task on to the inner curriculum of each of its components."""
        for each, part in zip(self.inner, self.split(np.asarray(task)[np.newaxis]), strict=True):
            each.update_task_progress(part[0], progress, env_id)

    def update_on_step_batch(self, batch: StepBatch) -> None:
        """Pass steps on to the inner curricula that want them."""
        for each, part in zip(self.inner, self.split(batch.tasks), strict=True):
            if each.requires_step_updates:
                each.update_on_step_batch(replace(batch, tasks=part))

    def on_abandoned(self, tasks: np.ndarray) -> None:
        """Pass abandoned tasks on."""
        for each, part in zip(self.inner, self.split(np.asarray(tasks)), strict=True):
            each.on_abandoned(part)

    def update_on_episode(
        self, episode_return: float, length: int, task: Any, progress: float, env_id: int | None = None
    ) -> None:
        """Take one episode whose return counts for every component."""
        self.num_episodes += 1
        for each, part in zip(self.inner, self.split(np.asarray(task)[np.newaxis]), strict=True):
            each.update_on_episode(episode_return, length, part[0], progress, env_id)

    def _update_inner(self, place: int, metrics: dict[str, Any]) -> Mapping[str, np.ndarray] | None:
        """A custom update of one inner curriculum. ``tasks``, where given, are tasks of the product, any number of
        dimensions before their own."""
        if metrics.get("tasks") is not None:
            tasks = np.asarray(metrics["tasks"])
            shape = self.task_space.encoded_shape
            leading = tasks.shape[: tasks.ndim - len(shape)]
            rows = tasks.reshape(-1, *shape) if tasks.shape[len(leading) :] == shape else tasks[np.newaxis]
            if not self.task_space.contains_encoded(rows).all():
                raise ValueError("tasks: expected encoded tasks of the task space")
            part = self.split(rows)[place]
            metrics = {**metrics, "tasks": part.reshape(*leading, *part.shape[1:])}
        return self.inner[place].custom_update(**metrics)

    # State

    @property
    def inner_states(self) -> list[dict[str, Any]]:
        """The states of the inner curricula."""
        return [each.state_dict() for each in self.inner]

    @inner_states.setter
    def inner_states(self, states: Iterable[Mapping[str, Any]]) -> None:
        for each, state in zip(self.inner, states, strict=True):
            each.load_state_dict(state)


def components(task_space: TaskSpace, count: int | None, what: str) -> tuple[TaskSpace, ...]:
    """The components of a product space. Raises ValueError unless it is one, of ``count`` components (None: any)."""
    if not isinstance(task_space, (TupleTaskSpace, MultiDiscreteTaskSpace)):
        raise ValueError(f"task_space: expected a product of {what}, got {task_space!r}")
    if count is not None and len(task_space.components) != count:
        raise ValueError(f"task_space: expected a product of {what}, got {len(task_space.components)} components")
    return task_space.components


def split_tasks(task_space: TaskSpace, tasks: np.ndarray) -> list[np.ndarray]:
    """The encoded tasks of each component of encoded tasks of a product."""
    if isinstance(task_space, TupleTaskSpace):
        return task_space.split_encoded(tasks)
    parts = components(task_space, None, "spaces")
    vectors = id_vectors(task_space.to_index(tasks), [part.num_tasks or 0 for part in parts])
    return [part.from_index(vectors[:, i]) for i, part in enumerate(parts)]


def join_tasks(task_space: TaskSpace, tasks: Sequence[np.ndarray]) -> np.ndarray:
    """The inverse of ``split_tasks``."""
    if isinstance(task_space, TupleTaskSpace):
        return task_space.join_encoded(tasks)
    parts = components(task_space, None, "spaces")
    ids = np.stack([part.to_index(each) for part, each in zip(parts, tasks, strict=True)], axis=1)
    return task_space.from_index(flat_ids(ids, [part.num_tasks or 0 for part in parts]))


def select(batch: EpisodeBatch, tasks: np.ndarray, rows: np.ndarray, returns: np.ndarray) -> EpisodeBatch:
    """Some episodes of a batch, with other tasks and returns, and without the agents' own."""
    plain = replace(batch, tasks=tasks, agents=(), agent_returns=None)
    return replace(plain.select(rows), episode_returns=returns)

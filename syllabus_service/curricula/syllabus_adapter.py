"""Curricula written for the Syllabus library, hosted as they are."""

from __future__ import annotations

import copy
import inspect
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from syllabus_client.task_spaces import (
    BoxTaskSpace,
    DiscreteTaskSpace,
    MultiDiscreteTaskSpace,
    StratifiedDiscreteTaskSpace,
    TaskSpace,
)
from syllabus_service.curricula.base import Curriculum
from syllabus_service.curricula.batch import EpisodeBatch, StepBatch


class SyllabusCurriculum(Curriculum):
    """Serves an object that has the methods of Syllabus's ``Curriculum`` (0.7), such as those of ``syllabus-rl``.

    1. A draw calls ``sample(k)``, again for what is missing where it answers with fewer tasks. Where the object
       inherits ``sample``, its ``_sample_distribution()`` is drawn from here, in the same way: the inherited method
       compares an array with ``[]``, which numpy refuses since 1.25.
    2. An episode calls ``update_task_progress`` with its task and task completion, and then ``update_on_episode``; with
       several agents, ``episode_return`` is a dict by agent. So it is with Syllabus's Ray wrapper, which sends at each
       reset how far the task before came. Its multiprocessing wrapper sends that only with
       ``change_task_on_completion``, and only of tasks that were completed or failed: ``OnlineLearningProgress``, which
       counts successes there, ``ExpandingBox``, and ``random_start_tasks`` of any curriculum stand still without it.
    3. Progress that is reported in the middle of an episode calls ``update_task_progress``, too.
    4. Where ``requires_step_updates`` is true, steps call ``update_on_step_batch``, one environment at a time, with the
       columns tasks, observations, rewards, terminations, truncations, infos and progress. Infos are empty and progress
       is 0: they do not travel; nor does the observation of ``reset``. Observations of a dict space are dicts again. An
       environment's steps after the end of an episode are told after that episode, as in Syllabus.
    5. ``custom_update(**metrics)`` calls the object's ``custom_update``, or else its ``update``: with one dict of all
       metrics where it takes one argument, as ``CentralPrioritizedLevelReplay`` does, otherwise by name. Arrays become
       torch tensors where torch is loaded.
    6. Each episode, and each environment's steps, are a report of their own: where the object raises, that one is
       refused, and the others of its batch count.
    7. ``distribution`` asks a copy of the object for ``_sample_distribution()``: some algorithms learn when asked.

    Syllabus draws from the global generators of numpy, random and torch. They are lent to the object for the time of
    each call, seeded from ``seed``, and are afterwards what they were, so that the same seed and the same calls give
    the same tasks. A call holds a lock of the process: two hosted curricula of one process wait for each other.

    The object has no state that could be saved: checkpoints are refused, and a restarted service replays the whole
    journal. It learns in the service, in a copy of what was made: what else refers to it, such as an agent that an
    ``Evaluator`` runs, stays as it was when it was made, unless ``custom_update`` changes it.

    Refused, because hosted they would not do what they are for, and this package has them: self-play, whose agents are
    objects in the learner's memory, ``DualCurriculumWrapper``, ``DirectPrioritizedLevelReplay``, and ``Manual`` and
    ``SyncedBatchedDomainRandomization``, which the learner calls by methods of their own.

    Cost: that of the object, and about 50 us a call. Syllabus's methods take one episode at a time.

    To serve one from a service of its own, install a subclass there, which makes the object:

        class MazeProgress(SyllabusCurriculum):
            def __init__(self, task_space, *, seed=None, ema_alpha=0.1):
                def make():
                    return syllabus.curricula.OnlineLearningProgress(
                        syllabus.task_space.DiscreteTaskSpace(task_space.num_tasks), ema_alpha=ema_alpha
                    )
                super().__init__(task_space, make=make, seed=seed)

    Args:
        task_space: the tasks, in the object's order and with its encoding; see ``task_space_of``.
        make: makes the object, under the seeded generators.
        seed: of all generators that it draws from.

    Raises:
        TypeError: what ``make`` returns lacks one of the methods, or is one of those that are refused.
        ValueError: the object has another number of tasks.
    """

    one_at_a_time = True

    def __init__(self, task_space: TaskSpace, *, make: Callable[[], Any], seed: int | None = None) -> None:
        super().__init__(task_space, seed=seed)
        self._generators = _GlobalGenerators(self.rng)
        with self._generators.lent():
            self._held_object = _Copyable(make())
        _refuse_by_name(self._hosted)
        for name in ("task_space", "sample", "update_on_episode", "update_task_progress", "_sample_distribution"):
            if not hasattr(self._hosted, name):
                raise TypeError(
                    f"make: expected an object with the methods of Syllabus's Curriculum, "
                    f"got a {type(self._hosted).__name__} without {name}"
                )
        count = self._hosted.task_space.num_tasks
        if task_space.num_tasks is not None and count != task_space.num_tasks:
            raise ValueError(f"task_space: expected the hosted curriculum's {count} tasks, got {task_space.num_tasks}")
        self._hosted.task_space.seed(int(self.rng.integers(2**31)))
        self.requires_step_updates = bool(self._hosted.requires_step_updates)
        self._over: set[int] = set()  # environments whose episode has ended and was not told yet
        self._held: list[tuple[int, StepBatch]] = []  # the steps that they have taken since, by episode
        self._step_error: Exception | None = None  # the first of steps that were held, until on_reported

    @property
    def _hosted(self) -> Any:
        return self._held_object.value

    def _draw(self, k: int) -> np.ndarray:
        tasks: list[Any] = []
        with self._generators.lent():
            self._tell_held(None)
            while len(tasks) < k:
                some = list(self._sample(k - len(tasks)))
                if not some:
                    break
                tasks += some
        return np.stack([self._from_hosted(task) for task in tasks]) if tasks else self._as_tasks([])

    def _sample(self, k: int) -> Any:
        hosted = self._hosted
        while _inherits(hosted, "syllabus.core.curriculum_sync_wrapper", "CurriculumWrapper.sample"):
            hosted = hosted.curriculum  # which that method asks
        if not _inherits(hosted, "syllabus.core.curriculum_base", "Curriculum.sample"):
            return hosted.sample(k=k)
        if hosted._should_use_startup_sampling():
            return hosted._startup_sample(k)
        probabilities = hosted._sample_distribution()
        if len(probabilities) == 0:
            return hosted._startup_sample(k)
        return np.random.choice(hosted.num_tasks, size=k, p=probabilities)  # noqa: NPY002 - as Syllabus draws

    def _distribution(self) -> np.ndarray:
        self.num_tasks  # noqa: B018 - raises where the space is not enumerable
        seen = copy.deepcopy(self._held_object).value
        # Importing syllabus makes numpy raise where it divides 0 by 0.
        with self._generators.lent(keep=False), np.errstate(all="ignore"):
            if seen._should_use_startup_sampling():
                return np.full(self.num_tasks, 1.0 / self.num_tasks)
            probabilities = np.asarray(seen._sample_distribution(), dtype=np.float64)
        if probabilities.shape != (self.num_tasks,) or not np.isfinite(probabilities).all() or probabilities.sum() <= 0:
            raise NotImplementedError(f"{type(seen).__name__} does not tell its distribution")
        return probabilities / probabilities.sum()

    def update_on_episodes(self, batch: EpisodeBatch) -> None:
        """Take n finished episodes. O(n) calls of the hosted object."""
        returns: list[Any] = batch.episode_returns.tolist()
        if batch.agent_returns is not None:
            returns = [
                {agent: value for agent, value in zip(batch.agents, row, strict=True) if value == value}
                for row in batch.agent_returns.tolist()
            ]
        with self._generators.lent():
            for row in range(len(batch)):
                env_id = int(batch.env_ids[row])
                task, progress = self._to_hosted(batch.tasks[row]), float(batch.progress[row])
                try:
                    self._hosted.update_task_progress(task, progress, env_id=env_id)
                    self._hosted.update_on_episode(returns[row], int(batch.lengths[row]), task, progress, env_id=env_id)
                    self.num_episodes += 1
                finally:  # the environment goes on, whatever the object makes of its episode
                    self._over.discard(env_id)
                    self._tell_held(env_id)

    def update_task_progress(self, task: Any, progress: float, env_id: int | None = None) -> None:
        """Take the completion of an encoded task in the middle of its episode."""
        with self._generators.lent():
            self._hosted.update_task_progress(self._to_hosted(task), progress, env_id=env_id)

    def update_on_step_batch(self, batch: StepBatch) -> None:
        """Take environment steps: one call for each run of steps of one environment and one episode."""
        with self._generators.lent():
            for start, stop in batch.runs():
                env_id, steps = int(batch.env_ids[start]), batch.select(slice(start, stop))
                if env_id in self._over:
                    self._held.append((env_id, steps))
                else:
                    self._tell_steps(env_id, steps)

    def on_reported(self) -> None:
        """Tell all steps that are held: the episodes that they waited for did not come with them.

        Raises what the object raised at the first of the held steps that it did not take, these and those before.
        """
        with self._generators.lent():
            self._tell_held(None)
        error, self._step_error = self._step_error, None
        if error is not None:
            raise error

    def _tell_held(self, env_id: int | None) -> None:
        """Tell the steps of the next episode of an environment, or of all that are held."""
        held, self._held = self._held, []
        for each, steps in held:
            if env_id is None or (each == env_id and each not in self._over):
                try:
                    self._tell_steps(each, steps)
                except Exception as error:  # noqa: BLE001 - raised by on_reported: the episode at hand was taken
                    self._step_error = self._step_error or error
            else:
                self._held.append((each, steps))

    def _tell_steps(self, env_id: int, steps: StepBatch) -> None:
        columns: tuple[Any, ...] = (
            [self._to_hosted(task) for task in steps.tasks],
            _observations(steps.arrays, len(steps)),
            steps.rewards,
            steps.terminated,
            steps.truncated,
            [{} for _ in range(len(steps))],
            np.zeros(len(steps)),
        )
        if (steps.terminated | steps.truncated)[-1]:
            self._over.add(env_id)
        else:
            self._over.discard(env_id)
        self._hosted.update_on_step_batch(columns, env_id=env_id)

    def custom_update(self, **metrics: Any) -> None:
        """Take what only the learner knows; see the class. Raises ValueError where the object takes no update."""
        update = getattr(self._hosted, "custom_update", None) or getattr(self._hosted, "update", None)
        if update is None:
            raise ValueError(f"{type(self._hosted).__name__} takes no custom update, got {sorted(metrics)}")
        arguments = {name: _tensor(value) for name, value in metrics.items()}
        with self._generators.lent():
            if _takes_one_dict(update):
                update(arguments)
            else:
                update(**arguments)

    # Tasks: Syllabus's are ints, tuples of ints, or arrays

    def _to_hosted(self, task: Any) -> Any:
        if np.issubdtype(self.task_space.encoded_dtype, np.floating) or isinstance(self.task_space, BoxTaskSpace):
            return np.asarray(task)
        return tuple(np.asarray(task).tolist()) if self.task_space.encoded_shape else int(task)

    def _from_hosted(self, task: Any) -> np.ndarray:
        encoded = np.asarray(task)
        if encoded.ndim == 0 and self.task_space.encoded_shape:  # Syllabus draws from a distribution by index
            return self.task_space.from_index(encoded.reshape(1))[0]
        return encoded.astype(self.task_space.encoded_dtype).reshape(self.task_space.encoded_shape)


def host_syllabus(curriculum: Any, *, seed: int | None = None) -> SyllabusCurriculum:
    """A curriculum of Syllabus, to be served: ``make_multiprocessing_curriculum(host_syllabus(curriculum))``.

    The object itself is hosted, not a copy of it.

    Args:
        curriculum: an object with the methods of Syllabus's ``Curriculum``.
        seed: of all generators that it draws from.

    Raises TypeError for a task space that ``task_space_of`` does not know, and what ``SyllabusCurriculum`` raises.
    """
    return SyllabusCurriculum(task_space_of(curriculum.task_space), make=lambda: curriculum, seed=seed)


def task_space_of(space: Any) -> TaskSpace:
    """The task space with the tasks and the encoding of one of Syllabus's. O(N).

    Discrete and stratified spaces are encoded as ids, multi-discrete ones as tuples of ids (or flat, as they are),
    boxes as arrays. Raises TypeError for another space.
    """
    kind = type(space).__name__
    if kind == "StratifiedDiscreteTaskSpace":
        return StratifiedDiscreteTaskSpace(
            [
                [space.tasks[i] for i in range(start, start + len(stratum))]
                for start, stratum in zip(space.stratum_start_index, space.strata, strict=True)
            ]
        )
    if kind == "DiscreteTaskSpace":
        return DiscreteTaskSpace(list(space.tasks))
    if kind == "MultiDiscreteTaskSpace":
        return MultiDiscreteTaskSpace([list(tasks) for tasks in space._task_list], "flat" if space.flatten else "tuple")
    if kind == "BoxTaskSpace":
        return BoxTaskSpace(space.gym_space)
    raise TypeError(f"task_space: expected a discrete, stratified, multi-discrete or box space of Syllabus, got {kind}")


#: What is refused: the base class of Syllabus, what serves in its place, and why.
_REFUSED = {
    "SelfPlay": ("self_play", "its agents would stay in the service"),
    "FictitiousSelfPlay": ("fictitious_self_play", "its agents would stay in the service"),
    "PrioritizedFictitiousSelfPlay": ("prioritized_fictitious_self_play", "its agents would stay in the service"),
    "DirectPrioritizedLevelReplay": ("prioritized_level_replay", "its update calls a method that Syllabus 0.7 lacks"),
    "DualCurriculumWrapper": ("dual", "it lacks arguments of Syllabus's own interface"),
    "Manual": ("manual", "add_tasks would not reach it in the service"),
    "SyncedBatchedDomainRandomization": (
        "synced_batched_domain_randomization",
        "update_batch would not reach it in the service",
    ),
}


def _refuse_by_name(hosted: Any) -> None:
    """Raise TypeError for a curriculum, wrapped or not, that would not do hosted what it is for."""
    while hosted is not None:
        for each in type(hosted).__mro__:
            if each.__module__.startswith("syllabus.") and each.__name__ in _REFUSED:
                ours, why = _REFUSED[each.__name__]
                raise TypeError(f"{type(hosted).__name__} cannot be hosted: {why}. Use the curriculum {ours!r}")
        hosted = vars(hosted).get("curriculum") if hasattr(hosted, "__dict__") else None


def _inherits(hosted: Any, module: str, qualified_name: str) -> bool:
    """Whether ``hosted`` has the method of that module and qualified name, and not one of its own."""
    method = getattr(type(hosted), qualified_name.rpartition(".")[2])
    return (method.__module__, method.__qualname__) == (module, qualified_name)


class _Copyable:
    """Holds an object so that it can be copied and pickled, whatever its ``__getattr__`` does.

    Syllabus's wrappers pass any attribute that they lack on to the object in their attribute ``curriculum``; in a copy
    that has no attributes yet, that is a recursion without end. So the attributes of such an object are copied, and the
    object is put together again from its class and those.

    Args:
        value: the object.
    """

    def __init__(self, value: Any) -> None:
        self.value: Any = value

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self.value)
        if not any(each.__module__.startswith("syllabus.") and "__getattr__" in vars(each) for each in kind.__mro__):
            return _Copyable, (self.value,)
        parts = {name: _Copyable(value) for name, value in vars(self.value).items()}
        return _put_together, (kind, parts)


def _put_together(kind: type, parts: dict[str, _Copyable]) -> _Copyable:
    value: Any = object.__new__(kind)
    vars(value).update({name: part.value for name, part in parts.items()})
    return _Copyable(value)


class _GlobalGenerators:
    """Global random generators of numpy, random and torch, of one curriculum's own.

    Args:
        rng: what their seeds are drawn from.
    """

    # What it guards is global, so it is, too.
    _borrowed = threading.RLock()

    def __init__(self, rng: np.random.Generator) -> None:
        seeds = [int(seed) for seed in rng.integers(2**32, size=3)]
        self._numpy: Any = np.random.RandomState(seeds[0]).get_state()
        self._python: Any = random.Random(seeds[1]).getstate()
        self._torch: Any = None
        self._torch_seed = seeds[2]

    @contextmanager
    def lent(self, *, keep: bool = True) -> Iterator[None]:
        """Put these generators in place of the process's while the block runs. ``keep``: whether its draws count."""
        torch = sys.modules.get("torch")
        with self._borrowed:
            numpy_before, python_before = np.random.get_state(), random.getstate()  # noqa: NPY002
            np.random.set_state(self._numpy)  # noqa: NPY002
            random.setstate(self._python)
            if torch is not None:
                torch_before = torch.random.get_rng_state()
                if self._torch is None:
                    self._torch = torch.Generator().manual_seed(self._torch_seed).get_state()
                torch.random.set_rng_state(self._torch)
            try:
                yield
            finally:
                if keep:
                    self._numpy, self._python = np.random.get_state(), random.getstate()  # noqa: NPY002
                    if torch is not None:
                        self._torch = torch.random.get_rng_state()
                np.random.set_state(numpy_before)  # noqa: NPY002
                random.setstate(python_before)
                if torch is not None:
                    torch.random.set_rng_state(torch_before)


def _observations(arrays: Mapping[str, np.ndarray], rows: int) -> Any:
    """(s, ...) observations; of a dict space, a list of s nested dicts; a list of None where they stayed behind."""
    if "observation" in arrays:
        return arrays["observation"]
    paths = {name: name.split(".")[1:] for name in arrays if name.startswith("observation.")}
    observations: list[Any] = [{} if paths else None for _ in range(rows)]
    for name, path in paths.items():
        for row, value in enumerate(arrays[name]):
            entry = observations[row]
            for key in path[:-1]:
                entry = entry.setdefault(key, {})
            entry[path[-1]] = value
    return observations


def _tensor(value: Any) -> Any:
    torch = sys.modules.get("torch")
    return torch.tensor(value) if torch is not None and isinstance(value, np.ndarray) else value


def _takes_one_dict(update: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(update).parameters.values())
    return len(parameters) == 1 and parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD

"""VectorSyncWrapper: a vector environment under a curriculum, in columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Generic

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType
from gymnasium.vector import AutoresetMode
from gymnasium.vector.vector_env import ArrayType

from syllabus_client.settings import SessionSettings
from syllabus_client.stream import EVALUATE, Assignments
from syllabus_client.task_spaces import TaskNotInSpaceError, TaskSpace
from syllabus_client.wrappers._session_link import ServiceHandle, SessionLink
from syllabus_client.wrappers._step_buffer import observation_columns
from syllabus_client.wrappers._vector_tasks import vector_tasks


class VectorSyncWrapper(
    gym.vector.VectorWrapper,  # without parameters, as it is not generic in the gymnasium 1.2 that RLlib requires
    gym.utils.RecordConstructorArgs,
    Generic[ObsType, ActType, ArrayType],
):
    """Runs every episode of a vector environment on a task of its own, and reports the episodes in columns.

    A step costs a few numpy operations on arrays of ``num_envs``; a step in which episodes end costs one draw of as
    many tasks and one report, whatever their number.

    **How the environment gets its tasks.** Vector environments reset single environments inside ``step``, where no task
    can be passed, so the task of the *next* reset is set ahead. The environment offers one of:

    - ``set_tasks(mask, tasks)``, and ``running_tasks(mask)`` where it may run other tasks than it is given (see
      ``VectorTasks``): for environments vectorised by hand, of any size;
    - gymnasium's ``SyncVectorEnv`` or ``AsyncVectorEnv`` of environments with a ``NextTaskWrapper`` outermost. (With an
      ``AsyncVectorEnv``, a ``GymnasiumSyncWrapper`` around each environment saves a round trip to the workers in each
      step that ends an episode.)

    **Autoreset modes**, from ``metadata["autoreset_mode"]`` (``NEXT_STEP`` where it is missing):

    - ``NEXT_STEP``: the step that ends an episode draws the next task; the step after it resets, and counts for no
      episode.
    - ``SAME_STEP``: an episode ends and the next one starts in one step, so each environment has the task of its next
      episode already while one runs: a task is drawn one episode ahead.
    - ``DISABLED``: the caller resets, with ``options={"reset_mask": mask}``; tasks are drawn then. Steps of an
      environment between its end and its reset count for nothing.

    In every mode ``reset`` may be called at any time, for all environments or for a mask of them: episodes that it cuts
    off give their assignments back.

    The environment tells in its infos ``task_completion`` (float (num_envs,)) and, with an episode's last step,
    ``episode_metrics`` (a dict of such arrays); entries that gymnasium's mask ``_task_completion`` excludes, and in
    ``SAME_STEP`` the entries of ``final_info``, are understood. The wrapper adds

    - ``task``: (num_envs, *encoded_shape): the encoded task of each environment's episode, the one that the returned
      observation belongs to;
    - ``task_purpose``: (num_envs,) str: "train" or "evaluate".

    Args:
        env: the vector environment.
        target: see ``GymnasiumSyncWrapper``; so are ``curriculum``, ``token``, ``settings`` and ``remove_keys``.
        env_id: identity of the first environment; the others count on from it. None: new ones.

    Raises:
        MissingVectorTasksError: the environment cannot be told its tasks.

    Example:
        >>> from syllabus_client.multiprocessing import make_multiprocessing_curriculum
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> from syllabus_client.wrappers import NextTaskWrapper, TaskWrapper
        >>> from syllabus_service.curricula import create
        >>> in_turn = create("manual", DiscreteTaskSpace(9), {"tasks": [0, 1, 2, 3]}, seed=1)
        >>> curriculum, task_queue, update_queue = make_multiprocessing_curriculum(in_turn)
        >>> cartpole = lambda: NextTaskWrapper(TaskWrapper(gym.make("CartPole-v1")))
        >>> envs = VectorSyncWrapper(gym.vector.SyncVectorEnv([cartpole, cartpole]), task_queue)
        >>> observations, infos = envs.reset(seed=1)
        >>> infos["task"]
        array([0, 1])
        >>> envs.close()
        >>> curriculum.close()
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[ObsType, ActType, ArrayType],
        target: str | ServiceHandle | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        env_id: int | None = None,
        settings: SessionSettings | None = None,
        remove_keys: Collection[str] = (),
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, target=target, curriculum=curriculum, env_id=env_id, settings=settings, remove_keys=remove_keys
        )
        super().__init__(env)
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._tasks = vector_tasks(env)
        self._link = SessionLink(
            target, curriculum=curriculum, token=token, settings=settings, num_envs=env.num_envs, env_id=env_id
        )
        self._remove_keys = frozenset(remove_keys)
        n = env.num_envs
        self._returns = np.zeros(n)
        self._lengths = np.zeros(n, dtype=np.int64)
        self._completions = np.zeros(n)
        self._purposes = np.full(n, "train", dtype="<U8")
        self._everyone = np.ones(n, dtype=np.bool_)
        self._everyone.flags.writeable = False  # it is in every infos
        self._forget()

    def _forget(self) -> None:
        """Hold nothing: no episode runs, no task is set ahead."""
        n = self.env.num_envs
        self._running = np.zeros(n, dtype=np.bool_)
        self._resetting = np.zeros(n, dtype=np.bool_)  # reset by the next step
        self._ids = np.zeros(n, dtype=np.uint64)
        self._ahead = np.zeros(n, dtype=np.bool_)  # has the task of its next episode
        self._ahead_ids = np.zeros(n, dtype=np.uint64)
        self._ahead_purposes = np.zeros(n, dtype=np.uint8)
        self._encoded: np.ndarray | None = None  # (n, *encoded_shape), from the first reset on
        self._ahead_encoded: np.ndarray | None = None

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Connects; waits as ``reset`` may."""
        return self._link.session.task_space

    @property
    def env_ids(self) -> np.ndarray:
        """int64 (num_envs,): identities of the environments. Connects."""
        self._link.session  # noqa: B018 - draws the identities in the process that uses them
        return self._link.env_id + np.arange(self.env.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``, each to a task of the curriculum.

        Raises as ``GymnasiumSyncWrapper.reset`` does.
        """
        mask = self._reset_mask(options)
        if not self._link.is_open:
            self._forget()
        self._release(mask & self._running)
        self._running = self._running & ~mask
        self._resetting = self._resetting & ~mask
        self._draw(mask & ~self._ahead)
        # A copy: gymnasium takes reset_mask out of the options that it is given.
        observations, infos = self.env.reset(seed=seed, options=None if options is None else dict(options))  # type: ignore[arg-type]
        self._begin(mask)
        if self._mode == AutoresetMode.SAME_STEP:
            self._draw(mask)
        self._describe(infos)
        return observations, infos

    def step(self, actions: ActType) -> tuple[ObsType, ArrayType, ArrayType, ArrayType, dict[str, Any]]:
        """Step all environments. Waits for tasks as ``reset`` does, where episodes have ended."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        if not self._link.is_open:
            return observations, rewards, terminations, truncations, infos
        if self._resetting.any():
            self._begin(self._resetting)
            counted = self._running & ~self._resetting
            self._resetting = np.zeros_like(self._resetting)
        else:
            counted = self._running
        reward = np.asarray(rewards, dtype=np.float64)
        ended = counted & (np.asarray(terminations, dtype=np.bool_) | np.asarray(truncations, dtype=np.bool_))
        np.add(self._returns, reward, out=self._returns, where=counted)
        np.add(self._lengths, 1, out=self._lengths, where=counted)
        self._note_completions(infos, counted, ended)
        if self._link.session.requires_step_updates:
            self._report_steps(counted, ended, observations, reward, terminations, truncations, infos)
        if ended.any():
            self._report(ended, infos)
            self._running = self._running & ~ended
            if self._mode == AutoresetMode.NEXT_STEP:
                self._draw(ended)
                self._resetting = ended
            elif self._mode == AutoresetMode.SAME_STEP:
                self._begin(ended)
                self._draw(ended)
        self._describe(infos)
        return observations, rewards, terminations, truncations, infos

    def close(self, **kwargs: Any) -> None:
        """Give all assignments back, deliver what was reported, and close the environment."""
        try:
            self._release(self._running)
            self._link.release(self._ahead_ids[self._ahead])
            self._link.close()
            self._forget()
        finally:
            self.env.close(**kwargs)

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        if options is None or "reset_mask" not in options:
            return np.ones(self.env.num_envs, dtype=np.bool_)
        mask = options["reset_mask"]
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.env.num_envs,):
            raise ValueError(f"options['reset_mask']: expected a bool array ({self.env.num_envs},), got {mask!r}")
        return mask.copy()

    def _draw(self, mask: np.ndarray) -> None:
        """Draw tasks for the next episodes of ``mask`` and set them."""
        count = int(mask.sum())
        if not count:
            return
        drawn = self._link.session.next_tasks(count)
        space = self._link.session.task_space
        if self._ahead_encoded is None:
            self._ahead_encoded = np.zeros((len(mask), *space.encoded_shape), dtype=space.encoded_dtype)
        self._remember(mask, drawn)
        self._tasks.set_tasks(mask, space.decode_many(drawn.encoded))

    def _remember(self, mask: np.ndarray, drawn: Assignments) -> None:
        self._ahead = self._ahead | mask
        self._ahead_ids[mask] = drawn.ids
        self._ahead_purposes[mask] = drawn.purposes
        self._ahead_encoded[mask] = drawn.encoded  # type: ignore[index]

    def _begin(self, mask: np.ndarray) -> None:
        """The environments of ``mask`` were reset: the tasks that were set ahead run."""
        encoded = self._ahead_encoded[mask]  # type: ignore[index]
        if hasattr(self._tasks, "running_tasks"):
            running = self._tasks.running_tasks(mask)
            try:
                encoded = self._link.session.task_space.encode_many(running)
            except TaskNotInSpaceError as error:
                raise TaskNotInSpaceError(
                    f"{self.env} runs a task that the curriculum does not have: {error}"
                ) from error
        if self._encoded is None:
            self._encoded = np.zeros_like(self._ahead_encoded)
        # New arrays: the old ones are in infos that the caller may have kept.
        self._encoded = self._encoded.copy()
        self._encoded[mask] = encoded
        self._purposes = self._purposes.copy()
        self._purposes[mask] = np.where(self._ahead_purposes[mask] == EVALUATE, "evaluate", "train")
        self._ids[mask] = self._ahead_ids[mask]
        self._ahead = self._ahead & ~mask
        self._returns[mask] = 0.0
        self._lengths[mask] = 0
        self._completions[mask] = 0.0
        self._running = self._running | mask

    def _release(self, mask: np.ndarray) -> None:
        if mask.any():
            self._link.release(self._ids[mask])

    def _describe(self, infos: dict[str, Any]) -> None:
        if self._encoded is not None:
            infos["task"], infos["_task"] = self._encoded, self._everyone
            infos["task_purpose"], infos["_task_purpose"] = self._purposes, self._everyone

    def _note_completions(self, infos: Mapping[str, Any], counted: np.ndarray, ended: np.ndarray) -> None:
        final = infos.get("final_info") if self._mode == AutoresetMode.SAME_STEP else None
        for source, rows in ((infos, counted & ~ended if isinstance(final, Mapping) else counted), (final, ended)):
            if isinstance(source, Mapping) and "task_completion" in source:
                rows = rows & source.get("_task_completion", True)
                self._completions[rows] = np.asarray(source["task_completion"], dtype=np.float64)[rows]

    def _report(self, ended: np.ndarray, infos: Mapping[str, Any]) -> None:
        metrics = self._metrics(infos)
        self._link.session.report_episodes(
            self._ids[ended],
            self._encoded[ended],  # type: ignore[index]
            self._returns[ended],
            self._lengths[ended],
            np.clip(self._completions[ended], 0.0, 1.0),
            self._link.env_id + np.flatnonzero(ended),
            {name: column[ended] for name, column in metrics.items()} or None,
        )

    def _metrics(self, infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The ``episode_metrics``, float64 (n,) each, NaN where an environment gives none."""
        source = infos.get("final_info") if self._mode == AutoresetMode.SAME_STEP else None
        if not isinstance(source, Mapping):
            source = infos
        metrics = source.get("episode_metrics", {})
        return {
            name: np.where(metrics.get(f"_{name}", True), np.asarray(column, dtype=np.float64), np.nan)
            for name, column in metrics.items()
            if not (name.startswith("_") and name[1:] in metrics)
        }

    def _report_steps(
        self,
        counted: np.ndarray,
        ended: np.ndarray,
        observations: Any,
        rewards: np.ndarray,
        terminations: Any,
        truncations: Any,
        infos: Mapping[str, Any],
    ) -> None:
        rows = counted & np.isfinite(rewards)
        arrays = observation_columns(observations, self._remove_keys, num_envs=len(rows))
        if self._mode == AutoresetMode.SAME_STEP and "final_obs" in infos:  # observations are the next episodes' first
            for row in np.flatnonzero(rows & ended):
                for name, value in observation_columns(infos["final_obs"][row], self._remove_keys).items():
                    arrays[name][row] = value
        self._link.session.report_steps(
            self._ids[rows],
            self._encoded[rows],  # type: ignore[index]
            rewards[rows],
            np.asarray(terminations, dtype=np.bool_)[rows],
            np.asarray(truncations, dtype=np.bool_)[rows],
            self._link.env_id + np.flatnonzero(rows),
            {name: column[rows] for name, column in arrays.items()},
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        n = self.env.num_envs
        nobody = np.zeros(n, dtype=np.bool_)
        return {**state, "_running": nobody, "_resetting": nobody.copy(), "_ahead": nobody.copy()}

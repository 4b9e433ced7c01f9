"""GymnasiumSyncWrapper: one environment under a curriculum."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Generic, SupportsFloat

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from syllabus_client.settings import SessionSettings
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wrappers._episode import Episode
from syllabus_client.wrappers._new_task import require_new_task
from syllabus_client.wrappers._session_link import ServiceHandle, SessionLink
from syllabus_client.wrappers._step_buffer import StepBuffer

_ABSENT = object()


class GymnasiumSyncWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs, Generic[ObsType, ActType]
):
    """Runs each episode on the task that the curriculum hands out, and reports how it went.

    ``reset`` passes the next task to the environment's ``reset(new_task=...)`` with the caller's seed and options; the
    end of the episode reports its return, length and progress. One assignment belongs to each episode: an episode that
    is cut off by ``reset`` or ``close`` gives its assignment back, and steps after an episode's end count for nothing.

    The environment tells, in the info of ``step``:

    - ``task_completion``: how far the task has been completed, in [0, 1]; the last one is the episode's progress, and 0
      where there is none. Below 0 says that the task has failed; it counts as 0.
    - ``episode_metrics``, with an episode's last step: further scalars by name, such as ``score``.

    The wrapper adds to info, at ``reset`` and at each step of an episode:

    - ``task``: the encoded task that runs;
    - ``task_purpose``: "train", or "evaluate" for an episode that the learner must not train on;

    and at ``reset`` ``assignment_id`` and ``task_probability`` (NaN where the curriculum has no distribution).

    An environment may run another task than it is given: where it has an attribute ``task``, that is what is reported.
    An episode whose return is not finite is not counted; training goes on.

    The wrapper connects at the first ``reset``, in the process that calls it: it can be pickled, and made before a
    fork. Close it; what was reported is then in the service's journal.

    Args:
        env: an environment whose ``reset`` takes ``new_task`` (see ``TaskEnv`` and ``TaskWrapper``).
        target: address of the service such as ``"host:50051"`` or ``"unix:/run/syllabus.sock"``, or a handle such as
            ``task_queue``; None: SYLLABUS_TARGET.
        curriculum: its name; None: SYLLABUS_CURRICULUM, or the handle's.
        token: what lets this process in; None: SYLLABUS_TOKEN, or the handle's. A secret: not part of ``spec``.
        env_id: identity of this environment, kept across restarts of its process, 0 to 2**63 - 1; None: a new one.
        settings: of the process's session, which all wrappers with equal arguments share.
        change_task_on_completion: whether a task that is completed (``task_completion`` of 1 or more) or failed (below
            0) ends there, in the middle of the environment's episode: what was done for it is reported as its episode,
            and the environment's ``change_task`` gets the next one. Where that step ends the episode anyway, the next
            ``reset`` brings the next task.
        task_attribute: name of the attribute that tells what runs; None: what was assigned is what runs.
        remove_keys: entries of the observation that are not sent to a curriculum that requires step updates, such as
            ``"image"`` or, of a nested dict, ``"camera.left"``; ``"observation"``: all of it.

    Raises:
        NoTaskInResetError: ``reset`` of ``env`` takes no ``new_task``.
        TypeError: ``change_task_on_completion`` without a ``change_task`` in ``env``.

    Example:
        >>> from syllabus_client.multiprocessing import make_multiprocessing_curriculum
        >>> from syllabus_client.task_spaces import DiscreteTaskSpace
        >>> from syllabus_client.wrappers import TaskWrapper
        >>> from syllabus_service.curricula import create
        >>> lengths = create("domain_randomization", DiscreteTaskSpace(3), seed=1)
        >>> curriculum, task_queue, update_queue = make_multiprocessing_curriculum(lengths)
        >>> env = GymnasiumSyncWrapper(TaskWrapper(gym.make("CartPole-v1", max_episode_steps=5)), task_queue)
        >>> observation, info = env.reset(seed=1)
        >>> info["task"] in range(3), info["task_purpose"]
        (True, 'train')
        >>> env.close()
        >>> curriculum.close()
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        target: str | ServiceHandle | None = None,
        *,
        curriculum: str | None = None,
        token: str | None = None,
        env_id: int | None = None,
        settings: SessionSettings | None = None,
        change_task_on_completion: bool = False,
        task_attribute: str | None = "task",
        remove_keys: Collection[str] = (),
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            target=target,
            curriculum=curriculum,
            env_id=env_id,
            settings=settings,
            change_task_on_completion=change_task_on_completion,
            task_attribute=task_attribute,
            remove_keys=remove_keys,
        )
        gym.Wrapper.__init__(self, env)
        require_new_task(env, self.class_name())
        if change_task_on_completion and not env.has_wrapper_attr("change_task"):
            raise TypeError(f"change_task_on_completion: expected an environment with change_task, got {env}")
        link = SessionLink(target, curriculum=curriculum, token=token, settings=settings, env_id=env_id)
        self._episode = Episode(link)
        self._return = 0.0
        self._steps: StepBuffer | None = None
        self._change_task_on_completion = change_task_on_completion
        self._task_attribute = task_attribute
        self._remove_keys = tuple(remove_keys)

    @property
    def task_space(self) -> TaskSpace:
        """The curriculum's tasks. Connects; waits as ``reset`` may."""
        return self._episode.link.session.task_space

    @property
    def env_id(self) -> int:
        """Identity of this environment. Connects."""
        self._episode.link.session  # noqa: B018 - draws the identity in the process that uses it
        return self._episode.link.env_id

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset the environment to the curriculum's next task.

        Raises TaskTimeoutError or another CurriculumServiceError where no task can be had, and TaskNotInSpaceError
        where the environment runs a task that the curriculum does not have.
        """
        episode = self._episode
        if episode.assignment is not None:
            self._release()
        if self._steps is None and episode.link.session.requires_step_updates:
            self._steps = StepBuffer(episode.link, self._remove_keys)
        observation, info = episode.start(
            lambda task: self.env.reset(seed=seed, options=options, new_task=task),  # type: ignore[call-arg]
            self._running_task,
        )
        self._return = 0.0
        info["task"] = episode.encoded
        info["task_purpose"] = episode.purpose
        assignment: Any = episode.assignment
        info["assignment_id"] = assignment.id
        info["task_probability"] = math.nan if assignment.probability is None else assignment.probability
        return observation, info

    def step(self, action: ActType) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment; the step that ends an episode reports it. Never waits for the network.

        Where a task ends in the middle of an episode (``change_task_on_completion``), it waits as ``reset`` may.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        episode = self._episode
        if episode.assignment is not None:
            self._return += float(reward)
            episode.length += 1
            completion = info.get("task_completion")
            if completion is not None:
                episode.completion = float(completion)
            info["task"] = episode.encoded
            info["task_purpose"] = episode.purpose
            if self._steps is not None:
                self._steps.add(
                    episode.assignment.id,
                    episode.encoded,
                    observation,
                    float(reward),
                    bool(terminated),
                    bool(truncated),
                )
            if terminated or truncated:
                self._report(info)
            elif self._change_task_on_completion and episode.task_is_over:
                self._report(info)
                episode.start(self.env.get_wrapper_attr("change_task"), self._running_task)
                self._return = 0.0
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Give an unfinished episode's assignment back, deliver what was reported, and close the environment."""
        try:
            self._release()
            self._steps = None
            self._episode.close()
        finally:
            self.env.close()

    def _running_task(self) -> Any:
        name, layer = self._task_attribute, self.env
        while name is not None:  # as get_wrapper_attr, without the cost of its errors
            told = getattr(layer, name, _ABSENT)
            if told is not _ABSENT:
                return told
            if not isinstance(layer, gym.Wrapper):
                return None
            layer = layer.env
        return None

    def _flush_steps(self) -> None:
        if self._steps is not None:
            self._steps.flush()

    def _release(self) -> None:
        self._flush_steps()
        self._episode.release()

    def _report(self, info: dict[str, Any]) -> None:
        self._flush_steps()
        self._episode.report(self._return, info.get("episode_metrics"))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_steps": None}

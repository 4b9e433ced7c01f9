"""A Ray cluster: the service runs embedded in a named actor, found by name from any node. Needs the extra ``ray``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from syllabus_client.client import CurriculumClient
from syllabus_client.wrappers.gymnasium import GymnasiumSyncWrapper

if TYPE_CHECKING:
    from syllabus_service.curricula import Curriculum

NAMESPACE = "syllabus"  #: Ray namespace of the actors, so that jobs of any namespace find them
_LOOKUP_SECONDS = 30.0


class CurriculumActorNotFoundError(LookupError):
    """No curriculum of that name runs in this Ray cluster."""


@dataclass(frozen=True)
class RayCurriculumHandle:
    """Finds the curriculum of a Ray cluster by name. Give it to any wrapper as its ``target``."""

    name: str = "curriculum"
    """Name of the actor, and of the curriculum that it serves."""
    namespace: str = NAMESPACE
    """Ray namespace of the actor."""

    def resolve(self) -> tuple[str, str, str | None]:
        """Target, curriculum and token, as a ``ServiceHandle`` tells them. Asks Ray, in the process that connects.

        Raises CurriculumActorNotFoundError where no such actor runs.
        """
        import ray

        try:
            actor = ray.get_actor(self.name, namespace=self.namespace)
        except ValueError as error:
            raise CurriculumActorNotFoundError(
                f"no curriculum {self.name!r} runs in Ray's namespace {self.namespace!r}; the learner makes it with "
                f"make_ray_curriculum(curriculum, name={self.name!r}) and keeps what that returns"
            ) from error
        target, token = ray.get(actor.address.remote(), timeout=_LOOKUP_SECONDS)
        return target, self.name, token


class RayCurriculum(CurriculumClient):
    """The learner's handle of a curriculum in a Ray actor. The actor lives as long as this handle.

    A copy, in this process or another, is only a client: closing it ends nothing.

    Attributes:
        handle: finds the actor by name; a ``target`` for any wrapper.
    """

    def __init__(
        self, actor: Any, handle: RayCurriculumHandle, target: str, token: str, *, timeout: float, **kwargs: Any
    ) -> None:
        self._actor = actor
        self._stop_timeout = timeout
        self.handle = handle
        super().__init__(target, curriculum=handle.name, token=token, timeout=timeout, **kwargs)

    def close(self) -> None:
        """Disconnect, and end the service and its actor."""
        import ray

        try:
            super().close()
        finally:
            actor, self._actor = self._actor, None
            if actor is not None and ray.is_initialized():
                try:
                    ray.get(actor.stop.remote(), timeout=self._stop_timeout)
                finally:
                    ray.kill(actor)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_actor": None}


def make_ray_curriculum(
    curriculum: Curriculum,
    *,
    name: str = "curriculum",
    namespace: str = NAMESPACE,
    host: str | None = None,
    lease: float = 120.0,
    timeout: float = 60.0,
    **kwargs: Any,
) -> RayCurriculum:
    """Serve a curriculum to a Ray cluster.

    The service runs in a named actor, which takes no CPU from Ray's count, and listens on a free port of its node's
    address. It asks for a token of its own, which Ray hands out with its address: who may not use the Ray cluster may
    not use the service. There is no TLS: who can read what the cluster's nodes say to each other can read this, too,
    and the token. It ends with the handle that is returned.

    Args:
        curriculum: the curriculum. A copy goes to the actor and learns there; this one does not.
        name: of the actor and of the curriculum: at most 128 characters from [A-Za-z0-9._-].
        namespace: Ray namespace of the actor.
        host: address to listen on; None: that of the actor's node. "127.0.0.1" on a cluster of one machine.
        lease: seconds that a worker may stay silent before its assignments are abandoned, more than 0.
        timeout: seconds that the start may take, and that the learner's calls may.
        **kwargs: further arguments of ``CurriculumClient``.

    Raises:
        ValueError: the name is taken in this cluster.
        ray.exceptions.RayError: the service did not start; with its traceback.
        ray.exceptions.GetTimeoutError: it took longer than ``timeout``.
    """
    import cloudpickle
    import ray

    from syllabus_service.ray_engine.actor import CurriculumActor
    from syllabus_service.ray_engine.settings import Given

    handle = RayCurriculumHandle(name, namespace)
    given = Given(cloudpickle.dumps(curriculum), lease, host)
    actor = ray.remote(CurriculumActor).options(name=name, namespace=namespace, num_cpus=0).remote(name, given)
    try:
        target, token = ray.get(actor.address.remote(), timeout=timeout)
        return RayCurriculum(actor, handle, target, token, timeout=timeout, **kwargs)
    except BaseException:
        ray.kill(actor)
        raise


class RaySyncWrapper(GymnasiumSyncWrapper[ObsType, ActType], Generic[ObsType, ActType]):
    """``GymnasiumSyncWrapper`` on the service of ``make_ray_curriculum``, found by name from any node.

    Args:
        env: an environment whose ``reset`` takes ``new_task``.
        name: that ``make_ray_curriculum`` was given.
        namespace: that ``make_ray_curriculum`` was given.
        **kwargs: further arguments of ``GymnasiumSyncWrapper``.
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        name: str = "curriculum",
        *,
        namespace: str = NAMESPACE,
        **kwargs: Any,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            name=name,
            namespace=namespace,
            **{key: value for key, value in kwargs.items() if key != "token"},
        )
        super().__init__(env, RayCurriculumHandle(name, namespace), **kwargs)

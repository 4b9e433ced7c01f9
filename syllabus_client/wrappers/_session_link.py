"""A wrapper's way to its session: opened on first use, in the process that uses it."""

from __future__ import annotations

import secrets
from typing import Any, Protocol, runtime_checkable

import numpy as np

from syllabus_client.forks import lineage
from syllabus_client.settings import SessionSettings
from syllabus_client.stream import EVALUATE, Session, open_session

PURPOSE_NAMES = {EVALUATE: "evaluate"}  # any other purpose is "train"


@runtime_checkable
class ServiceHandle(Protocol):
    """Something small and picklable that knows how to find a service."""

    def resolve(self) -> tuple[str, str, str | None]:
        """Target, name of the curriculum, and token or None. Called in the process that connects."""
        ...


class SessionLink:
    """Opens a session on first use and again in every process that the wrapper finds itself in.

    What a process holds (a session, assignments) does not travel: a link that was pickled, copied or forked is a new
    one with the same arguments.

    Args:
        target: address, or a ServiceHandle, or None for SYLLABUS_TARGET.
        curriculum: name, or None for SYLLABUS_CURRICULUM or the handle's.
        token: or None for SYLLABUS_TOKEN or the handle's.
        settings: of the session.
        num_envs: number of environments behind the wrapper, at least 1.
        env_id: of the first of them, or None for ids that no other environment has.
    """

    def __init__(
        self,
        target: str | ServiceHandle | None,
        *,
        curriculum: str | None,
        token: str | None,
        settings: SessionSettings | None,
        num_envs: int = 1,
        env_id: int | None = None,
    ) -> None:
        if env_id is not None and not 0 <= env_id <= 2**63 - num_envs:
            raise ValueError(f"env_id: expected an int from 0 to {2**63 - num_envs}, got {env_id!r}")
        self._target = target
        self._curriculum = curriculum
        self._token = token
        self._settings = settings or SessionSettings()
        self._num_envs = num_envs
        self._given_env_id = env_id
        self._forget()

    def _forget(self) -> None:
        self._session: Session | None = None
        self.env_id = -1

    @property
    def held(self) -> Session | None:
        """The session, where this process has it open, and so holds what was taken from it."""
        session = self._session
        return session if session is not None and session.generation == lineage.generation else None

    @property
    def is_open(self) -> bool:
        """Whether this process has the session open."""
        return self.held is not None

    @property
    def session(self) -> Session:
        """The session; opens it."""
        session = self._session
        if session is None or session.generation != lineage.generation:
            session = self._session = self._open()
        return session

    def _open(self) -> Session:
        target, curriculum, token = self._target, self._curriculum, self._token
        if isinstance(target, ServiceHandle):
            target, name, secret = target.resolve()
            curriculum, token = curriculum or name, token or secret
        session = open_session(target, curriculum=curriculum, token=token, settings=self._settings)
        session.add_environments(self._num_envs)
        # Drawn here, not in the constructor, so that copies in other processes are other environments.
        self.env_id = secrets.randbelow(2**63 - self._num_envs) if self._given_env_id is None else self._given_env_id
        return session

    def close(self) -> None:
        """Let go of the session, where this process has it open."""
        session, is_open = self._session, self.is_open
        self._forget()
        if session is not None and is_open:
            session.remove_environments(self._num_envs)
            session.close()

    def release(self, assignment_ids: list[int] | np.ndarray) -> None:
        """Give assignments back, where this process holds them."""
        if self.is_open:
            ids = [int(each) for each in assignment_ids if each]  # 0: a repeated task, which nobody holds
            if ids:
                self.session.release(ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "env_id": -1}

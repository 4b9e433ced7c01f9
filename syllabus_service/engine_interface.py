"""What the RPCs need of an engine and of the curricula that it serves: the interface that every engine implements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

from google.protobuf.message import Message

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import Command
from syllabus_service.errors import RequestError
from syllabus_service.limits import Limits
from syllabus_service.metrics.runner_tallies import Readings
from syllabus_service.sessions import Reply


class ServedCurriculum(Protocol):
    """One curriculum being served, wherever its state is. Used from one event loop.

    Every coroutine raises the RequestError of ``refusal`` while there is one, and Unavailable where it cannot be known
    whether the request took place; sent again, a command is recognised by its session and sequence.
    """

    @property
    def name(self) -> str:
        """The curriculum's name."""

    @property
    def incarnation(self) -> int:
        """Identity of its creation."""

    @property
    def spec(self) -> pb.CurriculumSpec:
        """What it was made from."""

    @property
    def task_space(self) -> TaskSpace:
        """Its tasks."""

    @property
    def requires_step_updates(self) -> bool:
        """Whether it learns from steps."""

    @property
    def lease_seconds(self) -> float:
        """How long a session may stay silent."""

    @property
    def refusal(self) -> RequestError | None:
        """Why every request is refused now, or None."""

    @property
    def available(self) -> bool:
        """Whether requests are taken, as far as is known here."""

    def readings(self) -> Readings | None:
        """What it counts, as it was last heard here, without waiting; None where that is too long ago.

        May be called from any thread.
        """

    async def describe(self, *, with_task_space: bool = True) -> pb.Curriculum:
        """The curriculum as a message. Its position is the newest that is known here."""

    async def attach(self, session_id: str) -> int:
        """Begin a stream of a session: the last sequence of it that was applied, which does not change any more.

        The session's newest stream wins: what an older one has not had applied by now is refused as Aborted.
        """

    def detach(self, session_id: str) -> None:
        """The newest stream of a session has ended."""

    async def enqueue(self, command: Command) -> asyncio.Future[Reply]:
        """Queue a command of an attached session; waits while there is no room, so that senders are slowed.

        Commands are applied in the order in which they were queued. The future answers when the command is durable; it
        raises the RequestError of a refused one.
        """

    async def submit(self, command: Command) -> Reply:
        """Apply a command of any session, attached or not, and wait for its answer."""

    async def ask(self, question: Message) -> Message:
        """The answer to a question about the state, all of which is durable. See ``questions``."""

    def touch(self, session_id: str) -> None:
        """Note that a session was heard: its lease starts anew."""


class Engine(Protocol):
    """All curricula of a service, by name. Used from one event loop, between entering and leaving it."""

    @property
    def limits(self) -> Limits:
        """Bounds for clients."""

    @property
    def available(self) -> bool:
        """Whether the service is fit to be sent requests."""

    def on_available_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the loop whenever ``available`` may have changed."""

    @property
    def served(self) -> Sequence[ServedCurriculum]:
        """The curricula that are known to be served, ordered by name, without asking anybody."""

    @property
    def away(self) -> Sequence[str]:
        """Names of those that there are, and that could not be reached to be served, as of the last try."""

    @property
    def num_broken(self) -> int:
        """Curricula that could not be recovered, or are half deleted, as of the last try."""

    async def get(self, name: str) -> ServedCurriculum:
        """The curriculum of this name. Raises NotFound, FailedPrecondition, Unavailable."""

    async def list(self) -> Sequence[ServedCurriculum]:
        """All curricula that are served, ordered by name."""

    async def create(
        self, name: str, spec: pb.CurriculumSpec, *, allow_existing: bool = False, trusted: bool = False
    ) -> ServedCurriculum:
        """Create a curriculum.

        Args:
            name: its name.
            spec: what it is made from.
            allow_existing: whether a curriculum of this name with an equal spec is an answer, too.
            trusted: whether the spec is the operator's own, so that it may name any ``module:Class``.

        Raises:
            InvalidArgument, AlreadyExists, ResourceExhausted, Unavailable: as the contract says.
        """

    async def delete(self, name: str) -> None:
        """Delete a curriculum and all that is stored of it. Raises NotFound, Unavailable."""

    def expect(self, names: Iterable[str]) -> None:
        """Curricula of these names are about to be created.

        Until they are, requests for them are Unavailable and not NotFound, and the engine is not ``available``.
        """

    def expect_no_more(self, name: str) -> None:
        """It will not be created, or it has been."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""

"""RayEngine: the curricula of a store, each in a Ray actor, as a stateless front door serves them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import check_name
from syllabus_service.engine import store_refusals
from syllabus_service.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    RequestError,
    ResourceExhausted,
    Unavailable,
)
from syllabus_service.limits import Limits
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.actor_calls import ActorCalls
from syllabus_service.ray_engine.link import RayLink
from syllabus_service.ray_engine.remote_curriculum import RemoteCurriculum
from syllabus_service.ray_engine.settings import RayCluster, Stored
from syllabus_service.specs import build_curriculum
from syllabus_service.store import CurriculumExistsError, Durability, StoredCurriculum

if TYPE_CHECKING:
    from syllabus_service.store.postgresql import PostgresqlStore

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_STOP_SECONDS = 5.0
_ROLL_CALL_SECONDS = 10.0
_LIST_SECONDS = 5.0  # how long a list waits for the actors of curricula that were not met before


class RayEngine:
    """Serves the curricula of a store from the actors of a Ray cluster; see ``Engine``.

    Which curricula there are is the store's to say, and what happens to one is its actor's, so that any number of
    engines, in any processes, serve the same curricula. Nothing is kept here but what a client sends again.

    While Ray or an actor is away, requests are Unavailable; whoever needs an actor next has Ray make it, and the actor
    recovers its curriculum from the store. A roll call every 10 s looks which curricula the store has, and meets the
    actors of those that are new here.

    Args:
        store: a PostgreSQL database, open; it stays the caller's.
        store_url: the same, for the actors.
        durability: what their commits wait for.
        cluster: where Ray is.
        limits: bounds for clients.
        allowed_curricula: algorithms of the form ``module:Class`` that a spec from the network may name.
    """

    def __init__(
        self,
        store: PostgresqlStore,
        store_url: str,
        durability: Durability = Durability.FSYNC,
        *,
        cluster: RayCluster | None = None,
        limits: Limits | None = None,
        allowed_curricula: Collection[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        cluster = cluster or RayCluster()
        source = Stored(
            store_url, durability.value, self.limits, store.identity, store.epoch, cluster.cpus_per_curriculum
        )
        self._store = store
        self._link = RayLink(cluster, source)
        self._actors = ActorCalls(self._link, source, self._available_changed)
        self._allowed = frozenset(allowed_curricula)
        self._listeners: list[Callable[[], None]] = []
        self._known: dict[str, RemoteCurriculum] = {}
        self._unmet: dict[str, RequestError] = {}  # of the last try to meet each, by name
        self._meeting: dict[str, asyncio.Task[RemoteCurriculum]] = {}
        self._calling_the_roll: asyncio.Task[None] | None = None
        self._uncertain: dict[str, int] = {}  # incarnations by name, of creations whose answer was lost
        self._expected: set[str] = set()
        self._changing = asyncio.Lock()
        self._work = ThreadPoolExecutor(2, "engine")

    async def __aenter__(self) -> Self:
        self._link.on_change(self._available_changed)
        self._link.start()
        self._calling_the_roll = asyncio.create_task(self._call_the_roll_forever())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Answer what is under way, for at most 5 s, and let go of Ray. The curricula live on."""
        background = [task for task in (self._calling_the_roll, *self._meeting.values()) if task is not None]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        known = list(self._known.values())
        for curriculum in known:
            curriculum.end(Unavailable("the service is stopping"))
        finishing = [asyncio.create_task(curriculum.finish()) for curriculum in known]
        if finishing:
            await asyncio.wait(finishing, timeout=_STOP_SECONDS)
        await self._link.stop()  # what is still under way ends with it
        await asyncio.gather(*finishing)
        self._work.shutdown()

    @property
    def available(self) -> bool:
        """Whether Ray can be reached, its actors take calls of this front door, and what is expected is stored. A
        curriculum that cannot be served now keeps no client of the others out."""
        return self._unreachable() is None and self._actors.outdated is None and not self._expected

    def on_available_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the loop whenever ``available`` may have changed."""
        self._listeners.append(listener)

    def expect(self, names: Iterable[str]) -> None:
        """See ``Engine``."""
        self._expected.update(names)
        self._available_changed()

    def expect_no_more(self, name: str) -> None:
        """See ``Engine``."""
        self._expected.discard(name)
        self._available_changed()

    def _available_changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _unreachable(self) -> Unavailable | None:
        return self._link.refusal

    @property
    def served(self) -> Sequence[RemoteCurriculum]:
        """See ``Engine``."""
        return [self._known[name] for name in sorted(self._known)]

    @property
    def away(self) -> Sequence[str]:
        """See ``Engine``."""
        return sorted(name for name, why in self._unmet.items() if isinstance(why, Unavailable))

    @property
    def num_broken(self) -> int:
        """See ``Engine``."""
        reasons = [*self._unmet.values(), *(each.trouble for each in self._known.values())]
        return sum(isinstance(why, FailedPrecondition) for why in reasons)

    # Curricula

    async def get(self, name: str) -> RemoteCurriculum:
        """The curriculum of this name. Raises NotFound, Unavailable, FailedPrecondition for one that is broken."""
        if (known := self._known.get(name)) is not None:
            return known
        check_name(name, "curriculum")
        stored = await self._find(name)
        if stored is None:
            if name in self._expected:
                raise Unavailable(f"curriculum {name} is about to be created")
            raise NotFound(f"curriculum: there is none named {name!r}", field="curriculum")
        return await self._meet(stored)

    async def list(self) -> Sequence[RemoteCurriculum]:
        """All curricula that are served, ordered by name. Those whose actors do not say what they are within 5 s are
        left out. Raises Unavailable where the store or Ray cannot be reached."""
        if (refusal := self._unreachable()) is not None:
            raise refusal
        with store_refusals():
            stored = await self._in_thread(self._store.list_curricula)
        if unmet := [self._begin_to_meet(each) for each in stored if not self._has_met(each)]:
            await asyncio.wait(unmet, timeout=_LIST_SECONDS)
        return [self._known[each.name] for each in stored if self._has_met(each)]

    async def create(
        self, name: str, spec: pb.CurriculumSpec, *, allow_existing: bool = False, trusted: bool = False
    ) -> RemoteCurriculum:
        """See ``Engine``. Of two front doors that create one name at the same time, the store lets one."""
        check_name(name, "name")
        async with self._changing:
            stored = await self._find(name)
            if stored is None:
                stored = await self._store_new(name, spec, trusted)
            else:
                self._check_same(stored, spec, allow_existing)
        self.expect_no_more(name)  # it is stored: whether its actor can be reached now is another question
        return await self._meet(stored)

    async def delete(self, name: str) -> None:
        """Delete a curriculum and all that is stored of it. Raises NotFound, Unavailable."""
        check_name(name, "curriculum")
        stored = await self._find(name)
        if stored is None:
            await self._link.forget(name)  # there is one where the answer to its deletion was lost
            raise NotFound(f"curriculum: there is none named {name!r}", field="curriculum")
        await self._actors.call(name, calls.Call(incarnation=stored.incarnation, delete=calls.Delete()))
        self._unmet.pop(name, None)
        if (known := self._known.get(name)) is not None and known.incarnation == stored.incarnation:
            known.end(NotFound(f"curriculum: {name!r} was deleted", field="curriculum"))
        await self._link.forget(name)

    async def _store_new(self, name: str, spec: pb.CurriculumSpec, trusted: bool) -> StoredCurriculum:
        # Built to see that it can be, and to refuse what cannot with the field's name; its actor builds its own.
        await self._in_thread(
            lambda: build_curriculum(spec, may_import=lambda algorithm: trusted or algorithm in self._allowed)
        )
        with store_refusals():
            if len(await self._in_thread(self._store.list_curricula)) >= self.limits.max_curricula:
                raise ResourceExhausted(
                    f"name: there are {self.limits.max_curricula} curricula, and no more are allowed"
                )
            new = StoredCurriculum(name, secrets.randbelow(2**64 - 1) + 1, spec.SerializeToString(deterministic=True))
            self._uncertain[name] = new.incarnation
            try:
                await self._in_thread(self._store.create_curriculum, new.name, new.incarnation, new.spec)
            except CurriculumExistsError:
                del self._uncertain[name]
                raise
        del self._uncertain[name]
        _log.info("curriculum_created", curriculum=name, algorithm=spec.algorithm)
        return new

    def _check_same(self, stored: StoredCurriculum, spec: pb.CurriculumSpec, allow_existing: bool) -> None:
        mine = self._uncertain.pop(stored.name, None) == stored.incarnation
        same = pb.CurriculumSpec.FromString(stored.spec) == spec
        if not (same and (allow_existing or mine)):
            other = "" if same else ", of another spec"
            raise AlreadyExists(f"name: there is a curriculum named {stored.name!r}{other}", field="name")

    async def _find(self, name: str) -> StoredCurriculum | None:
        with store_refusals():
            stored = await self._in_thread(self._store.find_curricula, [name])
        return stored[0] if stored else None

    # Meeting actors

    def _has_met(self, stored: StoredCurriculum) -> bool:
        known = self._known.get(stored.name)
        return known is not None and known.incarnation == stored.incarnation

    async def _meet(self, stored: StoredCurriculum) -> RemoteCurriculum:
        """The curriculum, once its actor has said what it is."""
        while True:
            if self._has_met(stored):
                return self._known[stored.name]
            met = await asyncio.shield(self._begin_to_meet(stored))
            if met.incarnation == stored.incarnation:
                return met

    def _begin_to_meet(self, stored: StoredCurriculum) -> asyncio.Task[RemoteCurriculum]:
        """The meeting under way; all who need the curriculum wait for the same."""
        if (meeting := self._meeting.get(stored.name)) is None:
            meeting = self._meeting[stored.name] = asyncio.create_task(self._ask_what_it_is(stored))
            meeting.add_done_callback(partial(self._end_meeting, stored))
        return meeting

    def _end_meeting(self, stored: StoredCurriculum, meeting: asyncio.Task[RemoteCurriculum]) -> None:
        del self._meeting[stored.name]
        error = None if meeting.cancelled() else meeting.exception()
        if isinstance(error, (Unavailable, FailedPrecondition)):
            self._unmet[stored.name] = error
        else:
            self._unmet.pop(stored.name, None)
        if error is not None and not isinstance(error, RequestError):
            _log.error("meeting_failed", curriculum=stored.name, exc_info=error)

    async def _ask_what_it_is(self, stored: StoredCurriculum) -> RemoteCurriculum:
        asking = calls.Call(incarnation=stored.incarnation, describe=calls.Describe())
        answer = await self._actors.call(stored.name, asking)
        if (known := self._known.get(stored.name)) is not None:
            known.end(NotFound(f"curriculum: {stored.name!r} was created anew", field="curriculum"))
        curriculum = self._known[stored.name] = RemoteCurriculum(
            stored.name,
            pb.CurriculumSpec.FromString(stored.spec),
            answer,
            actors=self._actors,
            unreachable=self._unreachable,
            exists=partial(self._exists, stored),
            on_end=self._forget,
        )
        return curriculum

    async def _call_the_roll_forever(self) -> None:
        while True:
            try:
                await self._call_the_roll()
            except Unavailable as refusal:
                _log.debug("roll_not_called", error=str(refusal))
            except Exception:  # noqa: BLE001 - logged, and tried again
                _log.exception("roll_call_failed")
            await asyncio.sleep(_ROLL_CALL_SECONDS)

    async def _call_the_roll(self) -> None:
        """Meet what is new in the store, and let go of what is not there any more."""
        known, unmet = list(self._known.values()), list(self._unmet)
        with store_refusals():
            stored = {each.name: each for each in await self._in_thread(self._store.list_curricula)}
        for each in known:
            there = stored.get(each.name)
            if there is None or there.incarnation != each.incarnation:
                each.end(NotFound(f"curriculum: {each.name!r} was deleted", field="curriculum"))
        for name in unmet:
            if name not in stored:
                self._unmet.pop(name, None)
        for new in stored.values():
            if not self._has_met(new):
                self._begin_to_meet(new)

    async def _exists(self, stored: StoredCurriculum) -> bool:
        try:
            found = await self._find(stored.name)
        except Unavailable:  # it cannot be known now
            return True
        return found is not None and found.incarnation == stored.incarnation

    def _forget(self, curriculum: RemoteCurriculum) -> None:
        if self._known.get(curriculum.name) is curriculum:
            del self._known[curriculum.name]

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._work, call, *args)

"""RayEngine: the curricula of a store, each in a Ray actor, as a stateless front door serves them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self, TypeVar

import structlog

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import check_name
from syllabus_service.engine import store_refusals
from syllabus_service.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from syllabus_service.limits import Limits
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.encoding import decode_refusal
from syllabus_service.ray_engine.link import RayLink
from syllabus_service.ray_engine.remote_curriculum import RemoteCurriculum
from syllabus_service.ray_engine.settings import RayCluster, Stored
from syllabus_service.specs import build_curriculum
from syllabus_service.store import CurriculumExistsError, Durability, Store, StoredCurriculum

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_STOP_SECONDS = 5.0


class RayEngine:
    """Serves the curricula of a store from the actors of a Ray cluster; see ``Engine``.

    Which curricula there are is the store's to say, and what happens to one is its actor's, so that any number of
    engines, in any processes, serve the same curricula. Nothing is kept here but what a client sends again.

    While Ray or an actor is away, requests are Unavailable; whoever needs an actor next has Ray make it, and the actor
    recovers its curriculum from the store.

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
        store: Store,
        store_url: str,
        durability: Durability = Durability.FSYNC,
        *,
        cluster: RayCluster | None = None,
        limits: Limits | None = None,
        allowed_curricula: Collection[str] = (),
    ) -> None:
        self.limits = limits or Limits()
        self._store = store
        self._link = RayLink(cluster or RayCluster(), Stored(store_url, durability.value, self.limits))
        self._allowed = frozenset(allowed_curricula)
        self._door = secrets.token_hex(8)
        self._known: dict[str, RemoteCurriculum] = {}
        self._meeting: dict[str, asyncio.Lock] = {}
        self._uncertain: dict[str, int] = {}  # incarnations by name, of creations whose answer was lost
        self._changing = asyncio.Lock()
        self._work = ThreadPoolExecutor(2, "engine")

    async def __aenter__(self) -> Self:
        self._link.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Answer what is under way, for at most 5 s, and let go of Ray. The curricula live on."""
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
        """Whether Ray can be reached. A curriculum that cannot be served now keeps no client of the others out."""
        return self._link.refusal is None

    def on_available_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the loop whenever ``available`` may have changed."""
        self._link.on_change(listener)

    # Curricula

    async def get(self, name: str) -> RemoteCurriculum:
        """The curriculum of this name. Raises NotFound, Unavailable, FailedPrecondition for one that is broken."""
        if (known := self._known.get(name)) is not None:
            return known
        check_name(name, "curriculum")
        stored = await self._find(name)
        if stored is None:
            raise NotFound(f"curriculum: there is none named {name!r}", field="curriculum")
        return await self._meet(stored)

    async def list(self) -> Sequence[RemoteCurriculum]:
        """All curricula that are served, ordered by name. Raises Unavailable."""
        with store_refusals():
            stored = await self._in_thread(self._store.list_curricula)
        met = await asyncio.gather(*(self._meet(each) for each in stored), return_exceptions=True)
        served = []
        for each in met:
            if isinstance(each, RemoteCurriculum):
                served.append(each)
            elif not isinstance(each, (NotFound, FailedPrecondition)):  # deleted meanwhile; cannot be recovered
                raise each
        return served

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
            return await self._meet(stored)

    async def delete(self, name: str) -> None:
        """Delete a curriculum and all that is stored of it. Raises NotFound, Unavailable."""
        check_name(name, "curriculum")
        async with self._changing:
            stored = await self._find(name)
            if stored is None:
                raise NotFound(f"curriculum: there is none named {name!r}", field="curriculum")
            call = calls.Call(door=self._door, delete=calls.Delete())
            answer = calls.Answer.FromString(await self._link.call(name, call.SerializeToString()))
            if answer.HasField("refusal"):
                raise decode_refusal(answer.refusal)
            await self._link.forget(name)
            if (known := self._known.get(name)) is not None:
                known.end(NotFound(f"curriculum: {name!r} was deleted", field="curriculum"))

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
            stored = await self._in_thread(self._store.list_curricula)
        return next((each for each in stored if each.name == name), None)

    async def _meet(self, stored: StoredCurriculum) -> RemoteCurriculum:
        """The curriculum, once its actor has said what it is."""
        async with self._meeting.setdefault(stored.name, asyncio.Lock()):
            known = self._known.get(stored.name)
            if known is not None and known.incarnation == stored.incarnation:
                return known
            call = calls.Call(door=self._door, incarnation=stored.incarnation, describe=calls.Describe())
            answer = calls.Answer.FromString(await self._link.call(stored.name, call.SerializeToString()))
            if answer.HasField("refusal"):
                raise decode_refusal(answer.refusal)
            if known is not None:
                known.end(NotFound(f"curriculum: {stored.name!r} was created anew", field="curriculum"))
            curriculum = RemoteCurriculum(
                stored.name,
                pb.CurriculumSpec.FromString(stored.spec),
                answer.description,
                door=self._door,
                link=self._link,
                exists=partial(self._exists, stored),
                on_end=self._forget,
            )
            self._known[stored.name] = curriculum
            return curriculum

    async def _exists(self, stored: StoredCurriculum) -> bool:
        try:
            found = await self._find(stored.name)
        except Unavailable:  # it cannot be known now
            return True
        return found is not None and found.incarnation == stored.incarnation

    def _forget(self, curriculum: RemoteCurriculum) -> None:
        if self._known.get(curriculum.name) is curriculum:
            del self._known[curriculum.name]
        self._meeting.pop(curriculum.name, None)

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._work, call, *args)

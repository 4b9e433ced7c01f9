"""LocalEngine: all curricula of one process, by name; creation, recovery, deletion."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self, TypeVar

import structlog

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.commands import Command, check_name
from syllabus_service.curricula import Curriculum
from syllabus_service.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    RequestError,
    ResourceExhausted,
    Unavailable,
)
from syllabus_service.host import CurriculumHost
from syllabus_service.limits import Limits
from syllabus_service.recovery import recover
from syllabus_service.runner import CurriculumRunner, Durable, RunnerSettings
from syllabus_service.sessions import Reply
from syllabus_service.specs import DEFAULT_LEASE_SECONDS, build_curriculum, lease_seconds
from syllabus_service.store import (
    CurriculumExistsError,
    CurriculumMissingError,
    Store,
    StoredCurriculum,
    StoreError,
    StoreFencedError,
    StoreUnavailableError,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOOK_SECONDS = 0.25


class LocalEngine:
    """Serves curricula from this process, each in a thread of its own.

    Used from one event loop: ``async with LocalEngine(store) as engine``. Entering recovers every stored curriculum;
    leaving commits what is queued and takes last snapshots. The store stays open: it is the caller's.

    Where the store is shared, a curriculum that another process creates later is taken over when it is first asked for.
    However many names are asked for that there are not, the store is asked four times a second at most; whoever asks
    waits for that.

    Args:
        store: where journals and snapshots go. None: nowhere; everything ends with the process.
        limits: bounds for clients.
        settings: bounds and times of each curriculum's thread.
        clock: seconds, monotonic; only leases and the times between snapshots follow it.
        allowed_curricula: algorithms of the form ``module:Class`` that a spec from the network may name.
        only: serve none of the stored curricula but the one of this name; None: all.
        can_hear: whether sessions could reach the engine lately; while they cannot, no lease runs.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        limits: Limits | None = None,
        settings: RunnerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        allowed_curricula: Collection[str] = (),
        only: str | None = None,
        can_hear: Callable[[], bool] = lambda: True,
    ) -> None:
        self.limits = limits or Limits()
        self._store = store
        self._settings = settings or RunnerSettings()
        self._clock = clock
        self._allowed = frozenset(allowed_curricula)
        self._only = only
        self._can_hear = can_hear
        self._runners: dict[str, CurriculumRunner] = {}
        self._broken: dict[str, RequestError] = {}  # Unavailable: another process has taken it over
        self._expected: set[str] = set()
        self._asked_for: set[str] = set()  # names that are not known here, for the next look into the store
        self._next_look: asyncio.Task[frozenset[str]] | None = None
        self._looks: set[asyncio.Task[frozenset[str]]] = set()
        self._looking = asyncio.Lock()
        self._look_at = 0.0
        self._uncertain: dict[str, int] = {}  # incarnations by name, of creations whose answer was lost
        self._changing = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._work = ThreadPoolExecutor(2, "engine")
        self._snapshot_writer = ThreadPoolExecutor(1, "snapshots")
        self._stopped = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recover what is stored. A curriculum that cannot be recovered is logged and refused; the others are served.

        Raises StoreUnavailableError where the store cannot be read at all, and StoreFencedError where the ``only``
        curriculum to serve has been taken over by another process already.
        """
        if self._store is None:
            return
        for stored in await self._in_thread(self._store.list_curricula):
            if not self._may_serve(stored.name):
                continue
            try:
                await self._take_up(self._store, stored)
            except CurriculumMissingError:  # deleted meanwhile
                continue
            except StoreFencedError:
                if self._only is not None:
                    raise

    async def stop(self) -> None:
        """Commit what is queued, take last snapshots, end all threads. Calling it again does nothing."""
        if self._stopped:
            return
        self._stopped = True
        for look in self._looks:
            look.cancel()
        runners = list(self._runners.values())
        for runner in runners:
            runner.refuse(Unavailable("the service is stopping"))
        await asyncio.gather(*(self._in_thread(runner.stop) for runner in runners))
        await asyncio.sleep(0)  # their last answers are on their way through the loop
        self._work.shutdown()
        self._snapshot_writer.shutdown()

    # Curricula

    async def get(self, name: str) -> CurriculumRunner:
        """The curriculum of this name.

        Raises NotFound, FailedPrecondition for one that could not be recovered, and Unavailable for one that is about
        to be created, was taken over by another process, or cannot be looked for now.
        """
        if (runner := self._runners.get(name)) is not None:
            return runner
        check_name(name, "curriculum")
        store = self._store if self._may_serve(name) and name not in self._broken else None
        if store is not None and store.is_shared and await self._is_stored(store, name):
            async with self._changing:
                if name not in self._runners and name not in self._broken:
                    await self._adopt(store, name)
        return self._get(name)

    def _get(self, name: str) -> CurriculumRunner:
        runner = self._runners.get(name)
        if runner is not None:
            return runner
        if (broken := self._broken.get(name)) is not None:
            raise broken
        check_name(name, "curriculum")
        if name in self._expected:
            raise Unavailable(f"curriculum {name} is about to be created")
        raise NotFound(f"curriculum: there is none named {name!r}", field="curriculum")

    def _may_serve(self, name: str) -> bool:
        return self._only in (None, name)

    async def list(self) -> Sequence[CurriculumRunner]:
        """All curricula that are served, ordered by name."""
        return self.served

    async def create(
        self, name: str, spec: pb.CurriculumSpec, *, allow_existing: bool = False, trusted: bool = False
    ) -> CurriculumRunner:
        """See ``Engine.create``."""
        check_name(name, "name")
        async with self._changing:
            existing = self._existing(name, spec, allow_existing)
            if existing is not None:
                return existing
            curriculum = await self._in_thread(
                lambda: build_curriculum(spec, may_import=lambda algorithm: trusted or algorithm in self._allowed)
            )
            lease = lease_seconds(spec)
            incarnation = secrets.randbelow(2**64 - 1) + 1
            if self._store is None:
                return self._host(name, incarnation, spec, curriculum, lease)
            if name in self._uncertain and await self._adopt(self._store, name):
                return self._same(name, spec, allow_existing)
            packed = spec.SerializeToString(deterministic=True)
            self._uncertain[name] = incarnation
            with store_refusals():
                try:
                    await self._in_thread(self._store.create_curriculum, name, incarnation, packed)
                except CurriculumExistsError:
                    del self._uncertain[name]
                    if not await self._adopt(self._store, name):
                        raise
                    return self._same(name, spec, allow_existing)
            del self._uncertain[name]
            make_host = self._host_maker(spec)
            host = CurriculumHost(curriculum, limits=self.limits, lease_seconds=lease)
            durable = self._durable(self._store, name, make_host)
            return self._register(self._run(name, incarnation, spec, host, durable))

    def host(
        self, name: str, curriculum: Curriculum, *, lease_seconds: float = DEFAULT_LEASE_SECONDS
    ) -> CurriculumRunner:
        """Serve a curriculum object of the caller's. It is not stored, and ends with the engine.

        Raises AlreadyExists where the name is taken, TypeError for a task space that the wire does not carry.
        """
        check_name(name, "name")
        if name in self._runners or name in self._broken:
            raise AlreadyExists(f"name: there is a curriculum named {name!r}", field="name")
        kind = type(curriculum)
        spec = pb.CurriculumSpec(
            algorithm=f"{kind.__module__}:{kind.__qualname__}", task_space=curriculum.task_space.to_proto()
        )
        spec.lease.FromNanoseconds(round(lease_seconds * 1e9))
        return self._host(name, secrets.randbelow(2**64 - 1) + 1, spec, curriculum, lease_seconds)

    async def delete(self, name: str) -> None:
        """Delete a curriculum and all that is stored of it. Raises NotFound, Unavailable."""
        with suppress(FailedPrecondition):  # one that could not be recovered can be deleted
            await self.get(name)
        async with self._changing:
            if name not in self._broken:
                runner = self._get(name)
                runner.refuse(NotFound(f"curriculum: {name!r} was deleted", field="curriculum"))
                await self._in_thread(lambda: runner.stop(keep=False))
                del self._runners[name]
            if self._store is not None:
                try:
                    with store_refusals():
                        await self._in_thread(self._store.delete_curriculum, name)
                except NotFound:
                    pass  # hosted for an object: never stored
                except Unavailable as refusal:
                    half = FailedPrecondition(f"curriculum {name} is half deleted: delete it again")
                    self._broken[name] = refusal if isinstance(refusal.__cause__, StoreFencedError) else half
                    raise
            self._broken.pop(name, None)

    # Commands and readings, by name

    async def submit(self, name: str, command: Command) -> Reply:
        """See ``CurriculumRunner.submit``."""
        return await self._get(name).submit(command)

    async def read(self, name: str, read: Callable[[CurriculumHost], T]) -> T:
        """See ``CurriculumRunner.read``."""
        return await self._get(name).read(read)

    # Availability

    @property
    def available(self) -> bool:
        """Whether every curriculum that is served, or is about to be, can be made durable now."""
        refusals = [runner.refusal for runner in self._runners.values()]
        return not self._expected and not any(
            isinstance(refusal, Unavailable) for refusal in (*refusals, *self._broken.values())
        )

    def is_taken_over(self, name: str) -> bool:
        """Whether another process has become the writer of a curriculum, so that it is refused here for good."""
        runner = self._runners.get(name)
        return isinstance(self._broken.get(name) if runner is None else runner.ended, Unavailable)

    @property
    def served(self) -> Sequence[CurriculumRunner]:
        """See ``Engine``: the same as ``list``."""
        return [self._runners[name] for name in sorted(self._runners)]

    @property
    def away(self) -> Sequence[str]:
        """See ``Engine``: those of this process are never away."""
        return ()

    @property
    def num_broken(self) -> int:
        """Curricula that could not be recovered, or are half deleted."""
        return sum(not isinstance(refusal, Unavailable) for refusal in self._broken.values())

    def expect(self, names: Iterable[str]) -> None:
        """See ``Engine``."""
        self._expected.update(name for name in names if name not in self._runners)
        self._available_changed()

    def expect_no_more(self, name: str) -> None:
        """See ``Engine``."""
        self._expected.discard(name)
        self._available_changed()

    def on_available_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` in the loop whenever ``available`` may have changed."""
        self._listeners.append(listener)

    def _available_changed(self) -> None:
        for listener in self._listeners:
            listener()

    # Making

    async def _take_up(self, store: Store, stored: StoredCurriculum) -> None:
        """Serve a stored curriculum as its writer; one that cannot be recovered is logged, and refused from now on.

        Raises StoreUnavailableError, CurriculumMissingError, and StoreFencedError where another process has taken it
        over: then it is refused here as one that was taken over while it was served.
        """
        try:
            spec = pb.CurriculumSpec.FromString(stored.spec)
            parts = await self._in_thread(self._recover_stored, store, stored, spec)
        except (StoreUnavailableError, CurriculumMissingError):
            raise
        except StoreFencedError as error:
            _log.error("curriculum_taken_over", curriculum=stored.name, error=str(error))
            self._broken[stored.name] = _taken_over(stored.name, error)
            self._available_changed()
            raise
        except Exception as error:  # noqa: BLE001 - logged, and told to whoever asks
            _log.exception("recovery_failed", curriculum=stored.name)
            self._broken[stored.name] = FailedPrecondition(f"curriculum {stored.name} could not be recovered: {error}")
        else:
            self._runners[stored.name] = self._run(stored.name, stored.incarnation, spec, *parts)
        self._expected.discard(stored.name)

    async def _adopt(self, store: Store, name: str) -> bool:
        """Take up what is stored under a name that is not known here. Returns whether there was anything.

        Another process has created it, or an earlier creation of this engine has, whose answer was lost. Called with
        ``_changing`` held. Raises Unavailable.
        """
        with store_refusals(), suppress(CurriculumMissingError):
            for stored in await self._in_thread(store.find_curricula, [name]):
                await self._take_up(store, stored)
                return True
        return False

    async def _is_stored(self, store: Store, name: str) -> bool:
        """Whether there is a curriculum of that name now. All who ask at the same time are answered by one look."""
        look = self._next_look
        if look is None:
            look = self._next_look = asyncio.create_task(self._look(store))
            self._looks.add(look)
            look.add_done_callback(self._looked)
        self._asked_for.add(name)
        try:
            return name in await asyncio.shield(look)
        except asyncio.CancelledError:
            if look.cancelled():
                raise Unavailable("the service is stopping") from None
            raise

    async def _look(self, store: Store) -> frozenset[str]:
        async with self._looking:
            await asyncio.sleep(self._look_at - asyncio.get_running_loop().time())
            names, self._asked_for, self._next_look = self._asked_for, set(), None
            self._look_at = asyncio.get_running_loop().time() + _LOOK_SECONDS
            with store_refusals():
                found = await self._in_thread(store.find_curricula, names)
            return frozenset(each.name for each in found)

    def _looked(self, look: asyncio.Task[frozenset[str]]) -> None:
        self._looks.discard(look)
        if not look.cancelled():
            look.exception()  # those who ask have been told, unless they have gone

    def _existing(self, name: str, spec: pb.CurriculumSpec, allow_existing: bool) -> CurriculumRunner | None:
        if name in self._runners or name in self._broken:
            return self._same(name, spec, allow_existing)
        if len(self._runners) >= self.limits.max_curricula:
            raise ResourceExhausted(f"name: there are {self.limits.max_curricula} curricula, and no more are allowed")
        return None

    def _same(self, name: str, spec: pb.CurriculumSpec, allow_existing: bool) -> CurriculumRunner:
        """A curriculum that exists, where it is what was to be created. Raises AlreadyExists, and why it is broken."""
        existing = self._get(name)
        is_mine = self._uncertain.pop(name, None) == existing.incarnation
        same = existing.spec == spec
        if not (same and (allow_existing or is_mine)):
            other = "" if same else ", of another spec"
            raise AlreadyExists(f"name: there is a curriculum named {name!r}{other}", field="name")
        return existing

    def _host(
        self, name: str, incarnation: int, spec: pb.CurriculumSpec, curriculum: Curriculum, lease: float
    ) -> CurriculumRunner:
        host = CurriculumHost(curriculum, limits=self.limits, lease_seconds=lease)
        return self._register(self._run(name, incarnation, spec, host, None))

    def _run(
        self, name: str, incarnation: int, spec: pb.CurriculumSpec, host: CurriculumHost, durable: Durable | None
    ) -> CurriculumRunner:
        return CurriculumRunner(
            name,
            incarnation,
            spec,
            host,
            durable=durable,
            settings=self._settings,
            clock=self._clock,
            can_hear=self._can_hear,
            on_available_change=self._available_changed,
        )

    def _register(self, runner: CurriculumRunner) -> CurriculumRunner:
        self._runners[runner.name] = runner
        self._expected.discard(runner.name)
        _log.info("curriculum_created", curriculum=runner.name, algorithm=runner.spec.algorithm)
        return runner

    def _host_maker(self, spec: pb.CurriculumSpec) -> Callable[[], CurriculumHost]:
        """Makes the host as it was when the curriculum was created. What is stored was admitted then."""
        return lambda: CurriculumHost(
            build_curriculum(spec, may_import=lambda algorithm: True),
            limits=self.limits,
            lease_seconds=lease_seconds(spec),
        )

    def _durable(self, store: Store, name: str, make_host: Callable[[], CurriculumHost]) -> Durable:
        return Durable(store, lambda: recover(store, name, make_host), self._snapshot_writer)

    def _recover_stored(
        self, store: Store, stored: StoredCurriculum, spec: pb.CurriculumSpec
    ) -> tuple[CurriculumHost, Durable]:
        store.take_over(stored.name)
        make_host = self._host_maker(spec)
        return recover(store, stored.name, make_host), self._durable(store, stored.name, make_host)

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._work, call, *args)


@contextmanager
def store_refusals() -> Iterator[None]:
    """What the store says, as a refusal of the request."""
    try:
        yield
    except StoreUnavailableError as error:
        raise Unavailable(f"nothing can be made durable now: {error}") from error
    except CurriculumExistsError as error:
        raise AlreadyExists(f"name: there is a curriculum named {str(error)!r}", field="name") from error
    except CurriculumMissingError as error:
        raise NotFound(f"curriculum: there is none named {str(error)!r}", field="curriculum") from error
    except StoreFencedError as error:
        raise Unavailable(f"the curriculum was taken over by another service: {error}") from error
    except StoreError as error:
        raise FailedPrecondition(str(error)) from error


def _taken_over(name: str, error: StoreFencedError) -> Unavailable:
    """What clients are told: one that tries again may reach the service that has taken the curriculum over."""
    return Unavailable(f"curriculum {name} was taken over by another service: {error}")

"""curricula.yaml while a service runs: its curricula are created, those that are added later too; a change is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import structlog

from syllabus_service.config import ConfigError, ConfiguredCurriculum, load_config
from syllabus_service.engine_interface import Engine
from syllabus_service.errors import RequestError, Unavailable
from syllabus_service.file_stamps import file_stamp

_log = structlog.get_logger(__name__)

_CHECK_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0


class ConfigFollower:
    """Creates the curricula of a file, and those that are added to it later.

    A curriculum keeps the spec that it was created from: one whose entry says otherwise is logged, and goes on as it
    was. One that is no longer in the file goes on, too; deleting takes an explicit command. One entry that cannot be
    had keeps no other from being served, at the start no more than later. What cannot be made durable now is tried
    again every second.

    Args:
        path: the file. It is read here; it blocks.

    Attributes:
        look_now: set it, in the loop, to have the file read at once, changed or not.
        settled: set once each curriculum of the file exists or was refused, or as soon as one has to be waited for.

    Raises:
        ConfigError: the file has a mistake.
    """

    def __init__(self, path: Path) -> None:
        self.look_now = asyncio.Event()
        self.settled = asyncio.Event()
        self._path = path
        self._stamp = file_stamp(path)  # before it is read, or a change in between would go unseen
        self._waiting: Sequence[ConfiguredCurriculum] = load_config(path)
        self._names = {each.name for each in self._waiting}
        self._told: set[str] = set()  # names of those that were said to wait
        self._attempts: dict[tuple[str, bytes], asyncio.Task[str | None]] = {}

    async def follow(self, engine: Engine) -> None:
        """Create what the file has, then look at it every second, until cancelled."""
        try:
            engine.expect(self._names)
            await self._create(engine, self._waiting)
            self.settled.set()
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.look_now.wait(), _CHECK_SECONDS)
                try:
                    await self._look(engine)
                except Exception:  # noqa: BLE001 - logged; the next look may fare better, and none would be worse
                    _log.exception("config_look_failed", path=str(self._path))
        finally:
            for attempt in self._attempts.values():
                attempt.cancel()
            await asyncio.gather(*self._attempts.values(), return_exceptions=True)

    async def _look(self, engine: Engine) -> None:
        stamp = file_stamp(self._path)
        if self.look_now.is_set() or stamp != self._stamp:
            self.look_now.clear()
            self._stamp = stamp
            await self._read_again(engine)
        elif self._waiting:
            await self._create(engine, self._waiting)

    async def _read_again(self, engine: Engine) -> None:
        try:
            configured = await asyncio.to_thread(load_config, self._path)
        except ConfigError as error:
            _log.error("config_not_taken", path=str(self._path), error=str(error))
            return
        names = {each.name for each in configured}
        for gone in self._names - names:
            engine.expect_no_more(gone)
        await self._create(engine, configured)
        _log.info("config_read_again", path=str(self._path), no_longer_named=sorted(self._names - names))
        self._names = names

    async def _create(self, engine: Engine, configured: Sequence[ConfiguredCurriculum]) -> None:
        """Create curricula where they do not exist; those that have to wait are what ``_waiting`` is afterwards.

        All are tried at the same time, and none is waited for long: Ray may have no room for an actor, and say nothing.
        """
        attempts = [self._attempt(engine, each) for each in configured]
        if attempts:
            await asyncio.wait(attempts, timeout=_PATIENCE_SECONDS)
        waiting = []
        for each, attempt in zip(configured, attempts, strict=True):
            reason = attempt.result() if attempt.done() else "there is no answer yet"
            if reason is not None:
                waiting.append(each)
                if each.name not in self._told:
                    _log.warning("waiting_to_create", curriculum=each.name, place=each.place, reason=reason)
        self._waiting = waiting
        self._told = {each.name for each in waiting}

    def _attempt(self, engine: Engine, configured: ConfiguredCurriculum) -> asyncio.Task[str | None]:
        """The attempt to create a curriculum that is under way, or a new one."""
        key = (configured.name, configured.spec.SerializeToString(deterministic=True))
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = asyncio.create_task(self._try(engine, configured))
            attempt.add_done_callback(lambda done: self._attempts.pop(key, None))
        return attempt

    async def _try(self, engine: Engine, configured: ConfiguredCurriculum) -> str | None:
        """Create a curriculum where there is none. Returns why it has to wait, or None: it exists, or was refused."""
        name, place = configured.name, configured.place
        try:
            await engine.create(name, configured.spec, allow_existing=True, trusted=True)
        except Unavailable as refusal:
            self.settled.set()
            return str(refusal)
        except RequestError as refusal:
            _log.error("config_not_taken", curriculum=name, place=place, error=str(refusal))
        except Exception as error:  # noqa: BLE001 - logged; the other curricula are created all the same
            _log.exception("config_not_taken", curriculum=name, place=place, error=repr(error))
        engine.expect_no_more(name)
        return None

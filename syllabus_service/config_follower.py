"""curricula.yaml while a service runs: new curricula are created, and what cannot be changed is said."""

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


class ConfigFollower:
    """Creates the curricula of a file, and those that are added to it later.

    A curriculum keeps the spec that it was created from: one whose entry says otherwise is logged, and goes on as it
    was. One that is no longer in the file goes on, too; deleting takes an explicit command.

    Args:
        path: the file.
        engine: where they are created.

    Attributes:
        look_now: set it, in the loop, to have the file read at once, changed or not.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self.look_now = asyncio.Event()
        self._path = path
        self._engine = engine
        self._stamp = file_stamp(path)
        self._names: set[str] = set()

    async def create(self, configured: Sequence[ConfiguredCurriculum]) -> None:
        """Create the curricula that the file has at the start; where one cannot be made durable yet, as soon as it can.

        Raises ConfigError for one that cannot be created.
        """
        for each in configured:
            while True:
                try:
                    await self._engine.create(each.name, each.spec, allow_existing=True, trusted=True)
                    break
                except Unavailable as refusal:
                    _log.warning("waiting_to_create", curriculum=each.name, reason=str(refusal))
                    await asyncio.sleep(_CHECK_SECONDS)
                except RequestError as error:
                    raise ConfigError(f"{each.place}: curricula.{each.name}: {error}") from error
        self._names = {each.name for each in configured}

    async def follow(self) -> None:
        """Look at the file every second, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.look_now.wait(), _CHECK_SECONDS)
            if self.look_now.is_set() or file_stamp(self._path) != self._stamp:
                self.look_now.clear()
                await self._read_again()

    async def _read_again(self) -> None:
        self._stamp = file_stamp(self._path)
        try:
            configured = await asyncio.to_thread(load_config, self._path)
        except ConfigError as error:
            _log.error("config_not_taken", path=str(self._path), error=str(error))
            return
        for each in configured:
            try:
                await self._engine.create(each.name, each.spec, allow_existing=True, trusted=True)
            except RequestError as refusal:
                _log.error("config_not_taken", curriculum=each.name, place=each.place, error=str(refusal))
                if isinstance(refusal, Unavailable):
                    self._stamp = (0, 0, 0)  # look again
        names = {each.name for each in configured}
        _log.info("config_read_again", path=str(self._path), no_longer_named=sorted(self._names - names))
        self._names = names

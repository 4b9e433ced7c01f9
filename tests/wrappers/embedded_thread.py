"""The embedded service in a thread of the tests' own process, where they can look into the curriculum."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

from syllabus_service.curricula import Curriculum
from syllabus_service.embedded import serving


class EmbeddedThread:
    """Serves a curriculum object from a thread of this process, until stopped.

    Args: as of ``serving``.

    Attributes:
        address: where it listens, with the port that was taken.
    """

    def __init__(self, curriculum: Curriculum, *, name: str, listen: str, lease: float) -> None:
        self._started: Future[str] = Future()
        self._stopping = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        arguments = {"name": name, "listen": listen, "lease": lease}
        self._thread = threading.Thread(
            target=self._run, args=(curriculum, arguments), name="embedded-service", daemon=True
        )
        self._thread.start()
        self.address = self._started.result()

    def stop(self) -> None:
        """End the service. Blocks until it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, curriculum: Curriculum, arguments: dict[str, Any]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve(curriculum, arguments))
            except BaseException as error:
                if self._started.done():
                    raise
                self._started.set_exception(error)

    async def _serve(self, curriculum: Curriculum, arguments: dict[str, Any]) -> None:
        async with serving(curriculum, **arguments) as server:
            self._started.set_result(server.addresses[0])
            await self._stopping.wait()

"""A Ray cluster's actors in this process: found by name, made where there is none, lost when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from syllabus_service.errors import Unavailable
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.actor import CurriculumActor
from syllabus_service.ray_engine.settings import RayCluster, Stored


class Actors:
    """What Ray keeps."""

    def __init__(self) -> None:
        self.here: dict[str, CurriculumActor] = {}
        self.made: Counter[str] = Counter()
        """How many were made, by the name of the curriculum."""
        self.unplaceable: set[str] = set()
        """Names of curricula whose actors never answer."""
        self.garbled: dict[str, Callable[[calls.Answer], bytes]] = {}
        """What becomes of the answers of a curriculum's actor on their way."""
        self.lost_answers: Counter[str] = Counter()
        """How many of the next answers are lost, by the name of the curriculum."""

    async def end(self) -> None:
        """End them all."""
        for actor in self.here.values():
            await actor.stop()
        self.here.clear()


class InProcessLink:
    """Stands in for ``RayLink``, whose interface this is."""

    actors: Actors

    def __init__(self, cluster: RayCluster, source: Stored) -> None:
        self._source = source
        self.refusal: Unavailable | None = None

    def on_change(self, listener: Callable[[], None]) -> None:
        """It never changes."""

    def start(self) -> None:
        """Nothing has to be started."""

    async def stop(self) -> None:
        """Nor stopped."""

    async def call(self, curriculum: str, request: bytes) -> bytes:
        """As Ray does."""
        actors, name = self.actors, self._source.actor_name(curriculum)
        if curriculum in actors.unplaceable:
            await asyncio.Event().wait()
        if name not in actors.here:
            actors.made[curriculum] += 1
            actors.here[name] = CurriculumActor(curriculum, self._source)
        answer = await actors.here[name].call(request)
        if actors.lost_answers[curriculum]:
            actors.lost_answers[curriculum] -= 1
            raise Unavailable("the actor was lost")
        if (garble := actors.garbled.get(curriculum)) is not None:
            return garble(calls.Answer.FromString(answer))
        return answer

    async def forget(self, curriculum: str) -> None:
        """As Ray does."""
        actor = self.actors.here.pop(self._source.actor_name(curriculum), None)
        if actor is not None:
            await actor.stop()

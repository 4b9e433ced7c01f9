"""ActorCalls: what a front door says to actors, in its own name; actors that another release or service made."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import structlog

from syllabus_service.errors import Unavailable
from syllabus_service.ray_engine import calls_pb2 as calls
from syllabus_service.ray_engine.encoding import decode_refusal
from syllabus_service.ray_engine.link import RayLink
from syllabus_service.ray_engine.settings import PROTOCOL, Stored

_log = structlog.get_logger(__name__)


class ActorCalls:
    """Calls the actors of curricula for one front door. Used from one event loop.

    An actor lives longer than the front door that made it. One that was made with other settings (the options of
    ``serve`` that ``Stored`` holds), or that runs a release which speaks another protocol, does nothing and says so.
    Then:

    1. It is ended and made anew, if the front door that made it is the older one, which the database's epoch tells, or
       if no front door of its settings has spoken to it for a minute, as after a roll-back.
    2. Otherwise this front door is the older one, or Ray's nodes have another release: it refuses, as Unavailable.

    So two front doors never make an actor anew by turns.

    Args:
        link: the way to the actors.
        source: what this front door makes them from.
        on_change: called in the loop whenever ``outdated`` has changed.
    """

    def __init__(self, link: RayLink, source: Stored, on_change: Callable[[], None]) -> None:
        self._link = link
        self._source = source
        self._settings = source.settings
        self._on_change = on_change
        self._door = secrets.token_hex(8)
        self._outdated: Unavailable | None = None

    @property
    def outdated(self) -> Unavailable | None:
        """Why the last actor that was called has not taken this front door's call, or None."""
        return self._outdated

    async def call(self, name: str, call: calls.Call) -> calls.Answer:
        """What the actor of a curriculum answers; it is made where there is none.

        Raises the RequestError that it answers, and Unavailable where it does not.
        """
        call.door, call.protocol, call.settings = self._door, PROTOCOL, self._settings
        request = call.SerializeToString()
        answer = await self._ask(name, request)
        if answer.HasField("maker"):
            self._set_outdated(self._refusal(name, answer.maker))
            _log.warning("actor_made_anew", curriculum=name, was=_of(answer.maker), epoch=self._source.epoch)
            await self._link.forget(name)
            answer = await self._ask(name, request)
            if answer.HasField("maker"):
                self._set_outdated(self._refusal(name, answer.maker))
                raise Unavailable(f"the actor of curriculum {name} was made anew by an older front door; try again")
        self._set_outdated(None)
        if answer.absent:
            await self._link.forget(name)
        if answer.HasField("refusal"):
            raise decode_refusal(answer.refusal)
        return answer

    async def _ask(self, name: str, request: bytes) -> calls.Answer:
        return calls.Answer.FromString(await self._link.call(name, request))

    def _refusal(self, name: str, maker: calls.Maker) -> Unavailable | None:
        """Why an actor that is not as this front door would make it must be left as it is, or None."""
        other = maker.settings != self._settings
        if maker.epoch < self._source.epoch or (other and maker.forsaken):
            return None
        if other:
            return Unavailable(
                f"curriculum {name} is served with the other settings of a front door that was started later; "
                "give all front doors the same options, and restart this one"
            )
        return Unavailable(
            f"curriculum {name} is served by Ray nodes of another release, whose protocol is {maker.protocol}; this "
            f"front door's is {PROTOCOL}: bring both to one release"
        )

    def _set_outdated(self, refusal: Unavailable | None) -> None:
        """Remember, and raise, why an actor has not taken a call; None: it has, or it will be made anew."""
        before, self._outdated = self._outdated, refusal
        if (before is None) != (refusal is None):
            if refusal is not None:
                _log.error("front_door_outdated", reason=refusal.message)
            self._on_change()
        if refusal is not None:
            raise refusal


def _of(maker: calls.Maker) -> str:
    return f"protocol {maker.protocol}, settings {maker.settings[:12]}, epoch {maker.epoch}"

"""Who may call what: one table of RPCs, asked before each of them; and the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

import grpc
import structlog
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import Message

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.metadata import AUTHORIZATION
from syllabus_service.errors import PermissionDenied, RequestError, ResourceExhausted, Unauthenticated
from syllabus_service.limits import Limits, RateLimiter
from syllabus_service.tokens import Scope, Token, TokenFile, utc_now
from syllabus_service.yaml_files import ConfigError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

SERVICE = pb.DESCRIPTOR.services_by_name["CurriculumService"]

_CHECK_SECONDS = 1.0  # how late a change of the token file, or the end of a token, may be noticed
_REFUSALS_PER_SECOND, _REFUSALS_AT_ONCE = 1.0, 20.0  # log lines about refused callers, for each host


@dataclass(frozen=True)
class Rule:
    """What one RPC asks of its caller."""

    scope: Scope
    """The least scope of the caller's token."""
    curriculum: str | None = "curriculum"
    """Path of the request's field (of a stream: of its first request's) that names the curriculum. None: there is none,
    and the answer itself is kept to the caller's curricula."""
    audited: bool = False
    """Whether each call has a line in the audit log."""


_TABLE = {
    "CreateCurriculum": Rule(Scope.LEARNER, "name", audited=True),
    "GetCurriculum": Rule(Scope.WORKER),
    "ListCurricula": Rule(Scope.LEARNER, None),
    "DeleteCurriculum": Rule(Scope.ADMIN, audited=True),
    "GetTask": Rule(Scope.WORKER),
    "ReportEpisode": Rule(Scope.WORKER),
    "StreamMetrics": Rule(Scope.WORKER, "open.curriculum"),
    "CustomUpdate": Rule(Scope.LEARNER),
    "GetDistribution": Rule(Scope.LEARNER),
    "GetStatistics": Rule(Scope.LEARNER),
    "WatchCurriculum": Rule(Scope.LEARNER),
    "SaveCheckpoint": Rule(Scope.LEARNER),
    "RestoreCheckpoint": Rule(Scope.LEARNER, audited=True),
    "AddAgent": Rule(Scope.LEARNER, audited=True),
    "GetAgent": Rule(Scope.WORKER),
}


def checked_rules(service: ServiceDescriptor, table: Mapping[str, Rule]) -> Mapping[str, Rule]:
    """The table, once it has an entry for each RPC of the contract, and each entry fits its request.

    Raises TypeError otherwise: an RPC that nobody has thought about must not be served.
    """
    methods = {method.name: method for method in service.methods}
    if wrong := sorted(set(methods) ^ set(table)):
        raise TypeError(f"expected a rule for each RPC of {service.full_name}, and no other: {wrong}")
    for name, rule in table.items():
        message: Descriptor | None = methods[name].input_type
        for part in rule.curriculum.split(".") if rule.curriculum is not None else ():
            if message is None or part not in message.fields_by_name:
                raise TypeError(f"{name}: its request has no field {rule.curriculum}")
            message = message.fields_by_name[part].message_type
    return MappingProxyType(dict(table))


RULES = checked_rules(SERVICE, _TABLE)


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    peer: str
    """Its address, without the port."""
    token: Token | None = None
    """What it showed; None where the service asks for no tokens, and everybody may do everything."""

    def covers(self, curriculum: str) -> bool:
        """Whether the caller may know of a curriculum of this name."""
        return self.token is None or self.token.covers(curriculum)


class OpenStream:
    """A stream under way: waits for its next message, and ends when its caller may not go on.

    Args:
        rpc: its RPC.
        caller: who opened it.

    Attributes:
        curriculum: what it is about; empty until its first request says so.
    """

    def __init__(self, rpc: str, caller: Caller) -> None:
        self.rpc = rpc
        self.caller = caller
        self.curriculum = ""
        self._refusal: RequestError | None = None
        self._waiting: asyncio.Task[object] | None = None

    async def wait_for(self, message: Awaitable[T]) -> T:
        """The message. Raises the refusal that ended the stream."""
        if self._refusal is not None:
            raise self._refusal
        self._waiting = asyncio.current_task()
        try:
            return await message
        except asyncio.CancelledError:
            if self._refusal is None or self._waiting is None:
                raise
            self._waiting.uncancel()
            raise self._refusal from None
        finally:
            self._waiting = None

    def end(self, refusal: RequestError) -> None:
        """End it: what waits for a message is refused now, and what does not, when it next would."""
        self._refusal = refusal
        if self._waiting is not None:
            self._waiting.cancel()


class Authorizer:
    """Lets callers in, or refuses them, by the table of this module.

    A token is looked for in the request's metadata, ``authorization: Bearer <token>``, before its body is parsed; its
    curricula are compared with the parsed request. A refusal says no more than that: neither whether a token was
    ever known, nor whether a curriculum exists that the caller may not use.

    Health and reflection are not asked about: they tell whether the service lives and what its contract is.

    Between ``start`` and ``stop`` it follows its file, and ends the streams of tokens that are revoked or expire.

    Args:
        tokens: the tokens; None: everybody may do everything.
        limits: for the rate of requests.
        clock: seconds, monotonic, for rates.
        now: the time by which tokens expire.
    """

    def __init__(
        self,
        tokens: TokenFile | None = None,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._file = tokens
        self._now = now
        self._per_second = (limits or Limits()).max_requests_per_second
        self._requests = RateLimiter(self._per_second, clock)
        self._refusal_lines = RateLimiter(_REFUSALS_PER_SECOND, clock, burst=_REFUSALS_AT_ONCE)
        self._refusals_not_logged = 0
        self._streams: set[OpenStream] = set()
        self._following: asyncio.Task[None] | None = None

    @property
    def asks_for_tokens(self) -> bool:
        """Whether a caller without a token is refused."""
        return self._file is not None

    def start(self) -> None:
        """Follow the file from now on, in the running loop."""
        if self._file is not None and self._following is None:
            self._following = asyncio.create_task(self._follow(self._file))

    async def stop(self) -> None:
        """Follow the file no longer. Calling it again does nothing."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    # Each request

    def admit(self, rpc: str, context: grpc.aio.ServicerContext) -> Caller:
        """The caller of an RPC. Raises Unauthenticated, PermissionDenied and ResourceExhausted."""
        caller = Caller(_host(context.peer()))
        try:
            if self._file is not None:
                caller = Caller(caller.peer, self._authenticate(context.invocation_metadata() or ()))
            self._check_rate(caller)
            self._check_scope(rpc, caller)
        except (Unauthenticated, PermissionDenied) as refusal:
            if caller.token is None:
                self._check_rate(caller)
            self._log_refusal(rpc, "", caller, refusal)
            raise
        return caller

    def check_curriculum(self, rpc: str, caller: Caller, request: Message) -> str:
        """The curriculum that a request names, or empty. Raises PermissionDenied where it is not the caller's."""
        name = curriculum_of(rpc, request)
        if caller.token is None or RULES[rpc].curriculum is None:
            return name
        try:
            self._check_covers(caller.token, name)
        except PermissionDenied as refusal:
            self._log_refusal(rpc, name, caller, refusal)
            raise
        return name

    def audit(self, rpc: str, caller: Caller, curriculum: str, outcome: str) -> None:
        """Write a line for a call that was let in, if its rule asks for one. ``outcome``: the name of its status."""
        if RULES[rpc].audited:
            self._log_line(rpc, caller, curriculum, outcome)

    @contextlib.contextmanager
    def watched(self, stream: OpenStream) -> Iterator[None]:
        """End a stream, while the block runs, as soon as its caller may not go on."""
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)

    # Checks

    def _authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Token:
        values = [value for key, value in metadata if key == AUTHORIZATION]
        if not values:
            raise Unauthenticated("expected a token, as the metadata authorization: Bearer <token>")
        scheme, _, text = values[0].partition(" ") if isinstance(values[0], str) else ("", "", "")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated("expected one authorization of the form: Bearer <token>")
        return self._current(text)

    def _current(self, text: str) -> Token:
        token = self._file.tokens.find(text) if self._file is not None else None
        if token is None:
            raise Unauthenticated("the token is not known")
        self._check_time(token)
        return token

    def _check_time(self, token: Token) -> None:
        if token.has_expired(self._now()):
            raise Unauthenticated("the token has expired")

    def _check_rate(self, caller: Caller) -> None:
        if not self._requests.take(caller.peer if caller.token is None else caller.token.id):
            raise ResourceExhausted(f"there are more than {self._per_second:g} requests a second from this caller")

    def _check_scope(self, rpc: str, caller: Caller) -> None:
        wanted = RULES[rpc].scope
        if caller.token is not None and caller.token.rank < wanted:
            raise PermissionDenied(f"{rpc}: expected a token of scope {wanted.name.lower()}, got {caller.token.scope}")

    def _check_covers(self, token: Token, curriculum: str) -> None:
        if not token.covers(curriculum):
            raise PermissionDenied(f"the token is not for curriculum {curriculum[:140]!r}")

    # Changes

    async def _follow(self, file: TokenFile) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                if await asyncio.to_thread(file.reload):
                    _log.info("tokens_read_again", path=str(file.path), tokens=len(file.tokens.tokens))
            except ConfigError as error:
                _log.error("tokens_not_taken", path=str(file.path), error=str(error))
            self._end_refused(file)

    def _end_refused(self, file: TokenFile) -> None:
        known = {token.sha256: token for token in file.tokens.tokens}
        for stream in list(self._streams):
            shown = stream.caller.token
            if shown is None:
                continue
            try:
                if (token := known.get(shown.sha256)) is None:
                    raise Unauthenticated("the token was revoked")
                self._check_time(token)
                self._check_scope(stream.rpc, Caller(stream.caller.peer, token))
                if stream.curriculum:
                    self._check_covers(token, stream.curriculum)
            except (Unauthenticated, PermissionDenied) as refusal:
                self._streams.discard(stream)
                self._log_refusal(stream.rpc, stream.curriculum, stream.caller, refusal)
                stream.end(refusal)

    # The log

    def _log_refusal(self, rpc: str, curriculum: str, caller: Caller, refusal: RequestError) -> None:
        if self._refusal_lines.take(caller.peer):
            self._log_line(rpc, caller, curriculum, refusal.code, reason=refusal.message)
        else:
            self._refusals_not_logged += 1

    def _log_line(self, rpc: str, caller: Caller, curriculum: str, outcome: str, **more: object) -> None:
        if self._refusals_not_logged:
            more["refusals_not_logged"], self._refusals_not_logged = self._refusals_not_logged, 0
        token = None if caller.token is None else caller.token.id
        _log.info("audit", rpc=rpc, curriculum=curriculum[:140], token=token, peer=caller.peer, outcome=outcome, **more)


def curriculum_of(rpc: str, request: Message) -> str:
    """The name of the curriculum that a request is about, or empty."""
    path = RULES[rpc].curriculum
    if path is None:
        return ""
    value: object = request
    for part in path.split("."):
        value = getattr(value, part)
    return str(value)


def _host(peer: str) -> str:
    """A peer without its port: whoever connects again is the same."""
    return peer.rpartition(":")[0] or peer

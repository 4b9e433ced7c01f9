"""How every RPC admits its caller, parses its request and answers: the one place where errors become statuses."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from syllabus_client.wire.metadata import APPLIED
from syllabus_service.authorization import SERVICE, Authorizer, Caller, OpenStream
from syllabus_service.envelope import Envelope
from syllabus_service.errors import FailedPrecondition, InvalidArgument, RequestError
from syllabus_service.metrics.door_tallies import DoorTallies

_log = structlog.get_logger(__name__)

_OK = "OK"
_CANCELLED = "CANCELLED"  # the outcome of an RPC that ends neither with an answer nor with a refusal
_MAX_DETAILS_CHARACTERS = 1000  # trailing metadata has room for some kilobytes

Handler = Callable[[Any, Caller], Any]


def service_handler(servicer: object, authorizer: Authorizer, tallies: DoorTallies) -> grpc.GenericRpcHandler:
    """The RPCs of CurriculumService, answered by the servicer's methods of the same names, and counted.

    A method takes a message (or an asynchronous iterator of messages) and its caller, and returns a message (or is an
    asynchronous generator). No method is reached but through the authorizer: it admits the caller before the body is
    parsed, and compares the curriculum of the parsed request with the caller's.

    A method refuses a request by raising RequestError: the caller gets its status, with a
    ``google.rpc.BadRequest`` detail where a field is named, and the trailing metadata ``APPLIED`` where the curriculum
    itself refused it, so that its sequence is used up. Bytes that are no message are INVALID_ARGUMENT.

    Any other exception is a bug of the service. The log gets its traceback and a reference; the caller gets
    FAILED_PRECONDITION with the reference, rather than INTERNAL or UNKNOWN, which gRPC libraries answer for broken
    connections, too: the same request would fail again, so a client must not send it again as it would after those.
    """
    handlers = {
        method.name: _method_handler(method, getattr(servicer, method.name), authorizer, tallies)
        for method in SERVICE.methods
    }
    return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)


def _method_handler(
    method: MethodDescriptor, behaviour: Handler, authorizer: Authorizer, tallies: DoorTallies
) -> grpc.RpcMethodHandler:
    parse = _parser(GetMessageClass(method.input_type), tallies)
    serialize = _serializer(tallies)
    parts = (method.name, parse, behaviour, authorizer, tallies)
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream_stream(*parts), None, serialize)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(*parts), None, serialize)
    if method.client_streaming:
        raise TypeError(f"{method.full_name}: no RPC of this service streams requests and answers once")
    return grpc.unary_unary_rpc_method_handler(_unary_unary(*parts), None, serialize)


def _unary_unary(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler, authorizer: Authorizer, tallies: DoorTallies
) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[Message]]:
    async def handle(request: bytes, context: grpc.aio.ServicerContext) -> Message:
        started = time.perf_counter()
        caller: Caller | None = None
        outcome, curriculum, session_id = _CANCELLED, "", ""
        try:
            admitted = authorizer.admit(name, context)
            message = parse(request)
            curriculum = authorizer.check_curriculum(name, admitted, message)
            session_id = getattr(message, "session_id", "")
            caller = admitted
            response = await behaviour(message, caller)
            outcome = _OK
            return response
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name, curriculum=curriculum, session_id=session_id)
            outcome = refusal.code
        finally:
            tallies.end(name, outcome, time.perf_counter() - started)
            if caller is not None:
                authorizer.audit(name, caller, curriculum, outcome)
        return await _abort(context, refusal)

    return handle


def _unary_stream(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler, authorizer: Authorizer, tallies: DoorTallies
) -> Callable[[bytes, grpc.aio.ServicerContext], AsyncIterator[Message]]:
    async def handle(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        outcome, curriculum = _CANCELLED, ""
        try:
            caller = authorizer.admit(name, context)
            message = parse(request)
            stream = OpenStream(name, caller)
            stream.curriculum = curriculum = authorizer.check_curriculum(name, caller, message)
            with authorizer.watched(stream):
                responses = behaviour(message, caller)
                while (response := await stream.wait_for(anext(responses, None))) is not None:
                    yield response
            outcome = _OK
            return
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name, curriculum=curriculum)
            outcome = refusal.code
        finally:
            tallies.end(name, outcome)
        await _abort(context, refusal)

    return handle


def _stream_stream(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler, authorizer: Authorizer, tallies: DoorTallies
) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], AsyncIterator[Message]]:
    async def parsed(requests: AsyncIterator[bytes], stream: OpenStream) -> AsyncIterator[Message]:
        """The requests; where the caller loses the right to the stream, the refusal comes in their place."""
        first = True
        while (request := await stream.wait_for(anext(requests, None))) is not None:
            message = parse(request)
            if first:
                stream.curriculum = authorizer.check_curriculum(name, stream.caller, message)
                first = False
            yield message

    async def handle(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        outcome = _CANCELLED
        try:
            stream = OpenStream(name, authorizer.admit(name, context))
            with authorizer.watched(stream):
                async for response in behaviour(parsed(requests, stream), stream.caller):
                    yield response
            outcome = _OK
            return
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name)
            outcome = refusal.code
        finally:
            tallies.end(name, outcome)
        await _abort(context, refusal)

    return handle


def _parser(message_class: type[Message], tallies: DoorTallies) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        started = time.perf_counter()
        try:
            message = message_class.FromString(data)
        except DecodeError as error:
            raise InvalidArgument(f"expected a {message_class.DESCRIPTOR.full_name}") from error
        tallies.parse_seconds += time.perf_counter() - started
        return message

    return parse


def _serializer(tallies: DoorTallies) -> Callable[[Message | Envelope], bytes]:
    def serialize(message: Message | Envelope) -> bytes:
        started = time.perf_counter()
        data = message.SerializeToString()
        tallies.serialize_seconds += time.perf_counter() - started
        return data

    return serialize


def as_refusal(error: Exception, rpc: str, *, curriculum: str = "", session_id: str = "") -> RequestError:
    """The refusal that an exception is answered with; one that is not a refusal is logged, with what it was about."""
    if isinstance(error, RequestError):
        return error
    reference = uuid.uuid4().hex[:12]
    about = {"curriculum": curriculum[:140], "session_id": session_id[:70]}
    known = {name: value for name, value in about.items() if value}
    _log.error("unexpected_error", rpc=rpc, reference=reference, **known, exc_info=error)
    return FailedPrecondition(f"the service met an unexpected error; its log has it under the reference {reference}")


async def _abort(context: grpc.aio.ServicerContext, refusal: RequestError) -> Any:
    status = Status(
        code=grpc.StatusCode[refusal.code].value[0], message=str(refusal)[:_MAX_DETAILS_CHARACTERS], details=[]
    )
    if refusal.field is not None:
        detail = AnyMessage()
        violation = BadRequest.FieldViolation(field=refusal.field[:200], description=status.message)
        detail.Pack(BadRequest(field_violations=[violation]))
        status.details.append(detail)
    rich = rpc_status.to_status(status)
    applied = ((APPLIED, "1"),) if refusal.applied else ()
    await context.abort(rich.code, rich.details, (*rich.trailing_metadata, *applied))

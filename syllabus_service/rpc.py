"""How every RPC parses its request and answers an error: the one place where errors become statuses."""

from __future__ import annotations

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

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.metadata import APPLIED
from syllabus_service.errors import FailedPrecondition, InvalidArgument, RequestError

_log = structlog.get_logger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["CurriculumService"]

_MAX_DETAILS_CHARACTERS = 1000  # trailing metadata has room for some kilobytes

Handler = Callable[[Any, grpc.aio.ServicerContext], Any]


def service_handler(servicer: object) -> grpc.GenericRpcHandler:
    """The RPCs of CurriculumService, answered by the servicer's methods of the same names.

    A method takes a message (or an asynchronous iterator of messages) and returns one (or is an asynchronous
    generator). It refuses a request by raising RequestError: the caller gets its status, with a
    ``google.rpc.BadRequest`` detail where a field is named, and the trailing metadata ``APPLIED`` where the curriculum
    itself refused it, so that its sequence is used up. Bytes that are no message are INVALID_ARGUMENT.

    Any other exception is a bug of the service. The log gets its traceback and a reference; the caller gets
    FAILED_PRECONDITION with the reference, rather than INTERNAL or UNKNOWN, which gRPC libraries answer for broken
    connections, too: the same request would fail again, so a client must not send it again as it would after those.
    """
    handlers = {method.name: _method_handler(method, getattr(servicer, method.name)) for method in SERVICE.methods}
    return grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)


def _method_handler(method: MethodDescriptor, behaviour: Handler) -> grpc.RpcMethodHandler:
    parse = _parser(GetMessageClass(method.input_type))
    serialize = GetMessageClass(method.output_type).SerializeToString
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream_stream(method.name, parse, behaviour), None, serialize)
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(method.name, parse, behaviour), None, serialize)
    if method.client_streaming:
        raise TypeError(f"{method.full_name}: no RPC of this service streams requests and answers once")
    return grpc.unary_unary_rpc_method_handler(_unary_unary(method.name, parse, behaviour), None, serialize)


def _unary_unary(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler
) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[Message]]:
    async def handle(request: bytes, context: grpc.aio.ServicerContext) -> Message:
        try:
            return await behaviour(parse(request), context)
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name)
        return await _abort(context, refusal)

    return handle


def _unary_stream(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler
) -> Callable[[bytes, grpc.aio.ServicerContext], AsyncIterator[Message]]:
    async def handle(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        try:
            async for response in behaviour(parse(request), context):
                yield response
            return
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name)
        await _abort(context, refusal)

    return handle


def _stream_stream(
    name: str, parse: Callable[[bytes], Message], behaviour: Handler
) -> Callable[[AsyncIterator[bytes], grpc.aio.ServicerContext], AsyncIterator[Message]]:
    async def parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for request in requests:
            yield parse(request)

    async def handle(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        try:
            async for response in behaviour(parsed(requests), context):
                yield response
            return
        except Exception as error:  # noqa: BLE001 - every error has a status
            refusal = as_refusal(error, name)
        await _abort(context, refusal)

    return handle


def _parser(message_class: type[Message]) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        try:
            return message_class.FromString(data)
        except DecodeError as error:
            raise InvalidArgument(f"expected a {message_class.DESCRIPTOR.full_name}") from error

    return parse


def as_refusal(error: Exception, rpc: str) -> RequestError:
    """The refusal that an exception is answered with; one that is not a refusal is logged."""
    if isinstance(error, RequestError):
        return error
    reference = uuid.uuid4().hex[:12]
    _log.error("unexpected_error", rpc=rpc, reference=reference, exc_info=error)
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

"""The field named by a refused request, read from the standard error details without their package."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message, message_factory

_METADATA_KEY = "grpc-status-details-bin"
_BAD_REQUEST = "google.rpc.BadRequest"


def field_violation(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Path of the first field violation in trailing metadata, or empty where none can be read."""
    status_type, bad_request_type = _types()
    for key, value in metadata:
        if key != _METADATA_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_type.FromString(value)
            for detail in status.details:
                if detail.type_url.rpartition("/")[2] == _BAD_REQUEST:
                    for violation in bad_request_type.FromString(detail.value).field_violations:
                        return str(violation.field)
        except message.DecodeError:
            return ""
    return ""


@cache
def _types() -> tuple[Any, Any]:
    """google.rpc.Status and google.rpc.BadRequest, in a pool of their own.

    googleapis-common-protos has them, but is no dependency of the client; a pool of our own cannot collide with it.
    """
    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    any_file = descriptor_pb2.FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(any_file)
    pool.Add(any_file)
    file = descriptor_pb2.FileDescriptorProto(
        name="syllabus_client/wire/status_details.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=[any_file.name],
    )
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    status.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    status.field.add(
        name="details",
        number=3,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".google.protobuf.Any",
    )
    bad_request = file.message_type.add(name="BadRequest")
    violation = bad_request.nested_type.add(name="FieldViolation")
    violation.field.add(name="field", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    violation.field.add(name="description", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    bad_request.field.add(
        name="field_violations",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".google.rpc.BadRequest.FieldViolation",
    )
    pool.Add(file)
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status")),
        message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.BadRequest")),
    )

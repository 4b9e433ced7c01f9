"""What users catch and set: kinds of errors, their field, pickling; settings that refuse what they cannot mean."""

from __future__ import annotations

import pickle

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from syllabus_client import (
    AuthenticationError,
    CurriculumServiceError,
    InvalidArgumentError,
    ServiceUnavailableError,
    SessionSettings,
    TaskTimeoutError,
)
from syllabus_client.errors import from_status
from syllabus_client.target import Target
from syllabus_client.wire.status_details import field_violation


def test_the_field_of_a_bad_request_is_read_without_the_package_that_defines_it() -> None:
    detail = AnyMessage()
    detail.Pack(BadRequest(field_violations=[BadRequest.FieldViolation(field="episodes.length", description="no")]))
    data = Status(code=3, message="no", details=[detail]).SerializeToString()
    assert field_violation([("other", "x"), ("grpc-status-details-bin", data)]) == "episodes.length"
    assert field_violation([("grpc-status-details-bin", b"\xff\xff")]) == ""
    assert field_violation([]) == ""


def test_a_status_becomes_the_kind_of_error_that_says_it() -> None:
    invalid = from_status("INVALID_ARGUMENT", "no", target="host:1", field="a.b")
    assert isinstance(invalid, InvalidArgumentError)
    assert isinstance(invalid, ValueError)
    assert invalid.field == "a.b"
    assert isinstance(from_status("UNAVAILABLE", "", target="host:1"), ConnectionError)
    assert isinstance(from_status("PERMISSION_DENIED", "", target="host:1"), AuthenticationError)
    assert type(from_status("DATA_LOSS", "", target="host:1")) is CurriculumServiceError
    assert issubclass(TaskTimeoutError, (ServiceUnavailableError, TimeoutError))
    assert "host:1" in str(invalid)


def test_errors_travel_between_processes() -> None:
    error = from_status("INVALID_ARGUMENT", "no", target="host:1", field="a.b")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is InvalidArgumentError
    assert (str(copy), copy.field, copy.target, copy.code) == (str(error), "a.b", "host:1", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_latency", -0.1),
        ("max_rows", 0),
        ("timeout", 0.0),
        ("prefetch", -1),
        ("prefetch", "lots"),
        ("on_unavailable", "panic"),
        ("backoff_multiplier", 0.5),
    ],
)
def test_a_setting_out_of_its_range_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected"):
        SessionSettings(**{name: value})  # type: ignore[arg-type]


def test_arguments_win_over_the_environment() -> None:
    env = {"SYLLABUS_TARGET": "a:1", "SYLLABUS_CURRICULUM": "x", "SYLLABUS_TOKEN": "secret"}
    found = Target.resolve(environ=env)
    assert (found.address, found.curriculum, found.token, found.tls_ca) == ("a:1", "x", "secret", None)
    assert "secret" not in repr(found)
    assert found.metadata == (("authorization", "Bearer secret"),)
    given = Target.resolve("b:1", curriculum="y", token="other", environ=env | {"SYLLABUS_TLS_CA": "system"})
    assert (given.address, given.curriculum, given.token, given.tls_ca) == ("b:1", "y", "other", "")


def test_the_environment_s_tls_is_not_for_a_unix_socket_such_as_an_embedded_service_s() -> None:
    tls = {"SYLLABUS_TLS_CA": "ca.pem", "SYLLABUS_TLS_CERT": "cert.pem", "SYLLABUS_TLS_KEY": "key.pem"}
    found = Target.resolve("unix:/run/s", curriculum="x", environ=tls)
    assert (found.tls_ca, found.tls_cert, found.tls_key) == (None, None, None)
    assert Target.resolve("a:1", curriculum="x", environ=tls).tls_ca == "ca.pem"

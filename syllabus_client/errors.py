"""What users of the client catch."""

from __future__ import annotations

import grpc

from syllabus_client.wire.status_details import field_violation


class CurriculumServiceError(Exception):
    """Something went wrong between this process and a curriculum service.

    Attributes:
        target: the service's address, as it was given.
        code: name of the gRPC status, such as ``"UNAVAILABLE"``.
    """

    def __init__(self, message: str, *, target: str = "", code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.target = target
        self.code = code

    def __reduce__(self) -> tuple:
        return (_rebuild, (type(self), self.args, self.__dict__))


class ServiceUnavailableError(CurriculumServiceError, ConnectionError):
    """The service could not be reached within the deadline."""


class TaskTimeoutError(ServiceUnavailableError, TimeoutError):
    """No task came within the deadline: the service cannot be reached, or the curriculum is short of tasks."""


class BufferFullError(ServiceUnavailableError):
    """Twice ``SessionSettings.max_pending_rows`` wait to be sent: the report was refused."""


class InvalidArgumentError(CurriculumServiceError, ValueError):
    """The service refused what it was sent, and changed nothing.

    Attributes:
        field: path of the field, such as ``episodes.length``, or empty.
    """

    def __init__(self, message: str, *, target: str = "", code: str = "INVALID_ARGUMENT", field: str = "") -> None:
        super().__init__(message, target=target, code=code)
        self.field = field


class CurriculumNotFoundError(CurriculumServiceError, LookupError):
    """The service has no curriculum (or no agent) of that name."""


class CurriculumExistsError(CurriculumServiceError):
    """There is a curriculum of that name, of another spec."""


class PreconditionError(CurriculumServiceError):
    """The curriculum cannot do that in its state, or at all: a distribution over a space that is not enumerable."""


class LimitExceededError(CurriculumServiceError):
    """A bound of the service was met: too many sessions, too large a message, too many requests."""


class AuthenticationError(CurriculumServiceError, PermissionError):
    """The token is missing, not known, or not allowed to do that."""


class NotSupportedError(CurriculumServiceError, NotImplementedError):
    """The service does not offer that call."""


_KINDS: dict[str, type[CurriculumServiceError]] = {
    "UNAVAILABLE": ServiceUnavailableError,
    "DEADLINE_EXCEEDED": ServiceUnavailableError,
    "INVALID_ARGUMENT": InvalidArgumentError,
    "OUT_OF_RANGE": InvalidArgumentError,
    "NOT_FOUND": CurriculumNotFoundError,
    "ALREADY_EXISTS": CurriculumExistsError,
    "FAILED_PRECONDITION": PreconditionError,
    "RESOURCE_EXHAUSTED": LimitExceededError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": AuthenticationError,
    "UNIMPLEMENTED": NotSupportedError,
}


def from_status(code: str, details: str, *, target: str, field: str = "") -> CurriculumServiceError:
    """The error of a gRPC status, by its name."""
    kind = _KINDS.get(code, CurriculumServiceError)
    message = f"{details or 'no details'} ({code} from the curriculum service at {target})"
    if issubclass(kind, InvalidArgumentError):
        return kind(message, target=target, code=code, field=field)
    return kind(message, target=target, code=code)


def from_rpc_error(error: grpc.RpcError, *, target: str) -> CurriculumServiceError:
    """The error of a failed call; the field of a ``google.rpc.BadRequest`` among its details is kept."""
    code, details, metadata = status_of(error)
    return from_status(code, details, target=target, field=field_violation(metadata))


def status_of(error: grpc.RpcError) -> tuple[str, str, tuple]:
    """Code name, details and trailing metadata of a failed call."""
    if not isinstance(error, grpc.Call):
        return "UNKNOWN", str(error), ()
    code = error.code()
    return ("UNKNOWN" if code is None else code.name), error.details() or "", tuple(error.trailing_metadata() or ())


def _rebuild(kind: type[CurriculumServiceError], args: tuple, attributes: dict) -> CurriculumServiceError:
    error = kind(*args)
    error.__dict__.update(attributes)
    return error

"""Why a request was refused: each error is one gRPC status, and nothing has changed when it is raised."""

from __future__ import annotations

from typing import ClassVar


class RequestError(Exception):
    """A request was refused.

    Attributes:
        code: name of the gRPC status.
        field: path of the field at fault, or None.
        applied: whether the command has its place in the journal all the same, and its sequence is used up: only when
            the curriculum itself refused it.
    """

    code: ClassVar[str]

    def __init__(self, message: str, *, field: str | None = None, applied: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.applied = applied


class InvalidArgument(RequestError):
    """The request is malformed, whatever the state."""

    code = "INVALID_ARGUMENT"


class NotFound(RequestError):
    """What the request names does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(RequestError):
    """What the request would create exists."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(RequestError):
    """The state does not allow the request; the same request will not succeed later."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(RequestError):
    """A bound is reached; the request may succeed later."""

    code = "RESOURCE_EXHAUSTED"


class Unauthenticated(RequestError):
    """The caller has not shown who it is: no token, or one that is not known or has expired."""

    code = "UNAUTHENTICATED"


class PermissionDenied(RequestError):
    """The caller is known, and may not do that."""

    code = "PERMISSION_DENIED"


class Aborted(RequestError):
    """The request was overtaken: the session speaks to the service by a newer stream."""

    code = "ABORTED"


class Unavailable(RequestError):
    """The service cannot make anything durable now; the same request may be sent again."""

    code = "UNAVAILABLE"


BY_CODE: dict[str, type[RequestError]] = {
    error.code: error
    for error in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unauthenticated,
        PermissionDenied,
        Aborted,
        Unavailable,
    )
}

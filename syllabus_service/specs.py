"""From a spec to a curriculum: what a spec may ask for, and who may ask."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.json_format import MessageToDict

from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire.codec import InvalidFieldError
from syllabus_service.commands import plain_numbers
from syllabus_service.curricula import Curriculum, InvalidParamsError, UnknownCurriculumError, create
from syllabus_service.curricula.param_checks import TooManyTasksError
from syllabus_service.errors import InvalidArgument, ResourceExhausted

DEFAULT_LEASE_SECONDS = 120.0
MIN_LEASE_SECONDS = 0.1
MAX_LEASE_SECONDS = 7 * 24 * 3600.0


def build_curriculum(spec: pb.CurriculumSpec, *, may_import: Callable[[str], bool]) -> Curriculum:
    """The curriculum that a spec describes. O(number of tasks).

    Args:
        spec: the description; nothing of it is trusted.
        may_import: whether an algorithm of the form ``module:Class`` may be imported.

    Raises:
        InvalidArgument: naming the field of the spec.
        ResourceExhausted: it would hold more tasks than its memory should; it is not built.
    """
    if not spec.algorithm:
        raise InvalidArgument("spec.algorithm: expected the name of a curriculum", field="spec.algorithm")
    lease_seconds(spec)
    try:
        task_space = TaskSpace.from_proto(spec.task_space, "spec.task_space")
    except InvalidFieldError as error:
        raise InvalidArgument(str(error), field=error.field) from error
    try:
        params = plain_numbers(MessageToDict(spec.params))
    except ValueError as error:  # JSON says no infinity
        raise InvalidArgument("spec.params: expected finite numbers", field="spec.params") from error
    try:
        return create(spec.algorithm, task_space, params, spec.seed, allow_import=may_import(spec.algorithm))
    except UnknownCurriculumError as error:
        raise InvalidArgument(f"spec.algorithm: {error}", field="spec.algorithm") from error
    except TooManyTasksError as error:
        field = "spec.task_space" if error.name == "task_space" else "spec.params"
        raise ResourceExhausted(f"{field}: {error}", field=field) from error
    except InvalidParamsError as error:
        raise InvalidArgument(f"spec.params: {error}", field="spec.params") from error
    except Exception as error:
        message = f"spec.params: {spec.algorithm} raised {type(error).__name__}: {error}"
        raise InvalidArgument(message, field="spec.params") from error


def lease_seconds(spec: pb.CurriculumSpec) -> float:
    """The lease of a spec, in seconds. Raises InvalidArgument unless it is between 0.1 s and 7 days."""
    if not spec.HasField("lease"):
        return DEFAULT_LEASE_SECONDS
    seconds = spec.lease.seconds + spec.lease.nanos * 1e-9
    if not MIN_LEASE_SECONDS <= seconds <= MAX_LEASE_SECONDS:
        raise InvalidArgument(
            f"spec.lease: expected {MIN_LEASE_SECONDS} s to {MAX_LEASE_SECONDS:.0f} s, got {seconds} s",
            field="spec.lease",
        )
    return seconds

"""Unary calls: sent again until they are answered or their deadline has passed, and applied once."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc

from syllabus_client.errors import (
    CurriculumServiceError,
    PreconditionError,
    ServiceUnavailableError,
    from_status,
    status_of,
)
from syllabus_client.forks import watch_forks
from syllabus_client.target import Target
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_client.wire.metadata import APPLIED
from syllabus_client.wire.status_details import field_violation

RETRIED = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "CANCELLED"})
"""Statuses of a broken connection or a service that is starting: nobody refused anything."""

_BACKOFF_INITIAL = 0.05  # seconds
_BACKOFF_MAX = 2.0
_MIN_ATTEMPT = 2.0  # seconds that an attempt gets at least, where the deadline is not nearer

_log = logging.getLogger(__name__)
_clock = time.monotonic


class UnaryCalls:
    """One process's unary calls to a service: connects on the first call, and anew in a forked child.

    Calls that change something carry a session id and a sequence; one of them is under way at a time, and it is sent
    again with the same sequence until it is answered, so it is applied once, whatever the network and the service do.

    Args:
        target: where the service is.
        timeout: seconds until a call that is not answered raises ServiceUnavailableError.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self.timeout = timeout
        self._rng = random.Random()
        self._begin()
        watch_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()  # a call that changes something is under way
        self._connecting = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._new_session()

    def _new_session(self) -> None:
        self.session_id = uuid.uuid4().hex
        self._sequence = 1

    def read(self, method: str, request: Any) -> Any:
        """A call that changes nothing. Raises CurriculumServiceError."""
        try:
            return self._call(method, request, _clock() + self.timeout)
        except _Refusal as refusal:
            raise refusal.error from None

    def change_unnumbered(self, method: str, request: Any, done: str) -> Any | None:
        """A call that changes something and carries no sequence; None where an earlier attempt may have done it.

        An attempt without an answer may have been applied, and the next one is refused for just that reason. ``done``
        is the status of such a refusal; after an attempt without an answer it is None, and otherwise an error.

        Raises CurriculumServiceError.
        """
        try:
            return self._call(method, request, _clock() + self.timeout)
        except _Refusal as refusal:
            if refusal.error.code == done and refusal.after_unanswered:
                return None
            raise refusal.error from None

    def change(self, method: str, make: Callable[[str, int], Any]) -> Any:
        """A call that changes something; ``make`` makes its request of a session id and a sequence.

        A refusal leaves the sequence free, unless it says that it was used up. A service that no longer knows the
        session has not applied the call: it is made again in a new session.
        """
        with self._lock:
            deadline = _clock() + self.timeout
            try:
                return self._numbered(method, make, deadline)
            except _LostSession as lost:
                _log.warning("%s begins a new session with %s: %s", method, self.target.address, lost.__cause__)
            self._new_session()
            try:
                return self._numbered(method, make, deadline)
            except _LostSession as lost:
                raise lost.error from None

    def _numbered(self, method: str, make: Callable[[str, int], Any], deadline: float) -> Any:
        try:
            response = self._call(method, make(self.session_id, self._sequence), deadline)
        except ServiceUnavailableError:
            self._new_session()  # whether it was applied is not known, so its sequence cannot be used for another call
            raise
        except _Refusal as refusal:
            if refusal.applied:
                self._sequence += 1
            if isinstance(refusal.error, PreconditionError) and refusal.field == "sequence":
                raise _LostSession(refusal.error) from refusal.error
            raise refusal.error from None
        self._sequence += 1
        return response

    def _call(self, method: str, request: Any, deadline: float) -> Any:
        """Call until it is answered."""
        delay = _BACKOFF_INITIAL
        unanswered = False
        while True:
            remaining = max(0.001, deadline - _clock())
            attempt = remaining if remaining <= _MIN_ATTEMPT else max(_MIN_ATTEMPT, remaining / 2)
            try:
                return getattr(self.stub, method)(request, timeout=attempt, metadata=self.target.metadata)
            except grpc.RpcError as error:
                code, details, metadata = status_of(error)
            except (OSError, ValueError) as error:  # certificates that cannot be read; a channel that is being closed
                code, details, metadata = "UNAVAILABLE", str(error), ()
            if code not in RETRIED:
                field = field_violation(metadata)
                error_of = from_status(code, details, target=self.target.address, field=field)
                raise _Refusal(error_of, field, (APPLIED, "1") in metadata, unanswered)
            unanswered = True
            pause = delay * (1.0 - 0.5 * self._rng.random())
            if _clock() + pause >= deadline:
                raise ServiceUnavailableError(
                    f"the curriculum service at {self.target.address} did not answer {method} within "
                    f"{self.timeout:g} s: {code}: {details}",
                    target=self.target.address,
                    code=code,
                )
            time.sleep(pause)
            delay = min(_BACKOFF_MAX, 2 * delay)

    @property
    def stub(self) -> pb_grpc.CurriculumServiceStub:
        """Connected in this process."""
        with self._connecting:
            if self._channel is None:
                self._channel = self.target.channel()
            return pb_grpc.CurriculumServiceStub(self._channel)

    def close(self) -> None:
        """Disconnect. The next call connects again."""
        with self._connecting:
            self._disconnect()

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def before_fork(self) -> None:
        """Disconnect: a call that is under way is sent again after the fork."""
        self._connecting.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Let calls connect again."""
        self._connecting.release()

    def after_fork_in_child(self) -> None:
        """Begin a session of the child's own."""
        self._begin()


class _Refusal(Exception):
    """The service refused a call."""

    def __init__(self, error: CurriculumServiceError, field: str, applied: bool, after_unanswered: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.field = field
        self.applied = applied
        self.after_unanswered = after_unanswered


class _LostSession(Exception):
    """The service does not know what this session has sent."""

    def __init__(self, error: CurriculumServiceError) -> None:
        super().__init__(str(error))
        self.error = error

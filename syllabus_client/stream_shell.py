"""StreamShell: the threads and the gRPC stream that connect a SessionMachine to its service."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from syllabus_client.errors import CurriculumServiceError, ServiceUnavailableError, from_status, status_of
from syllabus_client.session import Connection, SessionMachine
from syllabus_client.settings import SessionSettings
from syllabus_client.target import Target
from syllabus_client.task_spaces import TaskSpace
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc

_log = logging.getLogger(__name__)
_clock = time.monotonic
_JOIN_TIMEOUT = 2.0  # seconds for threads to end once their stream is cancelled


class _Stream:
    """One opening of the stream, from its request iterator's point of view."""

    def __init__(self, shell: StreamShell) -> None:
        self._shell = shell
        self.call: Any = None
        self.cancelled = False

    def requests(self) -> Iterator[pb.StreamMetricsRequest]:
        """What to send, as it becomes due. Runs in a thread of gRPC's; ends when the stream has."""
        while messages := self._shell.wait_for_messages(self):
            yield from messages

    def cancel(self) -> None:
        """End the stream, whether it has begun or not."""
        self.cancelled = True
        if self.call is not None:
            self.call.cancel()


class StreamShell:
    """Keeps a stream open for a machine: one thread opens streams and reads them, one of gRPC's sends.

    Whoever uses the machine holds ``lock``, and calls ``poke`` after what may have made a message due.

    Attributes:
        machine: the session.
        lock: guards the machine and everything here.
        changed: on ``lock``; notified when a message arrived, or the stream or the session ended.
        space: the curriculum's tasks, once known.
        step_updates: whether it requires step updates, once known.

    Args:
        target: where the service is.
        settings: how to behave.
    """

    def __init__(self, target: Target, settings: SessionSettings) -> None:
        self.target = target
        self.machine = SessionMachine(target.curriculum, settings)
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.described: pb.Curriculum | None = None
        self.space: TaskSpace | None = None
        self.step_updates: bool | None = None
        self._sender = threading.Condition(self.lock)  # wakes the thread that sends, or the one that connects
        self._asleep_until = -math.inf
        self._stream: _Stream | None = None
        self._channel: grpc.Channel | None = None
        self._problem: CurriculumServiceError | None = None
        self._stopped = False
        self._paused = False
        self._connected = False  # whether there is a channel, or a thread that is about to make one
        self._thread = threading.Thread(target=self._run, name=f"syllabus-session-{target.curriculum}", daemon=True)
        self._thread.start()

    # For those who hold the lock

    def poke(self) -> None:
        """Wake the sending thread where it would sleep too long."""
        if self.machine.due < self._asleep_until:
            self.wake()

    def wake(self) -> None:
        """Wake the sending thread, or the one that connects."""
        self._asleep_until = -math.inf
        self._sender.notify_all()

    @property
    def is_away(self) -> bool:
        """Whether the service was tried and cannot be reached now."""
        return self.machine.connection is not Connection.OPEN and self.machine.last_failure is not None

    def raise_if_ended(self) -> None:
        """Raise CurriculumServiceError where waiting for the service is in vain."""
        address = self.target.address
        if self._problem is not None:
            raise self._problem
        if (fatal := self.machine.fatal) is not None:
            raise from_status(fatal.code, fatal.details, target=address)
        if self._stopped or self.machine.closed:
            raise CurriculumServiceError(f"the session with {address} is closed", target=address, code="CANCELLED")

    def unavailable(self, what: str, timeout: float) -> ServiceUnavailableError:
        """The error that says what the service does not do, within ``timeout`` seconds (0: at all), and why."""
        failure = self.machine.last_failure
        why = "" if failure is None else f": {failure.code}: {failure.details}"
        waited = f" within {timeout:g} s" if timeout else ""
        return ServiceUnavailableError(
            f"the curriculum service at {self.target.address} {what}{waited}{why}",
            target=self.target.address,
            code="UNAVAILABLE",
        )

    # For those who do not

    def pause(self) -> None:
        """Disconnect and stay so, for the sake of a fork; returns when nothing of gRPC's is at work here."""
        deadline = _clock() + _JOIN_TIMEOUT
        with self.lock:
            self._paused = True
            if self._stream is not None:
                self._stream.cancel()
            self.wake()
            while self._connected and (remaining := deadline - _clock()) > 0:
                self.changed.wait(remaining)

    def resume(self) -> None:
        """Connect again, and go on where the session was."""
        with self.lock:
            self._paused = False
            self.wake()

    def stop(self) -> int:
        """End the stream and the threads. How many reports were not delivered."""
        with self.lock:
            self._stopped = True
            left = self.machine.num_undelivered
            if self._stream is not None:
                self._stream.cancel()
            self.wake()
            self.changed.notify_all()
        self._thread.join(_JOIN_TIMEOUT)
        return left

    # The thread that connects and reads

    def _run(self) -> None:
        """Open the stream, read what arrives, and open it again when it ends, until the session is over."""
        try:
            while (stream := self._wait_to_connect()) is not None:
                self._read(stream)
        finally:
            with self.lock:
                self._stopped = True
                self._disconnect()

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._connected = False
        self.changed.notify_all()

    def _wait_to_connect(self) -> _Stream | None:
        with self.lock:
            while not self._stopped and (at := self.machine.connect_at()) is not None:
                if self._paused:
                    self._disconnect()
                    self._sender.wait()
                    continue
                if (delay := at - _clock()) <= 0:
                    self.machine.connected(_clock())
                    self._connected = True
                    self._stream = _Stream(self)
                    return self._stream
                self._sender.wait(delay)
            return None

    def _read(self, stream: _Stream) -> None:
        code, details = "UNAVAILABLE", "the service ended the stream"
        try:
            if self._channel is None:
                self._channel = self.target.channel()
            stub = pb_grpc.CurriculumServiceStub(self._channel)
            stream.call = call = stub.StreamMetrics(stream.requests(), metadata=self.target.metadata)
            if stream.cancelled:
                call.cancel()
            for message in call:
                with self.lock:
                    self._receive(message)
                    if self.machine.must_reconnect or self.machine.closed:
                        stream.cancel()
                        self.wake()
        except grpc.RpcError as error:
            code, details, _ = status_of(error)
        except (OSError, ValueError) as error:  # a certificate that cannot be read, a channel that is closed
            code, details = "UNAVAILABLE", str(error)
        with self.lock:
            self._stream = None
            if self._paused:
                self.machine.paused(_clock())
            else:
                self.machine.disconnected(code, details, _clock())
            self._say_notices()
            self.wake()
            self.changed.notify_all()

    def _receive(self, message: pb.StreamMetricsResponse) -> None:
        machine, now = self.machine, _clock()
        machine.receive(message, now)
        if machine.curriculum is not self.described and machine.curriculum is not None:
            self._describe_as(machine.curriculum)
        self._say_notices()
        self.changed.notify_all()
        machine.next_wakeup(now)
        self.poke()

    def _describe_as(self, curriculum: pb.Curriculum) -> None:
        try:
            space = TaskSpace.from_proto(curriculum.spec.task_space)
        except ValueError as error:
            self._problem = CurriculumServiceError(
                f"the task space of curriculum {self.target.curriculum!r} at {self.target.address} cannot be read: "
                f"{error}",
                target=self.target.address,
            )
            return
        self.machine.set_task_format(space.encoded_dtype, space.encoded_shape, space.decode_many)
        self.space, self.step_updates, self.described = space, curriculum.requires_step_updates, curriculum

    def _say_notices(self) -> None:
        for notice in self.machine.take_notices():
            _log.warning("curriculum %r at %s: %s", self.target.curriculum, self.target.address, notice)

    # The thread that sends

    def wait_for_messages(self, stream: _Stream) -> list[pb.StreamMetricsRequest]:
        """What is due to be sent on a stream; waits for it. Empty when the stream has ended."""
        with self.lock:
            machine = self.machine
            while self._stream is stream and not stream.cancelled:
                now = _clock()
                if messages := machine.poll(now):
                    return messages
                if machine.must_reconnect:
                    stream.cancel()
                    break
                at = machine.next_wakeup(now)
                self._asleep_until = math.inf if at is None else at
                self._sender.wait(None if at is None else max(0.0, at - now))
                self._asleep_until = -math.inf
        return []

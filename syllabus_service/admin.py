"""syllabus-service ls, describe, create, delete: an operator's look at a service that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToJson

from syllabus_client.target import Target
from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_client.wire import curriculum_pb2_grpc as pb_grpc
from syllabus_service.config import ConfigError, load_config


def _connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which service, and how long to wait for it."""
    target = click.option(
        "--target",
        envvar="SYLLABUS_TARGET",
        default="127.0.0.1:50051",
        show_default=True,
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH of the service; also read from SYLLABUS_TARGET. The token and the TLS files are "
        "read from SYLLABUS_TOKEN, SYLLABUS_TLS_CA, SYLLABUS_TLS_CERT and SYLLABUS_TLS_KEY, as every client does.",
    )
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(min=0.0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for each answer.",
    )
    return target(timeout(command))


@click.command("ls")
@_connection_options
def list_command(target: str, timeout: float) -> None:
    """List curricula: name, algorithm, commands applied, and whether they need step updates."""
    with _service(target) as stub:
        token = ""
        while True:
            page = stub.ListCurricula(pb.ListCurriculaRequest(page_token=token), timeout=timeout)
            for each in page.curricula:
                steps = "\tsteps" if each.requires_step_updates else ""
                click.echo(f"{each.name}\t{each.spec.algorithm}\t{each.position}{steps}")
            if not (token := page.next_page_token):
                return


@click.command("describe")
@click.argument("name")
@click.option("--top", type=click.IntRange(0, 1000), default=10, show_default=True, help="How many tasks to name.")
@_connection_options
def describe_command(name: str, top: int, target: str, timeout: float) -> None:
    """Print a curriculum's spec and how it stands, as two JSON objects."""
    with _service(target) as stub:
        found = stub.GetCurriculum(pb.GetCurriculumRequest(curriculum=name), timeout=timeout)
        watch = stub.WatchCurriculum(pb.WatchCurriculumRequest(curriculum=name, top_n=top), timeout=timeout)
        summary = next(watch)
        watch.cancel()
    for message in (found.curriculum, summary):
        click.echo(MessageToJson(message, preserving_proto_field_name=True))


@click.command("create")
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--allow-existing", is_flag=True, help="Accept curricula that exist already with an equal spec.")
@_connection_options
def create_command(config: Path, allow_existing: bool, target: str, timeout: float) -> None:
    """Create the curricula of a curricula.yaml on a service."""
    try:
        configured = load_config(config)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    with _service(target) as stub:
        for each in configured:
            request = pb.CreateCurriculumRequest(name=each.name, spec=each.spec, allow_existing=allow_existing)
            stub.CreateCurriculum(request, timeout=timeout)
            click.echo(each.name)


@click.command("delete")
@click.argument("name")
@_connection_options
def delete_command(name: str, target: str, timeout: float) -> None:
    """Delete a curriculum and all that is stored of it."""
    with _service(target) as stub:
        stub.DeleteCurriculum(pb.DeleteCurriculumRequest(curriculum=name), timeout=timeout)


@contextlib.contextmanager
def _service(target: str) -> Iterator[pb_grpc.CurriculumServiceStub]:
    """A connection; what the service refuses is said in one line, with exit code 1."""
    try:
        found = Target.of_service(target)
        channel = grpc.intercept_channel(found.channel(), _Metadata(found.metadata))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    with channel:
        try:
            yield pb_grpc.CurriculumServiceStub(channel)
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                raise
            raise click.ClickException(f"{target}: {error.code().name}: {error.details()}") from error


class _Metadata(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends the same metadata with each call."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), request)

"""syllabus-service replay: an operator's look at stored curricula, without a service."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import click
from google.protobuf.json_format import MessageToJson

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.errors import RequestError
from syllabus_service.host import CurriculumHost
from syllabus_service.replay import replay, verify
from syllabus_service.specs import build_curriculum, lease_seconds
from syllabus_service.store import SqliteStore, Store, StoreError, StoreUnavailableError, open_store
from syllabus_service.store.opening import sqlite_directory
from syllabus_service.store.sqlite import DATABASE_NAME


@click.command("replay")
@click.option("--data-dir", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Of the service.")
@click.option("--store", "store_url", metavar="URL", help="Of the service, instead of --data-dir.")
@click.option("--curriculum", "name", required=True, metavar="NAME", help="Which curriculum.")
@click.option("--until", type=click.IntRange(min=0), metavar="N", help="After command N instead of the last one.")
@click.option("--verify", "verify_snapshots", is_flag=True, help="Check every snapshot against the replay.")
@click.option("--top", type=click.IntRange(0, 1000), default=10, show_default=True, help="How many tasks to name.")
def replay_command(
    data_dir: Path | None, store_url: str | None, name: str, until: int | None, verify_snapshots: bool, top: int
) -> None:
    """Apply a stored journal again, and print the distribution and the statistics as JSON.

    Changes nothing. The service that owns a --data-dir must be stopped first. With --verify, prints one line for each
    snapshot, and the exit code is 1 when one is not what the journal gives.
    """
    if (data_dir is None) == (store_url is None):
        raise click.UsageError("expected --data-dir or --store")
    if verify_snapshots and until is not None:
        raise click.UsageError("--until and --verify exclude each other")
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(_open(data_dir, store_url))
            spec = _spec(store, name)

            def make_host() -> CurriculumHost:
                curriculum = build_curriculum(spec, may_import=lambda algorithm: True)
                return CurriculumHost(curriculum, lease_seconds=lease_seconds(spec))

            if verify_snapshots:
                _print_verdicts(store, name, make_host)
            else:
                _print_state(replay(store, name, make_host, until), top)
        except (StoreError, RequestError, ValueError) as error:
            raise click.ClickException(str(error)) from error


def _open(data_dir: Path | None, store_url: str | None) -> Store:
    directory = data_dir if store_url is None else sqlite_directory(store_url)
    if directory is None:
        return open_store(store_url or "")
    if not (directory / DATABASE_NAME).is_file():  # opening it would make one
        raise StoreUnavailableError(f"{directory}: there is no {DATABASE_NAME}")
    return SqliteStore(directory)


def _spec(store: Store, name: str) -> pb.CurriculumSpec:
    known = {stored.name: stored.spec for stored in store.list_curricula()}
    if name not in known:
        raise click.ClickException(f"there is no curriculum {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return pb.CurriculumSpec.FromString(known[name])


def _print_state(host: CurriculumHost, top: int) -> None:
    statistics = host.statistics(pb.GetStatisticsRequest(top_n=top))
    for message in (host.summary(top), statistics):
        click.echo(MessageToJson(message, preserving_proto_field_name=True))


def _print_verdicts(store: Store, name: str, make_host: Callable[[], CurriculumHost]) -> None:
    failed = False
    for verdict in verify(store, name, make_host):
        failed |= not verdict.equal
        if verdict.replayed_from is None:
            click.echo(f"snapshot {verdict.position}: not checked, the journal in front of it is trimmed")
        else:
            outcome = "equal" if verdict.equal else "DIFFERENT"
            click.echo(f"snapshot {verdict.position}: {outcome} to a replay from {verdict.replayed_from}")
    click.echo(f"the journal of {name} can be replayed to its end, {store.last_position(name)}")
    if failed:
        raise click.ClickException("a snapshot is not what the journal gives")

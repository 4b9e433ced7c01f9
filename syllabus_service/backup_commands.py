"""syllabus-service backup, restore: an operator's copies of stored curricula, without a service."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from syllabus_service.backup import History, back_up, restore
from syllabus_service.backup_file import BackupError
from syllabus_service.store import SqliteStore, Store, StoreError, open_store
from syllabus_service.store.opening import sqlite_directory
from syllabus_service.store.sqlite_reader import SqliteReader

_store = click.option("--store", "store_url", metavar="URL", help="Or the URL of its store, as of 'serve --store'.")
_names = click.option(
    "--curriculum", "names", multiple=True, metavar="NAME", help="Only this one; may be given several times."
)


@click.command("backup")
@click.argument("file", metavar="FILE")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Of the service.")
@_store
@_names
def backup_command(file: str, data_dir: Path | None, store_url: str | None, names: tuple[str, ...]) -> None:
    """Copy stored curricula to FILE, or to standard output for '-'. The service may go on meanwhile.

    The file has all that was acknowledged before the command was started. It is there only when it is whole. On
    standard output, what is cut short has no end, and 'restore' refuses it.
    """
    with _one_line_errors(), contextlib.ExitStack() as stack:
        directory = _directory(data_dir, store_url)
        history: History
        if directory is not None:
            history = stack.enter_context(SqliteReader(directory))
        else:
            history = stack.enter_context(open_store(store_url or ""))
        for each in back_up(history, stack.enter_context(_output(file)), names):
            click.echo(f"{each.name}\t{each.last_position}\t{each.num_records} records", err=True)


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Where to; made if need be.")
@_store
@_names
@click.option(
    "--moved",
    is_flag=True,
    help="The service was stopped before the backup was made, and nothing was served since: sessions go on where they "
    "were. Without it they begin anew.",
)
def restore_command(
    file: Path, data_dir: Path | None, store_url: str | None, names: tuple[str, ...], moved: bool
) -> None:
    """Bring the curricula of FILE into a store that has none of these names; it may be of another kind.

    Each curriculum is restored wholly or not at all, and none where the file is damaged or cut short. A service on that
    --data-dir must be stopped meanwhile. One on that PostgreSQL database serves them when they are first asked for.
    """
    with _one_line_errors(), contextlib.ExitStack() as stack:
        directory = _directory(data_dir, store_url)
        store: Store = stack.enter_context(
            SqliteStore(directory) if directory is not None else open_store(store_url or "")
        )
        for each in restore(file, store, names, moved=moved):
            click.echo(f"{each.name}\t{each.last_position}\t{each.num_records} records", err=True)


def _directory(data_dir: Path | None, store_url: str | None) -> Path | None:
    """Where the SQLite store is; None for one of another kind."""
    if (data_dir is None) == (store_url is None):
        raise click.UsageError("expected --data-dir or --store")
    return data_dir if store_url is None else sqlite_directory(store_url)


@contextlib.contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name when the block has ended well."""
    if file == "-":
        yield sys.stdout.buffer
        return
    path = Path(file)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What an operator can mend, as one line and exit code 1."""
    try:
        yield
    except (BackupError, StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error

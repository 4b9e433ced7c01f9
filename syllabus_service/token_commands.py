"""syllabus-service token new, ls, revoke: an operator's hand on the file of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import ValidationError

from syllabus_service.tokens import Scope, add_token, load_tokens, make_token, remove_token, utc_now
from syllabus_service.yaml_files import ConfigError


def _file_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--file",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("tokens.yaml"),
        show_default=True,
        help="The file that 'serve --tokens' reads.",
    )(command)


@click.group("token")
def token_commands() -> None:
    """Make, list and revoke bearer tokens. A service that runs reads the file again by itself."""


@token_commands.command("new")
@click.option("--id", "token_id", required=True, metavar="NAME", help="Its name, for logs and for revoking it.")
@click.option(
    "--scope",
    type=click.Choice([scope.name.lower() for scope in Scope]),
    required=True,
    help="worker: runs tasks and reports episodes. learner: also creates, updates, reads and restores curricula. "
    "admin: also deletes them.",
)
@click.option(
    "--curriculum",
    multiple=True,
    metavar="NAME|GLOB",
    help="A curriculum that it is for, such as maze-run-7 or 'maze-*'; may be given several times. Without it: all.",
)
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
    help="When it ends, in UTC where no zone is given. Without it: never.",
)
@_file_option
def new_command(token_id: str, scope: str, curriculum: tuple[str, ...], expires: datetime | None, path: Path) -> None:
    """Print a new token, and add its hash to the file. It is printed this once and kept nowhere."""
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    if expires is not None and expires <= utc_now():
        raise click.UsageError("--expires: expected a time to come")
    with _one_line_errors():
        text, entry = make_token(token_id, scope, curricula=list(curriculum) or None, expires=expires)
        add_token(path, entry)
    click.echo(text)


@token_commands.command("ls")
@_file_option
def list_command(path: Path) -> None:
    """List tokens: name, scope, curricula, end."""
    with _one_line_errors():
        known = load_tokens(path).tokens
    for token in known:
        curricula = ",".join(token.curricula) if token.curricula is not None else "*"
        expires = token.expires.isoformat() if token.expires is not None else "never"
        ended = "\texpired" if token.has_expired(utc_now()) else ""
        click.echo(f"{token.id}\t{token.scope}\t{curricula}\t{expires}{ended}")


@token_commands.command("revoke")
@click.argument("token_id", metavar="NAME")
@_file_option
def revoke_command(token_id: str, path: Path) -> None:
    """Remove a token from the file. A service that runs refuses it, and ends its streams, within seconds."""
    with _one_line_errors():
        remove_token(path, token_id)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """What an operator can mend, as one line and exit code 1."""
    try:
        yield
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise click.ClickException(wrong) from error

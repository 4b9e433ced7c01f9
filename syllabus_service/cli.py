"""syllabus-service: the command line."""

from __future__ import annotations

from importlib.metadata import version

import click

from syllabus_service.admin import create_command, delete_command, describe_command, list_command
from syllabus_service.backup_commands import backup_command, restore_command
from syllabus_service.offline import replay_command
from syllabus_service.serve_command import serve_command
from syllabus_service.token_commands import token_commands


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("syllabus-service"), prog_name="syllabus-service")
def main() -> None:
    """Schedules curricula for reinforcement learning, over gRPC."""


for _command in (
    serve_command,
    list_command,
    describe_command,
    create_command,
    delete_command,
    backup_command,
    restore_command,
    replay_command,
    token_commands,
):
    main.add_command(_command)

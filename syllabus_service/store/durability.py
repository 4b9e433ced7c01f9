"""Durability: what a commit waits for, and so what may be lost."""

from __future__ import annotations

from enum import Enum


class Durability(Enum):
    """What a commit waits for, and so what may be lost.

    With SQLite the machine is the service's own. With PostgreSQL it is the database's: a killed or lost service loses
    nothing with any of them, and what is said of a crash or a power cut is true of the database server, process or
    machine.
    """

    FSYNC = "fsync"
    """The disk. Nothing acknowledged is lost, whatever stops: process, machine or power."""
    OS = "os"
    """The operating system. A killed process loses nothing; a crashed machine or a power cut may lose the last seconds
    of acknowledged commands, and leaves a valid earlier state."""
    NONE = "none"
    """Nothing. A killed process loses nothing; a crashed machine or a power cut may leave a database that cannot be
    read (SQLite), or lose the last seconds (PostgreSQL)."""

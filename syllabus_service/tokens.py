"""Bearer tokens: who may do what with which curricula; in a file that holds only their hashes."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AwareDatetime, Field, model_validator

from syllabus_service.file_stamps import file_stamp
from syllabus_service.yaml_files import ConfigError, Strict, read_yaml

MAX_TOKENS = 256
"""Most tokens of a file: every request is compared with all of them."""

_PREFIX = "syl_"
_RANDOM_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
_ID = r"^[A-Za-z0-9._-]{1,128}$"
_SHA256 = r"^[0-9a-f]{64}$"
_PATTERN = r"^[A-Za-z0-9._*?\[\]!-]{1,128}$"


class Scope(enum.IntEnum):
    """What a token is for. Each one includes those before it."""

    WORKER = 1
    """Runs tasks and reports episodes."""
    LEARNER = 2
    """Creates curricula, updates them, reads and restores them."""
    ADMIN = 3
    """Deletes curricula."""


class Token(Strict):
    """One entry of the file.

    A token is 256 random bits, so nobody can find it from its plain SHA-256. A slow, salted hash is for secrets that
    people choose, and would be paid by every request.
    """

    id: str = Field(pattern=_ID)
    """Its name, for logs and for being revoked."""
    sha256: str = Field(pattern=_SHA256)
    """SHA-256 of the token's text, in hexadecimal."""
    scope: Annotated[str, Field(pattern="^(worker|learner|admin)$")]
    """``worker``, ``learner`` or ``admin``. One is enough: each includes those before it."""
    curricula: list[Annotated[str, Field(pattern=_PATTERN)]] | None = Field(default=None, min_length=1)
    """Names of curricula, or globs such as ``maze-*``. None: all."""
    expires: AwareDatetime | None = None
    """When it ends, with its time zone. None: never."""

    @cached_property
    def rank(self) -> Scope:
        """The scope, comparable."""
        return Scope[self.scope.upper()]

    def covers(self, curriculum: str) -> bool:
        """Whether the token is for a curriculum of this name."""
        return self.curricula is None or any(fnmatchcase(curriculum, each) for each in self.curricula)

    def has_expired(self, now: datetime) -> bool:
        """Whether it has ended at ``now``."""
        return self.expires is not None and now >= self.expires


class Tokens(Strict):
    """The file's contents."""

    tokens: list[Token] = Field(default_factory=list, max_length=MAX_TOKENS)

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        for name in ("id", "sha256"):
            values = [getattr(token, name) for token in self.tokens]
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"expected tokens of different {name}, got {twice[0]} twice")
        return self

    def find(self, text: str) -> Token | None:
        """The token of this text, whether or not it has expired; None where it is not known, or no token at all.

        It is compared with every entry, each in constant time: how long it takes says nothing about any of them. O(N).
        """
        if not _TOKEN.fullmatch(text):
            return None
        digest = hash_token(text)
        equal = [hmac.compare_digest(digest, each) for each in self.digests]
        return self.tokens[equal.index(True)] if any(equal) else None

    @cached_property
    def digests(self) -> list[bytes]:
        """The hashes, in order."""
        return [bytes.fromhex(token.sha256) for token in self.tokens]


def load_tokens(path: Path) -> Tokens:
    """Read a file such as::

        tokens:
          - id: workers
            sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
            scope: worker                 # or learner, which includes worker, or admin, which includes both
            curricula: [maze-*, doom]     # without it: all
            expires: 2027-01-31T00:00:00Z # without it: never

    Raises ConfigError, naming the file, the line and the key.
    """
    return read_yaml(path, Tokens)[0]


def hash_token(text: str) -> bytes:
    """SHA-256 of a token's text."""
    return hashlib.sha256(text.encode()).digest()


def make_token(
    token_id: str, scope: str, *, curricula: list[str] | None = None, expires: datetime | None = None
) -> tuple[str, Token]:
    """A new token: its text, which is nowhere else, and its entry. Raises pydantic.ValidationError."""
    text = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    entry = Token(id=token_id, sha256=hash_token(text).hex(), scope=scope, curricula=curricula, expires=expires)
    return text, entry


def add_token(path: Path, token: Token) -> None:
    """Add an entry to a file, which is made where there is none. Raises ConfigError where its id is taken."""
    with _changing(path):
        known = load_tokens(path).tokens if path.exists() else []
        if any(each.id == token.id for each in known):
            raise ConfigError(f"{path}: there is a token with the id {token.id}; revoke it first")
        if len(known) >= MAX_TOKENS:
            raise ConfigError(f"{path}: there are {MAX_TOKENS} tokens, and no more are allowed")
        _write(path, [*known, token])


def remove_token(path: Path, token_id: str) -> None:
    """Remove an entry from a file. Raises ConfigError where there is none."""
    with _changing(path):
        known = load_tokens(path).tokens
        rest = [each for each in known if each.id != token_id]
        if len(rest) == len(known):
            raise ConfigError(f"{path}: there is no token with the id {token_id}")
        _write(path, rest)


class TokenFile:
    """A file of tokens, and what it said when it was last read whole.

    Args:
        path: the file.

    Raises:
        ConfigError: the file is wrong from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = file_stamp(path)
        self.tokens = load_tokens(path)

    def reload(self) -> bool:
        """Read the file again if it has changed; returns whether ``tokens`` is new.

        Raises ConfigError, once for each state of the file, where it is wrong; ``tokens`` stays as it was.
        """
        stamp = file_stamp(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self.tokens = load_tokens(self.path)
        return True


def utc_now() -> datetime:
    """The time by which tokens expire."""
    return datetime.now(UTC)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep other processes from changing the file: the directory is locked, for the file itself will be replaced."""
    try:
        directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be changed: {error}") from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _write(path: Path, tokens: list[Token]) -> None:
    """Replace the file at once: whoever reads it sees all of the old one or all of the new one. Only for its owner."""
    content = {"tokens": [token.model_dump(exclude_none=True) for token in tokens]}
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                yaml.safe_dump(content, file, sort_keys=False)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error

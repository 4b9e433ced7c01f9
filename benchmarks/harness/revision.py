"""Which sources were measured: their commit, and whether they were changed since."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from benchmarks.harness.arms import ROOT

_WRITTEN_BY_BENCHMARKS = (":!docs", ":!README.md", ":!benchmarks/results")


def revision() -> dict[str, Any]:
    """``commit``: its hash, None where this is no checkout. ``dirty``: whether the sources are not those of it."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN_BY_BENCHMARKS)
    return {"commit": commit or None, "dirty": bool(changes) or not commit}


def of_commit(sources: Mapping[str, Any]) -> str:
    """What ``revision`` tells, for people, to stand behind what was done of it: `` of abc0123456`` and the like."""
    if not sources["commit"]:
        return ""
    return f" of {sources['commit'][:10]}{' and changes' if sources['dirty'] else ''}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], check=True, cwd=ROOT, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()

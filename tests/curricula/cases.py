"""All cases of the conformance suite: each family's list, one after the other."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from .case import Case

FAMILIES = ("cases_simple", "cases_progress", "cases_replay")
"""Modules of this package, each with a list ``CASES``."""


def _load() -> list[Case]:
    found: list[Case] = []
    for family in FAMILIES:
        if find_spec(f".{family}", __package__) is not None:
            found += importlib.import_module(f".{family}", __package__).CASES
    ids = [case.id for case in found]
    if len(set(ids)) != len(ids):
        raise ValueError(f"two cases have one id: {sorted(i for i in ids if ids.count(i) > 1)}")
    return found


CURRICULA: list[Case] = _load()

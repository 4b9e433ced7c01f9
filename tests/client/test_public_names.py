"""The package's public names: all importable by name, and nothing heavy comes with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import syllabus_client

RAY = {"RaySyncWrapper", "make_ray_curriculum"}


@pytest.mark.parametrize("name", sorted(set(syllabus_client.__all__) - RAY))
def test_every_public_name_is_there(name):
    assert getattr(syllabus_client, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        syllabus_client.no_such_name  # noqa: B018


def test_known_failure_26_importing_needs_nothing_that_is_not_declared():
    blocked = ("matplotlib", "scipy", "torch", "ray", "pandas", "wandb", "tensorboard", "pettingzoo", "rich", "psycopg")
    code = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import syllabus_client, syllabus_service.cli, syllabus_service.curricula
for name in set(syllabus_client.__all__) - {RAY!r} - {{"PettingZooSyncWrapper", "PettingZooTaskWrapper"}}:
    getattr(syllabus_client, name)
for name in syllabus_service.curricula.names():
    syllabus_service.curricula.registry.resolve(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_client_imports_neither_the_service_nor_what_only_the_service_needs():
    code = f"""
import sys, syllabus_client
for name in set(syllabus_client.__all__) - {RAY!r} - {{"PettingZooSyncWrapper", "PettingZooTaskWrapper"}}:
    getattr(syllabus_client, name)
heavy = {{"syllabus_service", "structlog", "pydantic", "yaml", "click", "cloudpickle"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

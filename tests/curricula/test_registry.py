"""The names by which curricula are made and imported."""

from __future__ import annotations

import pytest

from syllabus_service import curricula
from syllabus_service.curricula import registry


@pytest.mark.parametrize("name", registry._BUILT_IN)
def test_the_class_of_every_name_can_be_imported_from_the_package(name: str) -> None:
    found = registry.resolve(name)
    assert getattr(curricula, found.__name__) is found
    assert found.__name__ in dir(curricula)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Levelreplay"):
        curricula.Levelreplay  # noqa: B018

"""One relay with one agent for all tests of mode on-premise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.troubles.premise import Premise


@pytest.fixture(scope="session")
def premise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Premise]:
    with Premise.standing(tmp_path_factory.mktemp("troubles")) as premise:
        yield premise
        assert premise.road.leaks() == []

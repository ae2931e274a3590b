"""A relay that runs as a process of its own, to be asked from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.road import Road


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """Each module's own: what it finds there, it has put there."""
    road = Road(tmp_path_factory.mktemp("contract"))
    road.start_relay()
    yield road
    road.close()

"""A relay that runs as a process of its own, to be asked from outside: once on SQLite, once on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.relay.conftest import database_flags, new_postgresql, postgresql
from tests.system.road import Road

__all__ = ["new_postgresql", "postgresql"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """Each module's own: what it finds there, it has put there."""
    with database_flags(request, request.param) as flags:
        road = Road(tmp_path_factory.mktemp("contract"), settings=flags)
        road.start_relay()
        yield road
        road.close()

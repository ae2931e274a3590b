"""Chromium and a relay, for the tests of one module: its loop must be gone before asyncio's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.console.stage import Stage, build, chromium
from tests.system.road import Road


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    road = Road(tmp_path_factory.mktemp("console"))
    road.start_relay()
    yield road
    road.close()


@pytest.fixture(scope="module")
def stage(road: Road) -> Stage:
    return build(road)

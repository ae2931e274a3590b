"""The roads that the tests of both sides share, and what is shown of them when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.relay.conftest import new_postgresql, postgresql
from tests.system.bad_input import KEY, Ground
from tests.system.lan import DOMAIN, Lan, open_lan
from tests.system.road import OPEN, Connection, NewRoad, Road, Shop

__all__ = ["new_postgresql", "postgresql"]

for _name in ("authentication", "failures", "formats", "hosts", "images", "queries", "writes"):
    pytest.register_assert_rewrite(f"tests.store_conformance.test_{_name}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes a minute or more (bounded memory)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the last lines of every program's log."""
    report = yield
    if report.failed and item.path.parent == Path(__file__).parent:
        report.sections += [(f"programs of {road.home.name}", road.logs()) for road in OPEN]
    return report


@pytest.fixture(scope="session")
def new_road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewRoad]:
    """Makes a road with a running relay; a test that breaks things takes one of its own."""
    roads: list[Road] = []

    def make(name: str, *, start: bool = True, **more: Any) -> Road:
        road = Road(tmp_path_factory.mktemp(name), **more)
        roads.append(road)
        if start:
            road.start_relay()
        return road

    yield make
    with ExitStack() as stack:
        for road in roads:
            if road in OPEN:
                stack.callback(road.close)


@pytest.fixture(scope="session")
def road(new_road: NewRoad) -> Road:
    """The relay that most tests share. They add to it, and take away only what they have added."""
    return new_road("shared")


@pytest.fixture(scope="session")
def lan(road: Road) -> Iterator[Lan]:
    with open_lan(road) as made:
        yield made


@pytest.fixture(scope="session")
def shop(lan: Lan) -> Shop:
    return lan.shop


@pytest.fixture(scope="session")
def connection(road: Road, lan: Lan) -> Connection:
    """The main shop with the key that may do everything."""
    return road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)


@pytest.fixture(scope="session")
def ground(road: Road, lan: Lan, connection: Connection, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """What bad input is tried on."""
    made = Ground(tmp_path_factory.mktemp("bad-input"), road, lan, connection, road.new_agent().token)
    made.file("token", made.token, 0o600)
    made.file("key", KEY, 0o600)
    return made

"""The roads that the tests of both sides share, and what is shown of them when a test fails."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.store_conformance.replay import RECORDED_DOMAIN
from tests.system.programs import HOST, free_ports
from tests.system.road import OPEN, Agent, Connection, Road, Shop

for _name in ("authentication", "failures", "formats", "hosts", "images", "queries", "writes"):
    pytest.register_assert_rewrite(f"tests.store_conformance.test_{_name}")

DOMAIN = "shop.test"
CONFORMANCE_DOMAIN = "shop.example"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes a minute or more (bounded memory)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the last lines of every program's log."""
    report = yield
    if report.failed and item.path.parent == Path(__file__).parent:
        report.sections += [(f"programs of {road.home.name}", road.logs()) for road in OPEN]
    return report


NewRoad = Callable[..., Road]


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


@dataclass(frozen=True, slots=True)
class Lan:
    """What stands at the inner end of the shared road."""

    shop: Shop
    agent: Agent
    conformance_port: int  # where a shop may be put that is published as CONFORMANCE_DOMAIN
    recorded_port: int  # the same for RECORDED_DOMAIN


@pytest.fixture(scope="session")
def lan(road: Road) -> Iterator[Lan]:
    """One agent that publishes a shop, and some names behind which there is none."""
    shop = road.start_shop("--domain", DOMAIN, name="main-shop")
    conformance, recorded, refused = free_ports(3)
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind((HOST, 0))
        deaf.listen(0)
        _fill(deaf, stack)
        stores = {
            DOMAIN: f"{HOST}:{shop.port}",
            CONFORMANCE_DOMAIN: f"{HOST}:{conformance}",
            RECORDED_DOMAIN: f"{HOST}:{recorded}",
            "refused.test": f"{HOST}:{refused}",
            "nowhere.test": "nosuch.invalid:80",
            "silent.test": f"{HOST}:{deaf.getsockname()[1]}",
        }
        entry = road.new_agent("main")
        agent = road.start_agent(entry, [f"http://{name}={address}" for name, address in stores.items()])
        yield Lan(shop, agent, conformance, recorded)


def _fill(deaf: socket.socket, stack: ExitStack) -> None:
    """Take every place in the queue of a listener that accepts nobody: who comes now gets no answer at all."""
    while True:
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0.2)
        try:
            waiting.connect(deaf.getsockname())
        except TimeoutError:
            return


@pytest.fixture(scope="session")
def shop(lan: Lan) -> Shop:
    return lan.shop


@pytest.fixture(scope="session")
def connection(road: Road, lan: Lan) -> Connection:
    """The main shop with the key that may do everything."""
    return road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)

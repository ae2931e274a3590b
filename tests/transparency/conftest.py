"""One relay and one agent as real processes, and in this process the stores behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.store_conformance.replay import RECORDED_DOMAIN
from tests.system.programs import HOST, free_ports
from tests.system.road import OPEN, Connection, Road
from tests.transparency.asking import Played, direct, relayed
from tests.transparency.playing import Player
from tests.transparency.shops import KEYS, Backstage, Shops

PLAYED, SHOP_DOMAIN = "played.test", "shop.test"
KEY = "STOREKEYSTOREKEYSTOREKEYSTOREKEY"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the last lines of every program's log."""
    report = yield
    if report.failed and item.path.parent == Path(__file__).parent:
        report.sections += [(f"programs of {road.home.name}", road.logs()) for road in OPEN]
    return report


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    road = Road(tmp_path_factory.mktemp("transparency"))
    with contextlib.closing(road):
        road.start_relay()
        yield road


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    with Player() as player:
        yield player


@pytest.fixture(scope="session")
def shop_ports() -> dict[str, int]:
    """Where a test may put a stand-in shop that the agent publishes under these domains."""
    return dict(zip((RECORDED_DOMAIN, SHOP_DOMAIN), free_ports(2), strict=True))


@pytest.fixture(scope="session")
def agent(road: Road, player: Player, shop_ports: dict[str, int]) -> str:
    """The id of an agent that publishes all stores."""
    entry = road.new_agent("transparency")
    ports = {PLAYED: player.port, **shop_ports}
    road.start_agent(entry, [f"http://{name}={HOST}:{port}" for name, port in ports.items()])
    return entry.id


@pytest.fixture(scope="session")
def both(road: Road, player: Player, agent: str) -> Played:
    """The playing store on both roads."""
    connection = road.connect(agent, f"http://{PLAYED}", KEY)
    return Played(direct(player.port, PLAYED, KEY), relayed(connection), player, player, player)


@pytest.fixture(scope="session")
def backstage() -> Iterator[Backstage]:
    with Backstage() as backstage:
        yield backstage


@pytest.fixture(scope="session")
def connections(road: Road, agent: str) -> dict[str, dict[str, Connection]]:
    """For each domain a connection per key."""
    return {
        domain: {name: road.connect(agent, f"http://{domain}", key) for name, key in KEYS.items()}
        for domain in (RECORDED_DOMAIN, SHOP_DOMAIN)
    }


OpenShops = Callable[[str], contextlib.AbstractContextManager[Shops]]


@pytest.fixture(scope="session")
def open_shops(
    backstage: Backstage, shop_ports: dict[str, int], connections: dict[str, dict[str, Connection]]
) -> OpenShops:
    @contextlib.contextmanager
    def opened(domain: str) -> Iterator[Shops]:
        with backstage.store(domain) as one, backstage.store(domain, shop_ports[domain]) as other:
            yield Shops(one, other, connections[domain])

    return opened


@pytest.fixture(scope="module")
def lasting_shops(open_shops: OpenShops) -> Iterator[Shops]:
    """Shops that go through a whole module's calls."""
    with open_shops(SHOP_DOMAIN) as shops:
        yield shops


@pytest.fixture
def shops(open_shops: OpenShops) -> Iterator[Shops]:
    """Shops as they stood when the exchanges with a PrestaShop were recorded."""
    with open_shops(RECORDED_DOMAIN) as shops:
        yield shops

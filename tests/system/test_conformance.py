"""What a PrestaShop answers, it answers through relay and agent too: the store's own conformance tests, relayed."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator

import pytest

from tests.store import Store
from tests.store_conformance import (
    test_authentication,
    test_failures,
    test_formats,
    test_hosts,
    test_images,
    test_queries,
    test_writes,
)
from tests.store_conformance.asking import KEY_NAMES, Response, Shop, ask, get
from tests.store_conformance.numbers import CHANGED_BY_A_RELAY
from tests.store_conformance.replay import (
    RECORDED_DOMAIN,
    UNRECORDED,
    WEBSERVICE_OFF_FROM,
    differences,
    load,
    repeat,
)
from tests.store_conformance.scene import open_scene
from tests.system.lan import CONFORMANCE_DOMAIN, Lan
from tests.system.relayed import RelayedShop
from tests.system.road import Road

UNKNOWN = "A" * 32
KEYS = {name: f"{name:K<32}" for name in KEY_NAMES}

# beyond those that the assertions themselves name
OTHERWISE = {
    "4": "a connection takes no key of another length than 32",
    "5": "a connection takes no key of another length than 32",
    "12": "how the key travels is the connection's setting: see test_12 here",
    "85": "its last part asks for the front page: see test_85 here",
    "86": "a part of it asks under /second: see test_86 here",
}
# recordings that are about the caller's credential or Host, which the relay judges
NOT_RELAYED = {"001", "004", "008", "009", "030", "032", "243", "247", "248", "254"}

for module in (
    test_authentication,
    test_failures,
    test_formats,
    test_hosts,
    test_images,
    test_queries,
    test_writes,
):
    for name, function in list(vars(module).items()):
        number = re.match(r"test_(\d+a?)_", name)
        if number and number[1] not in CHANGED_BY_A_RELAY and number[1] not in OTHERWISE:
            globals()[name] = function


def test_none_of_the_assertions_is_forgotten() -> None:
    """Each of 1 to 90 that no relay changes is run through the relay."""
    here = {found[1] for name in globals() if (found := re.match(r"test_(\d+a?)_", name))}
    wanted = {str(number) for number in range(1, 91)} | {"39a"}
    assert here == (wanted - set(CHANGED_BY_A_RELAY) - set(OTHERWISE)) | {"12", "85", "86"}


@pytest.fixture(scope="module")
def relayed(road: Road, lan: Lan) -> RelayedShop:
    """One connection for each key of the assertions."""
    values = {**KEYS, UNKNOWN: UNKNOWN}
    url, agent = f"http://{CONFORMANCE_DOMAIN}", lan.agent.entry.id
    return RelayedShop(road.http_port, {name: road.connect(agent, url, value) for name, value in values.items()})


@pytest.fixture
async def store(lan: Lan) -> AsyncIterator[Store]:
    """A fresh shop for each test, always at the address that the agent publishes."""
    keys = {KEY_NAMES[name]: value for name, value in KEYS.items()}
    async with Store.serve(
        port=lan.conformance_port, shop=open_scene(), domain=CONFORMANCE_DOMAIN, keys=keys
    ) as running:
        yield running


@pytest.fixture
def shop(store: Store, relayed: RelayedShop) -> Shop:
    return relayed


async def test_12_stripped_authorization(road: Road, lan: Lan, shop: Shop, store: Store) -> None:
    """12. Authorization stripped: the plain 401 of the shop comes back; with the key in the query it works."""
    store.knobs.auth_stripped = True
    stripped = await get(shop, "/api/orders")
    assert (stripped.status, stripped.body) == (401, b"401 Unauthorized")
    in_query = road.connect(lan.agent.entry.id, f"http://{CONFORMANCE_DOMAIN}", store.keys["full"], key_place="ws_key")
    relayed = RelayedShop(road.http_port, {"FULL": in_query})
    assert (await get(relayed, "/api/orders")).status == 200
    assert (await get(relayed, f"/api/orders?ws_key={in_query.access_key}", key=None)).status == 200


async def test_85_what_does_not_redirect(shop: Shop, store: Store) -> None:
    """85. SSL flag on, or maintenance: the webservice answers through the relay all the same."""
    store.knobs.ssl = store.knobs.maintenance = True
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.hrefs[0]) == (200, "https://shop.example/api/orders/1")


async def test_86_several_shops(road: Road, lan: Lan, shop: Shop, store: Store) -> None:
    """86. id_shop and id_group_shop as without a relay; the second shop has a connection of its own, by its path."""
    unknown = await get(shop, "/api/products?id_shop=99")
    assert (unknown.status, unknown.header("Location")) == (302, "http://shop.example/?url=products")
    assert (await get(shop, "/api/products?id_group_shop=99")).codes == [999]
    store.knobs.shops = 2
    assert (await get(shop, "/api/products/5?id_shop=2")).codes == [131]
    assert (await get(shop, "/api/products?id_shop=2")).ids == [1, 2, 3]
    url = f"http://{CONFORMANCE_DOMAIN}/second"
    second = RelayedShop(road.http_port, {"FULL": road.connect(lan.agent.entry.id, url, store.keys["full"])})
    assert (await get(second, "/api/products")).hrefs[0] == "http://shop.example/second/api/products/1"


async def test_recorded_exchanges(road: Road, lan: Lan) -> None:
    """What was recorded of a real PrestaShop comes back through the relay as it was recorded."""
    keys = {KEY_NAMES[name]: value for name, value in KEYS.items()}
    agent = lan.agent.entry.id
    wrong: dict[str, list[str]] = {}
    answers: dict[str, Response] = {}
    async with Store.serve(port=lan.recorded_port, domain=RECORDED_DOMAIN, keys=keys) as demo:
        connections = {name: road.connect(agent, f"http://{RECORDED_DOMAIN}", value) for name, value in KEYS.items()}
        relayed = RelayedShop(road.http_port, connections)
        for exchange in load():
            if exchange.number in NOT_RELAYED:
                continue
            if exchange.number in UNRECORDED:
                method, target, body = UNRECORDED[exchange.number]
                assert (await ask(relayed, target, method=method, body=body)).status == 200
            demo.knobs.webservice = exchange.number < WEBSERVICE_OFF_FROM
            answer = answers[exchange.number] = await repeat(relayed, exchange)
            if found := differences(exchange, answer, direct=False):
                wrong[exchange.name] = found
    assert wrong == {}
    assert len(answers) == 70 - len(NOT_RELAYED)
    assert answers["229"].body == base64.b64decode(answers["227"].xml.findtext("content") or "")

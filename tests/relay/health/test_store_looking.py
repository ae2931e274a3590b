"""One look at a stand-in store, through the real gateway: with a key, without, and what comes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import pytest
from pydantic import SecretStr

from agent.wire.stream import Stream
from relay.gateway import turns
from relay.gateway.call import call
from relay.health import store_looking
from relay.health.store_answers import Finding
from relay.health.store_health import Store
from relay.health.store_looking import Looking
from relay.records import Connection, KeyPlace
from tests.relay.prestashop.scene import Place, place

STORE = Store("acc_one", "agt_one", "shop.example:80")
GOOD = Finding(reachable=True, answering=True, key=True)


def looking(shop: Place) -> Looking:
    return Looking(shop.gateway, time.time)


def with_key(shop: Place, name: str, **changes: Any) -> Connection:
    return dataclasses.replace(shop.connection, api_key=SecretStr(shop.store.keys[name]), **changes)


async def served(shop: Place) -> None:
    """A request that is no look is answered well."""
    answer = await call(shop.gateway, shop.connection, "/api/products?limit=1", limit=10_000, deadline=5)
    assert answer.status == 200


async def test_a_look_takes_no_turn_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, and where others are none, but for what was put off for long; nobody waits for it."""
    async with place(first_byte_delay=0.5) as shop:
        look = looking(shop)
        first = asyncio.create_task(look.bare(STORE, shop.connection))
        async with asyncio.timeout(5):
            while not shop.store.looks:  # noqa: ASYNC110 - the list is kept by another task
                await asyncio.sleep(0.01)
        assert await look.keyed(shop.connection, anew=True) == Finding(), "a second look at once"
        await asyncio.sleep(0.2)
        asked = asyncio.create_task(served(shop))
        await shop.store.wait_for(1)
        assert not first.done()
        assert (await first).answering
        assert not asked.done()
        assert await look.bare(STORE, shop.connection) == Finding(), "beside somebody"
        monkeypatch.setattr(turns, "LOOK_SECONDS", 0.0)
        assert (await look.bare(STORE, shop.connection)).answering
        await asked
        assert (shop.store.requests_total, len(shop.store.looks)) == (1, 2)


async def test_without_the_key() -> None:
    """One HEAD, which carries no key in any place, proves that the webservice answers."""
    for key_place in KeyPlace:
        async with place() as shop:
            connection = dataclasses.replace(shop.connection, key_place=key_place)
            found = await looking(shop).bare(STORE, connection)
            assert found == Finding(reachable=True, answering=True)
            (seen,) = shop.store.looks
            assert seen.line.startswith(b"HEAD /api ")
            assert shop.store.keys["full"] not in repr(seen)
            assert shop.gateway.traffic.connection(connection.id) is None, "it counts as a connector's request"


async def test_a_webservice_that_is_switched_off_is_told_from_one_that_asks_for_a_key() -> None:
    """Though no key is shown."""
    async with place(webservice=False) as shop:
        found = await looking(shop).bare(STORE, shop.connection)
        assert found == Finding(reachable=True, answering=False, code="webservice_off")


async def test_a_store_to_which_no_connection_leads() -> None:
    """It is asked in the name that its agent publishes, on its account; another's connection is not used for it."""
    asked: list[Connection] = []

    async def remember(stream: Stream, connection: Connection) -> Stream:
        asked.append(connection)
        return stream

    async with place() as shop:
        shop.route.wrap = remember
        anothers = dataclasses.replace(shop.connection, account="acc_two")
        for connection in (None, anothers):
            found = await looking(shop).bare(STORE, connection)
            assert found == Finding(reachable=True, answering=True)
        assert {(each.account, each.agent, str(each.store)) for each in asked} == {
            ("acc_one", "agt_one", "http://shop.example")
        }


async def test_a_store_that_does_not_answer() -> None:
    """The code of the hop."""
    async with place(hang_up="before_answer") as shop:
        found = await looking(shop).bare(STORE, shop.connection)
        assert found == Finding(reachable=True, answering=False, code="store_closed_early")


@pytest.mark.parametrize(
    ("key", "code"),
    [("disabled", "key_unknown"), ("no_permission", "key_without_permissions"), ("no_shop", "key_of_no_shop")],
)
async def test_a_key_that_is_refused(key: str, code: str) -> None:
    """A HEAD says that something is wrong, one GET what it is."""
    async with place() as shop:
        found = await looking(shop).keyed(with_key(shop, key), anew=True)
        assert found == Finding(reachable=True, answering=True, key=False, code=code)
        assert [seen.line.split()[0] for seen in shop.store.looks] == [b"HEAD", b"GET"]


async def test_a_key_that_is_accepted() -> None:
    """One HEAD is enough; and none where a connector's request has just been answered well, unless all is new."""
    async with place() as shop:
        look = looking(shop)
        for number in (1, 2):
            assert await look.keyed(shop.connection, anew=False) == GOOD
            assert len(shop.store.looks) == number, "a look proves nothing to the next one"
        await served(shop)
        assert await look.keyed(shop.connection, anew=False) == GOOD
        assert len(shop.store.looks) == 2
        assert await look.keyed(shop.connection, anew=True) == GOOD
        assert len(shop.store.looks) == 3


async def test_what_was_answered_long_ago_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, a minute later."""
    async with place() as shop:
        look = looking(shop)
        await served(shop)
        monkeypatch.setattr(store_looking, "LATELY_SECONDS", 0.0)
        await look.keyed(shop.connection, anew=False)
        assert len(shop.store.looks) == 1


async def test_a_webservice_that_is_off_says_nothing_of_the_key() -> None:
    """It may be good."""
    async with place(webservice=False) as shop:
        found = await looking(shop).keyed(shop.connection, anew=True)
        assert found == Finding(reachable=True, answering=False, code="webservice_off")

"""Runs of `product-catalogue` against the stand-in shop: what is asked, what is told, and that a copy stays in step."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.gateway.call import Answer
from relay.prestashop import catalogue_items, catalogue_trigger, catalogue_window
from relay.prestashop.query import Query
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.triggering import wait_after
from relay.prestashop.values import Facts
from relay.trigger_records import PACES, Cycle, Fault, Lease, Section, TriggerKind, Work
from tests.relay.prestashop.catalogue_scene import Follower, change, create, delete, truth
from tests.relay.prestashop.scene import Place, place


@contextlib.asynccontextmanager
async def followed(ceiling: int = 200, **knobs: Any) -> AsyncIterator[tuple[Place, Follower]]:
    """The first run is over, and the receiver has taken the snapshot."""
    async with place(**knobs) as here:
        follower = Follower(here, ceiling)
        assert await follower.run() == [{"kind": "ready", "snapshot": "https://relay.example/snapshot"}]
        await follower.snapshot()
        yield here, follower


async def test_a_snapshot_is_the_whole_catalogue() -> None:
    """Products as get-product shows them, with stock, combinations and links to pictures; categories with names."""
    async with followed() as (here, follower):
        copy = follower.receiver.copy
        assert copy == await truth(here)
        product = copy["product", 1]
        assert (product["price"], product["name"]["es"]) == (
            here.store.shop["products"].rows[1]["price"], here.store.shop["products"].rows[1]["name"][2],  # type: ignore[index]  # a row of the stand-in
        )  # fmt: skip
        stock = here.store.shop["stock_availables"].where("id_product", 1)
        assert product["quantity"] == next(row["quantity"] for row in stock if not row["id_product_attribute"])
        combination = product["combinations"][0]
        assert (combination["quantity"], combination["product_option_values"]) == (300, [{"id": 1}, {"id": 8}])
        image = product["images"][0]
        assert image["url"] == f"https://relay.example/v1/connections/con_full/images/products/1/{image['id']}"
        assert product["date_upd"][-6:] in {"+01:00", "+02:00"}
        assert copy["category", 3]["name"]["en"]


async def test_nothing_is_told_and_little_is_asked_when_nothing_has_changed() -> None:
    """No product is read whole; lists of plain values, in JSON."""
    async with followed() as (here, follower):
        here.store.requests.clear()
        assert await follower.run() == []
        lines = [seen.line.decode() for seen in here.store.requests]
        assert not [line for line in lines if "display=full" in line]
        assert len(lines) == 6, "two looks at the clock; categories, products, their stock, their combinations"


@pytest.mark.parametrize("what", ["stock", "price", "name", "combination", "categories", "image", "delete", "create"])
async def test_each_kind_of_change_is_found(what: str) -> None:
    """Those that move no date_upd as well; just the one product is told, and read whole."""
    async with followed() as (here, follower):
        dice = random.Random(what)  # noqa: S311 - the same each time
        while change(here, dice) != what:
            await follower.run()
        here.store.requests.clear()
        (item,) = await follower.run()
        assert item["kind"] == ("removed" if what == "delete" else "product")
        assert follower.receiver.copy == await truth(here)
        whole = [seen for seen in here.store.requests if b"/products?" in seen.line and b"display=full" in seen.line]
        assert len(whole) >= (what != "delete")
        assert (await follower.run()) in ([], [item])


@pytest.mark.parametrize("seed", range(12))
async def test_a_copy_ends_equal_to_the_shop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random changes while a run is under way, crashes at any step, small events: at rest, nothing is missing."""
    dice = random.Random(seed)  # noqa: S311 - the same each time
    monkeypatch.setattr(catalogue_trigger, "ENTRIES_AT_ONCE", dice.choice([2, 5, 1000]))
    monkeypatch.setattr(catalogue_trigger, "ENTRIES_MOST", dice.choice([1, 4, 1000]))
    monkeypatch.setattr("relay.prestashop.catalogue_overview.PAGE_ROWS_MOST", dice.choice([1, 3, 7, 250]))
    async with place() as here:
        follower = Follower(here, ceiling=dice.choice([1, 3, 200]))
        while not follower.state.get("runs"):
            change(here, dice)
            await follower.cycle(crashes=dice.random() < 0.2)
        await follower.snapshot(count=dice.choice([1, 5, 250]))
        for _ in range(40):
            for _ in range(dice.choice([0, 1, 1, 3])):
                change(here, dice)
            cycle = await follower.cycle(crashes=dice.random() < 0.2)
            assert cycle.fault is None
        await follower.run()
        await follower.run()
        assert follower.receiver.copy == await truth(here)
        known = {(section.value, id_) for section, entries in follower.entries.items() for id_ in entries}
        assert known == follower.receiver.copy.keys()


async def test_what_changes_while_a_snapshot_is_taken_is_told_afterwards() -> None:
    """A product that comes and goes between two runs was never there; one that goes is removed."""
    async with followed() as (here, follower):
        new = create(here, 1)
        await follower.snapshot()
        assert ("product", new) not in follower.receiver.copy
        delete(here, new)
        delete(here, 2)
        await follower.run()
        assert follower.receiver.copy == await truth(here)


async def test_events_are_bounded() -> None:
    """By the ceiling and by bytes; a product that is larger than an event loses its longest text, by name."""
    async with followed(ceiling=3) as (here, follower):
        rows = here.store.shop["products"].rows
        for product in rows:
            rows[product]["price"] = "77.000000"
        rows[1]["description"] = {1: "x" * catalogue_items.ITEM_BYTES, 2: "y"}
        for product in range(2, 9):
            rows[product]["description"] = {1: "z" * 100_000, 2: "y"}
        follower.receiver.events.clear()
        await follower.run()
        events = follower.receiver.events
        assert sum(map(len, events)) == len(rows)
        assert max(map(len, events)) <= 3
        assert max(len(str(event)) for event in events) < catalogue_trigger.EVENT_BYTES + 5000
        large = next(item for event in events for item in event if item["id"] == 1)
        assert large["cut"] == ["description"]
        assert "description" not in large
        assert large["price"] == "77.000000"


def broken(monkeypatch: pytest.MonkeyPatch, resource: str, product: int) -> None:
    """Whatever would show this product's rows of a resource ends in a PHP fatal, alone or with others."""
    original = Shop.answered

    async def answered(self: Shop, query: Query) -> tuple[list[Row], Answer]:
        rows, answer = await original(self, query)
        named = "id" if resource == "products" else "id_product"
        if query.resource == resource and query.display == "full" and product in {row.number(named) for row in rows}:
            raise StoreError("php_fatal", "answered 500 with nothing", status=500)
        return rows, answer

    monkeypatch.setattr(Shop, "answered", answered)


@pytest.mark.parametrize("resource", ["products", "combinations"])
async def test_a_product_that_cannot_be_read_holds_up_no_other(resource: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named once, with the reason, in events and snapshots; and told as soon as it can be read again."""
    async with followed() as (here, follower):
        with monkeypatch.context() as patch:
            broken(patch, resource, 1)
            for product in (1, 3, 5):
                for row in here.store.shop["stock_availables"].where("id_product", product):
                    here.store.shop["stock_availables"].update(int(str(row["id"])), {"quantity": 7 + product})
            told = {item["id"]: item for item in await follower.run()}
            named = {"kind": "unreadable", "of": "product", "id": 1, "code": "php_fatal"}
            assert (told[1], told[3]["quantity"] % 10, sorted(told)) == (named, 0, [1, 3, 5])
            assert await follower.run() == []
            before = dict(follower.receiver.copy)
            await follower.snapshot()
            assert follower.receiver.copy == {**before, ("product", 1): named}
        assert [item["id"] for item in await follower.run()] == [1]
        assert follower.receiver.copy == await truth(here)
        assert await follower.run() == []


async def test_a_store_that_fails_at_everything_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its products are not named one by one, and are told when it is back."""
    async with followed() as (here, follower):
        stock = here.store.shop["stock_availables"].where("id_product", 3)[0]
        here.store.shop["stock_availables"].update(int(str(stock["id"])), {"quantity": 7})
        original = Shop.rows
        await follower.cycle()

        async def rows(self: Shop, query: Query) -> list[Row]:
            if query.resource == "products":
                raise StoreError("php_fatal", "answered 500 with nothing", status=500)
            return await original(self, query)

        with monkeypatch.context() as patch:
            patch.setattr(Shop, "rows", rows)
            cycle = await follower.cycle()
            assert (cycle.items, cycle.fault and cycle.fault.code) == ([], "php_fatal")
        assert [item["id"] for item in await follower.run()] == [3]


async def test_a_cycle_goes_on_behind_what_was_told() -> None:
    """What has been told is not looked at again."""
    async with followed(ceiling=3) as (here, follower):
        for product in here.store.shop["products"].rows.values():
            product["price"] = "77.000000"
        await follower.cycle()
        for told in ([1, 2, 3], [4, 5, 6]):
            cycle = await follower.cycle()
            assert [item["id"] for item in cycle.items] == told
            assert follower.state["after"] == told[-1]


async def test_a_change_in_the_second_of_the_look_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """date_upd has whole seconds: what was read while it was young is read again, and told only if it differs."""
    async with followed() as (here, follower):
        now = here.store.shop.clock.text()
        here.store.shop["products"].update(1, {"date_upd": now})
        assert [item["id"] for item in await follower.run()] == [1]
        assert await follower.run() == []
        here.store.shop["products"].update(1, {"name": {1: "Within the second", 2: "y"}, "date_upd": now})
        assert [item["id"] for item in await follower.run()] == [1]
        assert follower.receiver.copy == await truth(here)
        monkeypatch.setattr(catalogue_window, "OVERLAP_SECONDS", -60)  # as if a minute more than that had passed
        assert await follower.run() == []
        assert all(entry.settled for entry in follower.entries[Section.PRODUCT].values())


async def test_a_shop_of_unknown_zone_is_followed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed within a day counts as young, and is told once more; times are told without offset."""
    monkeypatch.setattr("tests.relay.prestashop.catalogue_scene.FACTS", Facts(None, {1: "en", 2: "es"}))
    async with followed() as (here, follower):
        told = await follower.run()
        assert {item["id"] for item in told if item["kind"] == "product"} == here.store.shop["products"].rows.keys()
        assert not any("+" in item["date_upd"] for item in told)
        assert await follower.run() == []


async def test_a_deletion_is_asked_for_once_more() -> None:
    """A list that leaves out what is there deletes nothing."""
    async with followed() as (here, follower):
        hidden = here.store.shop["products"].rows.pop(5)
        original = type(here.shop).rows

        async def rows(self: Any, query: Any) -> Any:
            if query.display == "[id]":
                here.store.shop["products"].rows[5] = hidden
            return await original(self, query)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(here.shop), "rows", rows)
            told = await follower.run()
        assert told == []
        assert 5 in follower.entries[Section.PRODUCT]


async def test_what_a_key_may_not_read_is_left_out() -> None:
    """Products alone: quantities are unknown, combinations are ids, no categories; granted later, all is told."""
    async with place() as here:
        follower = Follower(here)
        here.store.grant("little", {"products": ["GET"]})
        little = here.shop_with("little")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Place, "shop", little)
            await follower.run()
            await follower.snapshot()
            copy = dict(follower.receiver.copy)
        assert {kind for kind, _ in copy} == {"product"}
        assert copy["product", 1]["quantity"] is None
        assert copy["product", 1]["combinations"][0].keys() == {"id"}
        await follower.run()
        assert follower.receiver.copy == await truth(here)


@pytest.mark.parametrize("version", ["1.6.1", "1.7.4", "1.7.8", "8.1"])
async def test_older_versions(version: str) -> None:
    """What is asked for is there in all of them."""
    async with followed(version=version) as (here, follower):
        change_stock = here.store.shop["stock_availables"]
        change_stock.update(min(change_stock.rows), {"quantity": 41})
        (item,) = await follower.run()
        assert item["kind"] == "product"
        assert follower.receiver.copy == await truth(here)


async def test_json_that_cannot_be_read_is_done_without() -> None:
    """XML comes to the same digests: nothing is taken for changed."""
    async with followed() as (here, follower):
        original = type(here.shop)._in_json

        async def broken(self: Any, query: Any) -> None:
            await original(self, query)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(here.shop), "_in_json", broken)
            assert await follower.run() == []
            in_json = follower.receiver.copy
            await follower.snapshot()
        assert follower.receiver.copy == in_json


async def test_a_store_that_fails_is_named_and_nothing_is_lost() -> None:
    """The run stays where it was, and goes on from there."""
    async with followed() as (here, follower):
        here.store.shop["stock_availables"].update(1, {"quantity": 3})
        await follower.cycle()
        here.store.knobs.update(webservice="off")
        before = follower.state
        cycle = await follower.cycle()
        assert cycle.fault
        assert (cycle.fault.code, follower.state) == ("webservice_off", before)
        here.store.knobs.update(webservice="on")
        assert [item["kind"] for item in await follower.run()] == ["product"]


@pytest.mark.parametrize("runs", [0, 1])
async def test_a_catalogue_without_end_is_not_followed(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a store can make the relay keep is bounded, by its first run and by later ones, however small the events."""
    monkeypatch.setattr(catalogue_trigger, "THINGS_MOST", 7)
    monkeypatch.setattr("relay.prestashop.catalogue_overview.PAGE_ROWS_MOST", 3)
    async with place() as here:
        follower = Follower(here, ceiling=1, state={"runs": runs, "section": "product", "after": 0, "count": 0})
        codes = [cycle.fault.code for cycle in [await follower.cycle() for _ in range(20)] if cycle.fault]
        assert set(codes) == {"catalogue_too_large"}
        assert sum(map(len, follower.entries.values())) <= 9


@pytest.mark.parametrize("id_", [0, 2**63, 9_999_999_999_999_999_999])
async def test_ids_that_no_shop_gives_are_not_believed(id_: int) -> None:
    """Neither written down nor told."""
    async with followed() as (here, follower):
        body = f"<prestashop><categories><category><id>{id_}</id></category></categories></prestashop>"
        here.store.knobs.raw_answer = (
            f"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 20:00:00 GMT\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: text/xml\r\n\r\n{body}"
        ).encode()
        cycle = await follower.cycle()
        assert cycle.fault
        assert cycle.fault.code == "store_out_of_order"
        with pytest.raises(StoreError):
            await follower.snapshot()


def test_how_long_a_run_waits() -> None:
    """Its cycles follow upon each other; after a failure it comes back in a minute, and not in half a day."""
    interval = PACES[TriggerKind.PRODUCT_CATALOGUE].interval

    def wait(cycle: Cycle, failures: int = 0) -> int:
        lease = Lease("trg_a", 1)
        kind = TriggerKind.PRODUCT_CATALOGUE
        return wait_after(Work(lease, "acc", "con", kind, interval, 200, None, {}, failures, 0), cycle, 0.0)

    fault = Fault("agent_offline", "agent", "away")
    assert (wait(Cycle({})), wait(Cycle({}, unfinished=True))) == (12 * 3600, 0)
    assert [wait(Cycle({}, fault=fault), number) for number in (0, 1, 9)] == [60, 120, 900]
    assert wait(Cycle({}, fault=Fault("rate_limited", "store", "wait", 3000))) == 3000


async def test_a_store_with_little_memory_is_read_in_smaller_pages() -> None:
    """Whole products in halves, lists in shorter pages."""
    async with followed(fatal_cells=400) as (here, follower):
        for product in here.store.shop["products"].rows.values():
            product["price"] = "1.230000"
        await follower.run()
        assert follower.receiver.copy == await truth(here)

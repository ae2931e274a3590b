"""A catalogue trigger's memory and its receiver's copy, beside a stand-in shop whose catalogue changes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.prestashop.catalogue_items import Items
from relay.prestashop.catalogue_snapshot import Snapshot, Spot
from relay.prestashop.catalogue_trigger import CatalogueCycle, Place
from relay.prestashop.values import Facts
from relay.trigger_records import Cycle, Entry, Section
from tests.relay.prestashop import scene

ZONE = "Europe/Madrid"
FACTS = Facts(ZONE, {1: "en", 2: "es"})
RELAY = "https://relay.example"


@dataclass
class Receiver:
    """A copy by kind and id, made from a snapshot and kept by events."""

    copy: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    events: list[list[dict[str, Any]]] = field(default_factory=list)

    def take(self, event: Sequence[Mapping[str, Any]]) -> None:
        """As it comes over the wire."""
        items = json.loads(json.dumps(list(event)))
        self.events.append(items)
        for item in items:
            if item["kind"] == "removed":
                self.copy.pop((item["of"], item["id"]), None)
            elif item["kind"] not in {"ready", "unreadable"}:
                self.copy[item["kind"], item["id"]] = item


@dataclass
class Follower:
    """A trigger: its state and what it knows, written as a whole with what was told, or not at all."""

    here: scene.Place
    ceiling: int = 200
    receiver: Receiver = field(default_factory=Receiver)
    state: Mapping[str, Any] = field(default_factory=dict)
    entries: dict[Section, dict[int, Entry]] = field(default_factory=lambda: {section: {} for section in Section})

    @property
    def items(self) -> Items:
        return Items(self.here.shop.lean, FACTS, RELAY)

    async def known(self, section: Section, above: int, most: int) -> list[Entry]:
        ids = sorted(id_ for id_ in self.entries[section] if id_ > above)[:most]
        return [self.entries[section][id_] for id_ in ids]

    async def cycle(self, *, crashes: bool = False) -> Cycle:
        """One cycle; one that crashes leaves nothing behind."""
        reading = CatalogueCycle(
            items=self.items,
            known=self.known,
            clock=time.time,
            place=Place.of(json.loads(json.dumps(self.state))),
            ceiling=self.ceiling,
            snapshot=f"{RELAY}/snapshot",
        )
        cycle = await reading.run()
        if not crashes:
            self._write(cycle)
        return cycle

    async def run(self, *, cycles: int = 2000) -> list[Mapping[str, Any]]:
        """Cycles until a run is over; what was told."""
        told: list[Mapping[str, Any]] = []
        for _ in range(cycles):
            cycle = await self.cycle()
            assert cycle.fault is None, cycle.fault
            told += cycle.items
            if not cycle.unfinished:
                return told
        raise AssertionError("a run that does not end")

    async def snapshot(self, count: int = 250) -> None:
        """Begin the receiver's copy anew."""
        self.receiver.copy = {}
        taking, spot = Snapshot(self._there), Spot()
        while True:
            part = await taking.part(self.items, spot, count)
            for item in json.loads(json.dumps(part.items)):
                self.receiver.copy[item["of"] if item["kind"] == "unreadable" else item["kind"], item["id"]] = item
            if part.next is None:
                return
            spot = part.next

    async def _there(self, section: Section, ids: Sequence[int]) -> set[int]:
        return set(ids) & self.entries[section].keys()

    def _write(self, cycle: Cycle) -> None:
        self.state = cycle.state
        if cycle.noted:
            known = self.entries[cycle.noted.section]
            for id_ in cycle.noted.gone:
                known.pop(id_, None)
            known |= {entry.id: entry for entry in cycle.noted.entries}
        if cycle.items:
            self.receiver.take(cycle.items)


async def truth(here: scene.Place) -> dict[tuple[str, int], dict[str, Any]]:
    """The catalogue as the shop has it."""
    items = Items(here.shop, FACTS, RELAY)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for section, table in ((Section.CATEGORY, "categories"), (Section.PRODUCT, "products")):
        ids = sorted(here.store.shop[table].rows)
        for at in range(0, len(ids), 50):
            read = await items.of(section, ids[at : at + 50])
            found |= {(section.value, id_): item for id_, item in json.loads(json.dumps(list(read.items())))}
    return found


def change(here: scene.Place, dice: random.Random) -> str:
    """One thing happens in the shop, as it happens there: what moves `date_upd` moves it, the rest does not."""
    shop = here.store.shop
    now = shop.clock.text()
    product = dice.choice(list(shop["products"].rows)) if shop["products"].rows else 0
    kinds = ["price", "name", "stock", "delete", "create", "categories", "image", "combination", "lose", "category"]
    kind = dice.choice(kinds if product else ["create"])
    match kind:
        case "price":
            shop["products"].update(product, {"price": f"{dice.randint(1, 99)}.500000", "date_upd": now})
        case "name":
            name = f"Name {dice.randint(1, 10**6)}"
            shop["products"].update(product, {"name": {1: name, 2: name}, "date_upd": now})
        case "stock":
            stock = dice.choice(shop["stock_availables"].where("id_product", product))
            shop["stock_availables"].update(int(str(stock["id"])), {"quantity": dice.randint(0, 999)})
        case "delete":
            delete(here, product)
        case "create":
            create(here, product)
        case "categories":
            shop["products"].rows[product]["categories"] = [{"id": dice.randint(2, 9)}]  # type: ignore[assignment]  # its row
        case "image":
            shop.insert("images", id_product=product, position=9, cover=None)
        case "combination" | "lose":
            _combination(here, product, dice, lose=kind == "lose")
        case _:
            category = dice.choice(list(shop["categories"].rows))
            name = f"Category {dice.randint(1, 10**6)}"
            shop["categories"].update(category, {"name": {1: name, 2: name}, "date_upd": now})
    return kind


def delete(here: scene.Place, product: int) -> None:
    shop = here.store.shop
    for table in ("stock_availables", "combinations", "images"):
        for row in shop[table].where("id_product", product):
            shop[table].delete(int(str(row["id"])))
    shop["products"].delete(product)


def create(here: scene.Place, like: int = 0) -> int:
    shop = here.store.shop
    row = dict(shop["products"].get(like) or {"name": {1: "New", 2: "New"}, "price": "1.000000", "active": 1})
    row.pop("id", None)
    now = shop.clock.text()
    key = shop.insert("products", **{**row, "date_add": now, "date_upd": now})
    shop.insert(
        "stock_availables", id_product=key, id_product_attribute=0, id_shop=1, id_shop_group=0, quantity=7,
        depends_on_stock=0, out_of_stock=2, location="",
    )  # fmt: skip
    return key


def _combination(here: scene.Place, product: int, dice: random.Random, *, lose: bool) -> None:
    shop = here.store.shop
    rows = shop["combinations"].where("id_product", product)
    if rows and lose:
        shop["combinations"].delete(int(str(dice.choice(rows)["id"])))
    elif rows:
        shop["combinations"].update(int(str(dice.choice(rows)["id"])), {"price": f"{dice.randint(1, 9)}.000000"})
    else:
        shop.insert(
            "combinations", id_product=product, reference=f"c{product}", ean13="", price="2.000000", weight="0.000000",
            minimal_quantity=1, default_on=1, product_option_values=[{"id": 1}],
        )  # fmt: skip

"""What is told of a product or a category: as `get-product` shows it, with its stock, combinations and pictures."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relay.gateway.errors import GatewayError
from relay.prestashop.catalogue_overview import DIGEST_CHARACTERS, RESOURCES, STOCK
from relay.prestashop.paging import every
from relay.prestashop.pictures import address_of
from relay.prestashop.query import FULL, Query, one_of
from relay.prestashop.resources import COMBINATIONS, Resource
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop, too_heavy
from relay.prestashop.store_errors import LACKING, StoreError
from relay.prestashop.values import Facts, normalised
from relay.trigger_records import Section

ITEM_BYTES = 128 * 1024
"""Of one item in an event, as JSON. A larger one is told without its longest texts, which are named."""
UNREADABLE = "unreadable"
DISPLAY = {
    Section.CATEGORY: "[id,id_parent,level_depth,active,is_root_category,position,date_add,date_upd,name,link_rewrite,"
    "description]",
    Section.PRODUCT: FULL,
}
"""A category in full would bring the ids of all of its products."""


@dataclass(slots=True)
class Items:
    """`shop` is asked in JSON first: XML is three times as long, and takes the relay three times as long to read.

    `relay` is the relay's public address, which links to pictures begin with.
    """

    shop: Shop
    facts: Facts
    relay: str

    async def of(self, section: Section, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Those of these that are there, by id; what cannot be read even alone as `unreadable`.

        Raises GatewayError, StoreError.
        """
        query = Query(RESOURCES[section].name, DISPLAY[section], (("id", one_of(ids)),), limit=len(ids))
        try:
            rows = [row for row in await self.shop.rows(query) if row.id in set(ids)]
            return {item["id"]: item for item in await self._filled(section, rows)}
        except (GatewayError, StoreError) as error:
            if not too_heavy(error):
                raise
            if len(ids) == 1:
                return {id_: unreadable(section, id_, error) for id_ in await self._listed(section, ids)}
        half = len(ids) // 2
        return {**await self.of(section, ids[:half]), **await self.of(section, ids[half:])}

    async def shown(self, section: Section, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """What cannot be read whole is told by its id: see `unreadable`. Raises GatewayError, StoreError."""
        try:
            return await self._filled(section, rows)
        except (GatewayError, StoreError) as error:
            if not too_heavy(error):
                raise
        return list((await self.of(section, [row.id for row in rows])).values())

    async def _filled(self, section: Section, rows: Sequence[Row]) -> list[dict[str, Any]]:
        shown = [{"kind": section.value, **_normalised(row, RESOURCES[section], self.facts)} for row in rows]
        if section is Section.PRODUCT and shown:
            await self._fill(shown)
        return shown

    async def _listed(self, section: Section, ids: Sequence[int]) -> list[int]:
        """Those that are there. A store that answers nothing at all says so here: then it is not the thing that ails.

        Raises GatewayError, StoreError.
        """
        rows = await self.shop.rows(Query(RESOURCES[section].name, "[id]", (("id", one_of(ids)),), limit=len(ids)))
        return [row.id for row in rows if row.id in set(ids)]

    async def _fill(self, products: list[dict[str, Any]]) -> None:
        ids = [product["id"] for product in products]
        stock = await self._belonging("stock_availables", STOCK, ids)
        combinations = await self._belonging("combinations", FULL, ids)
        for product in products:
            rows = None if stock is None else stock[product["id"]]
            _put_stock(product, rows)
            if combinations is not None:
                product["combinations"] = [_combination(row, rows, self.facts) for row in combinations[product["id"]]]
            for image in product.get("images", ()):
                if "id" in image:
                    image["url"] = address_of(self.relay, self.shop.connection.id, product["id"], image["id"])

    async def _belonging(self, resource: str, display: str, ids: list[int]) -> dict[int, list[Row]] | None:
        """Rows by product; None where the key may not read them."""
        found: dict[int, list[Row]] = defaultdict(list)
        try:
            async for row in every(self.shop, Query(resource, display, (("id_product", one_of(ids)),))):
                found[row.number("id_product")].append(row)
        except StoreError as error:
            if error.code in LACKING:
                return None
            raise
        return found


def _normalised(row: Row, resource: Resource, facts: Facts) -> dict[str, Any]:
    """With all associations: JSON leaves out the empty ones."""
    return {**normalised(row, resource, facts), **{name: [] for name in resource.cells if name not in row.associations}}


def _put_stock(product: dict[str, Any], rows: list[Row] | None) -> None:
    """PrestaShop's own `quantity` is always 0."""
    by_id = {row.id: row.number("quantity") for row in rows or ()}
    product["quantity"] = None if rows is None else _quantity(rows, 0)
    for cell in product.get("stock_availables", ()):
        cell["quantity"] = by_id.get(cell.get("id"))


def _combination(row: Row, stock: list[Row] | None, facts: Facts) -> dict[str, Any]:
    quantity = None if stock is None else _quantity(stock, row.id)
    return {**_normalised(row, COMBINATIONS, facts), "quantity": quantity}


def _quantity(stock: list[Row], combination: int) -> int | None:
    """In all of the shops that the key sees."""
    found = [row.number("quantity") for row in stock if row.number("id_product_attribute") == combination]
    return sum(found) if found else None


def digest_of(item: dict[str, Any]) -> str:
    return hashlib.sha256(_json(item)).hexdigest()[:DIGEST_CHARACTERS]


def unreadable(section: Section, id_: int, error: GatewayError | StoreError) -> dict[str, Any]:
    """It is there, and the store fails at it: one broken thing must not hold up all behind it."""
    code = error.code if isinstance(error, StoreError) else error.failure.code
    return {"kind": UNREADABLE, "of": section.value, "id": id_, "code": code}


def removed(section: Section, id_: int) -> dict[str, Any]:
    return {"kind": "removed", "of": section.value, "id": id_}


def fitted(item: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The item as it fits into an event, and its bytes. `cut` names what was left out of it, the longest first."""
    size, cut = len(_json(item)), list[str]()
    while size > ITEM_BYTES:
        longest = max(
            (name for name in item if name not in {"kind", "id", "cut"}), key=lambda name: len(_json(item[name]))
        )
        cut.append(longest)
        item = {**{name: value for name, value in item.items() if name != longest}, "cut": cut}
        size = len(_json(item))
    return item, size


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

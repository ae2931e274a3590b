"""How a catalogue is looked over: what is asked of many things at once, and the digests by which a change shows.

A product's `date_upd` moves when it is saved, not when its stock, its combinations, its categories or its pictures
change: all of these are looked at, in pages, in the leanest form in which the webservice gives them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.prestashop.order_trigger import moment_of
from relay.prestashop.page_sizes import PAGE_ROWS_MOST
from relay.prestashop.paging import Page, Reader, every
from relay.prestashop.query import Query, one_of, span
from relay.prestashop.resources import CATEGORIES, PRODUCTS, Resource
from relay.prestashop.rows import Row, whole
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import LACKING, StoreError
from relay.prestashop.watermark import Moment
from relay.trigger_records import Section

RESOURCES: Mapping[Section, Resource] = {Section.CATEGORY: CATEGORIES, Section.PRODUCT: PRODUCTS}
_SHOWN = {
    Section.CATEGORY: "[id,id_parent,active,position,date_upd]",
    Section.PRODUCT: "[id,active,price,date_upd,categories[id],images[id]]",
}
STOCK = "[id,id_product,id_product_attribute,quantity]"
_COMBINATION_FIELDS = ("id", "reference", "ean13", "price", "weight", "minimal_quantity")
_COMBINATIONS = f"[{','.join((*_COMBINATION_FIELDS, 'id_product', 'default_on'))}]"
DIGEST_CHARACTERS = 32
ID_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing as it was looked over. `stamp` is its `date_upd`."""

    id: int
    stamp: str
    digest: str


@dataclass(slots=True)
class Overview:
    """One look over a section. What the key may not read is left out."""

    shop: Shop
    section: Section
    _lacking: set[str] = field(default_factory=set)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(Query(RESOURCES[self.section].name, _SHOWN[self.section]))

    async def page(self, after: int) -> Page | None:
        """The next things behind an id. None for categories that the key may not read: nothing can be said of them.

        Raises GatewayError, StoreError.
        """
        try:
            return checked(await self._reader.page(self.shop, after, PAGE_ROWS_MOST))
        except StoreError as error:
            if self.section is Section.PRODUCT or error.code not in LACKING:
                raise
            return None

    async def moment(self, clock: Callable[[], float]) -> Moment:
        """Where the shop's clock stands. Raises GatewayError, StoreError."""
        _, answer = await self.shop.answered(Query("products", "[id]", limit=1))
        return moment_of(answer, int(clock()))

    async def seen(self, rows: Sequence[Row]) -> list[Seen]:
        """These rows of a page with all that belongs to them, in bounded memory. Raises GatewayError, StoreError."""
        digests = {row.id: hashlib.sha256(_row(row)) for row in rows}
        if self.section is Section.PRODUCT and rows:
            for resource, display in (("stock_availables", STOCK), ("combinations", _COMBINATIONS)):
                of_these = Query(resource, display, (("id_product", span(rows[0].id, rows[-1].id)),))
                async for row in self.all(of_these):
                    if (digest := digests.get(row.number("id_product"))) is not None:
                        digest.update(_cell(resource, row))
        return [Seen(row.id, row.text("date_upd"), digests[row.id].hexdigest()[:DIGEST_CHARACTERS]) for row in rows]

    async def there(self, ids: Sequence[int]) -> set[int]:
        """Which of these the shop has after all. Raises GatewayError, StoreError."""
        found: set[int] = set()
        for at in range(0, len(ids), PAGE_ROWS_MOST):
            asked = ids[at : at + PAGE_ROWS_MOST]
            query = Query(RESOURCES[self.section].name, "[id]", (("id", one_of(asked)),), limit=len(asked))
            found.update(row.id for row in await self.shop.rows(query))
        return found

    async def all(self, query: Query) -> AsyncIterator[Row]:
        """Every row of a list, in the order of ids; none of a resource that the key may not read."""
        if query.resource in self._lacking:
            return
        try:
            async for row in every(self.shop, query):
                yield row
        except StoreError as error:
            if error.code not in LACKING:
                raise
            self._lacking.add(query.resource)


def checked(page: Page) -> Page:
    """Ids that databases can keep. Raises StoreError."""
    if page.last > ID_MOST or (page.rows and page.rows[0].id < 1):
        raise StoreError("store_out_of_order", "the ids are none that a shop gives", status=200)
    return page


def _row(row: Row) -> bytes:
    """Whatever the format it came in, and whatever order its associations are in."""
    fields = sorted((name, str(value)) for name, value in row.fields.items() if name != "active")
    linked = {name: sorted(cell.get("id", "") for cell in cells) for name, cells in row.associations.items() if cells}
    return _bytes("row", fields, row.number("active"), sorted(linked.items()))


def _cell(resource: str, row: Row) -> bytes:
    if resource == "stock_availables":
        return _bytes("stock", row.id, row.number("id_product_attribute"), row.number("quantity"))
    texts = [row.text(name) for name in _COMBINATION_FIELDS]
    return _bytes("combination", texts, whole(row.text("default_on")) or 0)


def _bytes(*parts: Any) -> bytes:
    return repr(parts).encode()

"""The lists and single things that actions answer with: what is asked of the shop, and what is made of its rows."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from relay.prestashop.carts import with_order
from relay.prestashop.paging import Reader
from relay.prestashop.query import EARLIEST, EVERYWHERE, FULL, LATEST, Query, Scope, between, equals
from relay.prestashop.resources import PRODUCTS, Resource
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.stock import fill_quantities
from relay.prestashop.values import TIME_FORMAT, Facts, normalised, raw

EXAMINED_PAGES = 10
"""Pages of carts that are looked through for one page of those that are wanted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`display` is PrestaShop's; `raw` leaves its texts as they are. `abandoned`: carts with no order, or with one."""

    resource: Resource
    display: str = FULL
    filters: tuple[tuple[str, str], ...] = ()
    scope: Scope = EVERYWHERE
    raw: bool = False
    abandoned: bool | None = None

    @property
    def query(self) -> Query:
        return Query(self.resource.name, with_id(self.display), self.filters, scope=self.scope)


@dataclass(frozen=True, slots=True)
class Items:
    """A page of answers; `after` is where the list goes on, None at its end."""

    items: list[dict[str, Any]]
    after: int | None


class List:
    """One list on its way: how large its pages may be is learnt as it goes."""

    def __init__(self, wanted: Wanted, facts: Facts) -> None:
        self._wanted = wanted
        self._facts = facts
        self._reader = Reader(wanted.query)

    async def page(self, shop: Shop, after: int, count: int) -> Items:
        """At most `count` items behind the id `after`. Raises GatewayError, StoreError."""
        if self._wanted.abandoned is None:
            page = await self._reader.page(shop, after, count)
            return Items(await self._shown(shop, page.rows), page.last if page.more else None)
        return await self._carts(shop, after, count)

    async def one(self, shop: Shop, id_: int) -> dict[str, Any] | None:
        """The one with this id, None where there is none. Parts of it are asked for as a list of one: older versions
        know no `display` on a single entity. Raises GatewayError, StoreError.
        """
        query = self._wanted.query
        if query.display == FULL:
            row = await shop.one(query.resource, id_, query.scope)
            return (await self._shown(shop, [row]))[0] if row else None
        rows = await shop.rows(dataclasses.replace(query, filters=(("id", equals(id_)),), limit=1))
        shown = await self._shown(shop, [row for row in rows if row.id == id_])
        return shown[0] if shown else None

    async def _carts(self, shop: Shop, after: int, count: int) -> Items:
        rows: list[Row] = []
        for _ in range(EXAMINED_PAGES):
            page = await self._reader.page(shop, after, count - len(rows))
            ordered = await with_order(shop, [row.id for row in page.rows], self._wanted.scope)
            rows += [row for row in page.rows if (row.id not in ordered) is self._wanted.abandoned]
            after = page.last
            if not page.more or len(rows) >= count:
                break
        return Items(await self._shown(shop, rows), after if page.more else None)

    async def _shown(self, shop: Shop, rows: list[Row]) -> list[dict[str, Any]]:
        if self._wanted.raw:
            return [raw(row, self._wanted.resource) for row in rows]
        items = [normalised(row, self._wanted.resource, self._facts) for row in rows]
        if self._wanted.resource is PRODUCTS:
            await fill_quantities(shop, items, self._wanted.scope)
        return items


def updated(first: str | None, end: str | None) -> tuple[tuple[str, str], ...]:
    """Filters for what was changed from `first` on and before `end`, in the shop's time (see `shop_time`)."""
    if first is None and end is None:
        return ()
    last = LATEST if end is None else _second_before(end)
    return (("date_upd", between(first or EARLIEST, last)),)


def _second_before(text: str) -> str:
    """PrestaShop's intervals include both ends, and its times are whole seconds."""
    try:
        return (datetime.strptime(text, TIME_FORMAT) - timedelta(seconds=1)).strftime(TIME_FORMAT)  # noqa: DTZ007 - the shop's own time, whose offset plays no part
    except (ValueError, OverflowError):
        return EARLIEST


def with_id(display: str) -> str:
    """Rows are known by their id, whatever else is wanted of them."""
    if not display.startswith("["):
        return display
    outer = re.sub(r"\[[^\[\]]*\]", "", display[1:-1])
    return display if "id" in outer.split(",") else f"[id,{display[1:]}"

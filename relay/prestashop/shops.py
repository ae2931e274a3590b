"""The shops behind connections, and what is remembered of each: its time zone and its languages."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from relay.gateway.gateway import Gateway
from relay.prestashop.page_sizes import PageSizes
from relay.prestashop.query import Query, equals
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.values import Facts
from relay.records import Connection

KEPT_SECONDS = 600.0
"""A shop's time zone or languages change once in years; a merchant who has just granted a resource waits so long."""
KEPT = 4096
"""Connections whose shops are remembered: some 500 bytes each."""
_LANGUAGES = 200
"""Of a shop; all that PrestaShop has packs for are fewer."""
_LACKING = frozenset({"permission_missing", "resource_missing", "query_refused", "not_in_store"})


class Shops:
    """`clock` is monotonic seconds."""

    def __init__(self, gateway: Gateway, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._sizes = PageSizes(clock)
        self._known: dict[tuple[str, str], tuple[Connection, float, Facts]] = {}
        self._asking: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def of(self, connection: Connection) -> Shop:
        return Shop(self._gateway, connection, sizes=self._sizes)

    async def facts(self, shop: Shop) -> Facts:
        """What is known of the shop, asked for where it is not. What the key may not read is left out.

        Raises GatewayError, StoreError.
        """
        key = (shop.connection.account, shop.connection.id)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            known = self._known.get(key)
            if known and known[0] == shop.connection and self._clock() - known[1] < KEPT_SECONDS:
                return known[2]
            facts = await ask(shop)
            self._remember(key, shop.connection, facts)
            return facts

    def _remember(self, key: tuple[str, str], connection: Connection, facts: Facts) -> None:
        """The last asked for stand last, and the first make room."""
        self._known.pop(key, None)
        while len(self._known) >= KEPT:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (connection, self._clock(), facts)


async def ask(shop: Shop) -> Facts:
    """Two small requests. Raises GatewayError, StoreError."""
    named = Query("configurations", "[id,name,value]", (("name", equals("PS_TIMEZONE")),), limit=20)
    zones = await _allowed(shop, named)
    languages = await _allowed(shop, Query("languages", "[id,iso_code]", limit=_LANGUAGES))
    zone = next((row.text("value").strip() for row in zones if row.text("name") == "PS_TIMEZONE"), "")
    codes = {row.id: row.text("iso_code").strip().lower() for row in languages}
    return Facts(zone or None, {id_: code for id_, code in codes.items() if code})


async def _allowed(shop: Shop, query: Query) -> list[Row]:
    try:
        return await shop.rows(query)
    except StoreError as error:
        if error.code in _LACKING:
            return []
        raise

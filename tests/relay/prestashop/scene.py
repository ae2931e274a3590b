"""A stand-in store with the relay's real gateway before it: no tunnel, one connection, everything in this process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.gateway.gateway import Gateway
from relay.prestashop.page_sizes import PageSizes
from relay.prestashop.shop import Shop
from relay.prestashop.shops import Shops
from relay.records import Connection, Mode, StoreUrl
from tests.relay.gateway.scene import Direct, Directory
from tests.store import Store

DOMAIN = "shop.example"


@dataclasses.dataclass(slots=True)
class Place:
    """A store, and how the relay reaches it."""

    store: Store
    gateway: Gateway
    route: Direct
    connection: Connection

    @property
    def shops(self) -> Shops:
        return Shops(self.gateway, time.monotonic)

    @property
    def shop(self) -> Shop:
        return self.shop_with("full")

    def shop_with(self, key: str, *, sizes: PageSizes | None = None, **changes: Any) -> Shop:
        """With another of the store's keys, by its name."""
        secret = SecretStr(self.store.keys[key])
        connection = dataclasses.replace(self.connection, api_key=secret, id=f"con_{key}", **changes)
        return Shop(self.gateway, connection, sizes=sizes)

    def seen(self, part: str) -> list[str]:
        """The request lines with this text in them."""
        lines = [seen.line.decode() for seen in self.store.requests]
        return [line for line in lines if part in line]


@contextlib.asynccontextmanager
async def place(**knobs: Any) -> AsyncIterator[Place]:
    async with Store.serve(seed=7, domain=DOMAIN, **knobs) as store:
        route = Direct()
        route.port = store.port
        gateway = Gateway(Directory(), route, time.monotonic)
        connection = Connection(
            id="con_aaaaaaaaaaaaaaaa",
            account="acc_one",
            name="the shop",
            mode=Mode.ON_PREMISE,
            agent="agt_one",
            store=StoreUrl("http", Destination(DOMAIN, 80)),
            api_key=SecretStr(store.keys["full"]),
            answer_timeout=20,
        )
        yield Place(store, gateway, route, connection)
        gateway.forget(connection.id)
        await asyncio.sleep(0)

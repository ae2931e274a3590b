"""A relay's surface whose connection leads to a stand-in store in the same process: no tunnel between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from tests.relay.api.scene import Relay
from tests.relay.gateway.scene import Direct
from tests.store import Store

DOMAIN = "shop.example"


@dataclass
class Place:
    """A relay whose connections all lead to one store."""

    relay: Relay
    store: Store
    route: Direct
    connection: str

    async def get(
        self, action: str, query: dict[str, Any] | None = None, *, as_: str = "read", accept: str = "", **more: Any
    ) -> httpx.Response:
        headers = {"Accept": accept} if accept else {}
        path = f"/v1/connections/{self.connection}/actions/{action}"
        return await self.relay.call("GET", path, as_=as_, headers=headers, params={**(query or {}), **more})

    async def items(self, action: str, **query: Any) -> list[dict[str, Any]]:
        answer = await self.get(action, query)
        assert answer.status_code == 200, answer.text
        return cast("list[dict[str, Any]]", answer.json()["items"])

    async def change(self, wish: Any, *, key: str = "", as_: str = "forward") -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        path = f"/v1/connections/{self.connection}/actions/update-order-state"
        return await self.relay.call("POST", path, wish, as_=as_, headers=headers)

    async def lacking(self, grants: dict[str, list[str]], *, key: str = "") -> None:
        """From now on the connection's key may do just this, or is another one."""
        value = key or self.store.grant("lacking", grants)
        answer = await self.relay.call("PATCH", f"/v1/connections/{self.connection}", {"api_key": value})
        assert answer.status_code == 200, answer.text
        await self.relay.changes_followed()

    async def listed(self, path: str) -> list[dict[str, Any]]:
        answer = await self.relay.call("GET", path)
        assert answer.status_code == 200, answer.text
        return cast("list[dict[str, Any]]", answer.json()["items"])

    def sent(self, part: str) -> list[str]:
        """The request lines that the store saw, with this text."""
        lines = [seen.line.decode() for seen in self.store.requests]
        return [line for line in lines if part in line]

    def histories(self, order: int) -> list[int]:
        """The states that the order's history tells of."""
        rows = self.store.shop["order_histories"].where("id_order", order)
        return [int(str(row["id_order_state"])) for row in rows]


@asynccontextmanager
async def shop_of(relay: Relay) -> AsyncIterator[Place]:
    async with Store.serve(seed=3, domain=DOMAIN) as store:
        route = Direct()
        route.port = store.port
        relay.parts.shops._gateway._route = route
        agent = await relay.agent()
        form = {"name": "Shop", "mode": "on-premise", "agent": agent["id"], "store_url": f"http://{DOMAIN}"}
        made = await relay.made("/v1/connections", {**form, "api_key": store.keys["full"]})
        yield Place(relay, store, route, made["id"])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that an answer must be."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return cast("dict[str, Any]", answer.json())

"""Catalogues over HTTP: the trigger's form, its snapshot in pages and as a stream, and events that go on from there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Scope

from relay.api.streams import NDJSON
from relay.database.cycles import Cycles
from relay.prestashop.triggering import Triggering
from tests.relay.api.scene import URL, Relay
from tests.relay.api.shop_scene import Place, problem, shop_of


@pytest.fixture
async def place(relay: Relay) -> AsyncIterator[Place]:
    async with shop_of(relay) as place:
        yield place


async def made(place: Place, **form: Any) -> dict[str, Any]:
    """A trigger that watches the catalogue."""
    wanted = {"kind": "product-catalogue", **form}
    return await place.relay.made(f"/v1/connections/{place.connection}/triggers", wanted)


async def run(place: Place, trigger: str) -> None:
    """A whole run, as the relay does it."""
    parts, desk = place.relay.parts, Cycles(place.relay.database)
    found = parts.directory.connection
    triggering = Triggering(desk, parts.shops, found, clock=place.relay.clock, chance=lambda: 0.5, relay=URL)
    assert (await place.relay.call("POST", f"/v1/triggers/{trigger}/run")).status_code == 200
    for _ in range(200):
        works = await desk.claim(9)
        if not works:
            break
        for work in works:
            await triggering.work(work)
    shown = (await place.relay.call("GET", f"/v1/triggers/{trigger}")).json()
    assert shown["fault"] is None, shown


async def followed(place: Place) -> str:
    """The first run is over."""
    trigger = str((await made(place))["id"])
    await run(place, trigger)
    return trigger


async def snapshot(place: Place, trigger: str, query: str = "", accept: str = NDJSON) -> httpx.Response:
    headers = {"Accept": accept} if accept else {}
    return await place.relay.call("GET", f"/v1/triggers/{trigger}/snapshot{query}", as_="read", headers=headers)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def events(place: Place, trigger: str, cursor: str | None = None) -> list[dict[str, Any]]:
    query = f"?cursor={cursor}" if cursor else ""
    answer = await place.relay.call("GET", f"/v1/triggers/{trigger}/events{query}", as_="read")
    return list(answer.json()["items"])


async def test_the_form(place: Place) -> None:
    """Every twelve hours unless said otherwise, at most every quarter of an hour; orders keep their own pace."""
    trigger = await made(place)
    assert (trigger["kind"], trigger["interval"], trigger["delivery"]) == ("product-catalogue", 43_200, "pull")
    path = f"/v1/connections/{place.connection}/triggers"
    often = await place.relay.call("POST", path, {"kind": "product-catalogue", "interval": 600})
    assert problem(often, 422, "invalid")["errors"][0]["field"] == "interval"
    changed = await place.relay.call("PATCH", f"/v1/triggers/{trigger['id']}", {"interval": 600})
    assert changed.status_code == 422
    assert (await place.relay.made(path, {"kind": "order-updated"}))["interval"] == 60


async def test_the_first_run_tells_that_the_snapshot_is_ready(place: Place) -> None:
    """Nothing else: what is there is in the snapshot. Before, there is none."""
    trigger = str((await made(place))["id"])
    early = await snapshot(place, trigger)
    assert problem(early, 409, "snapshot_not_ready")["retryable"] is True
    assert early.headers["Retry-After"]
    await run(place, trigger)
    (event,) = await events(place, trigger)
    assert event["type"] == "product-catalogue"
    assert event["data"]["number"] == 1
    assert event["data"]["items"] == [{"kind": "ready", "snapshot": f"{URL}/v1/triggers/{trigger}/snapshot"}]


async def test_a_snapshot_as_a_stream(place: Place) -> None:
    """Begin, every category, every product, end; one a line."""
    trigger = await followed(place)
    begin, *items, end = lines(await snapshot(place, trigger))
    assert (begin["kind"], begin["number"]) == ("begin", 1)
    shop = place.store.shop
    assert end == {"kind": "end", "category": len(shop["categories"]), "product": len(shop["products"])}
    assert [item["id"] for item in items if item["kind"] == "product"] == sorted(shop["products"].rows)
    assert [item["kind"] for item in items] == sorted(item["kind"] for item in items)
    assert items[-1]["images"] == [] or items[-1]["images"][0]["url"].startswith(f"{URL}/v1/connections/")
    assert await events(place, trigger, begin["events"]) == []


async def test_a_snapshot_in_pages(place: Place) -> None:
    """The same items, whatever the page."""
    trigger = await followed(place)
    whole = [item for item in lines(await snapshot(place, trigger)) if item["kind"] in {"product", "category"}]
    for limit in (1, 7):
        found: list[dict[str, Any]] = []
        query = f"?limit={limit}"
        while query:
            page = (await snapshot(place, trigger, query, accept="")).json()
            found += page["items"]
            query = f"?limit={limit}&cursor={page['next']}" if page["next"] else ""
        assert found == whole


async def test_changes_follow_the_snapshot(place: Place) -> None:
    """A stock change, which moves no date, and a deletion; from the snapshot's place on, and numbered."""
    trigger = await followed(place)
    begin, *_ = lines(await snapshot(place, trigger))
    shop = place.store.shop
    stock = shop["stock_availables"].where("id_product", 6)[0]
    shop["stock_availables"].update(int(str(stock["id"])), {"quantity": 17})
    shop["products"].delete(8)
    await run(place, trigger)
    (event,) = await events(place, trigger, begin["events"])
    product, removed = event["data"]["items"]
    assert (product["kind"], product["id"], product["quantity"]) == ("product", 6, 17)
    assert removed == {"kind": "removed", "of": "product", "id": 8}
    assert event["data"]["number"] == begin["number"] + 1
    await run(place, trigger)
    assert len(await events(place, trigger)) == 2


async def broken_off(place: Place, trigger: str, query: bytes) -> list[dict[str, Any]]:
    """The lines of a stream whose transfer does not end, which no HTTP client would hand out."""
    got: list[bytes] = []
    ended: list[bool] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        got.append(message.get("body", b""))
        ended.append(message["type"] == "http.response.body" and not message.get("more_body", False))

    fields = {"authorization": f"Bearer {place.relay.tokens['read']}", "accept": NDJSON, "host": "relay.local"}
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http",
        "path": f"/v1/triggers/{trigger}/snapshot", "raw_path": b"", "query_string": query, "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await place.relay.surface(scope, receive, send)
    assert not any(ended)
    return [json.loads(line) for line in b"".join(got).splitlines()]


async def test_a_stream_that_breaks_says_how_to_go_on(place: Place) -> None:
    """The last line has the problem and a cursor; the rest of the snapshot is behind it."""
    trigger = await followed(place)
    whole = [item for item in lines(await snapshot(place, trigger)) if item["kind"] in {"product", "category"}]
    record, enough = place.store.site.record, place.store.requests_total + 12

    def count(seen: Any) -> None:
        record(seen)
        place.store.knobs.webservice = place.store.requests_total < enough

    place.store.site.record = count  # type: ignore[method-assign]  # fails after some requests
    _begin, *found, last = await broken_off(place, trigger, b"limit=4")
    assert (last["problem"]["code"], last["complete"]) == ("webservice_off", False)
    assert 0 < len(found) < len(whole)
    place.store.site.record = record  # type: ignore[method-assign]  # as it was
    place.store.knobs.webservice = True
    _begin, *rest, end = lines(await snapshot(place, trigger, f"?cursor={last['next']}"))
    assert found + rest == whole
    assert end["kind"] == "end"


@pytest.mark.parametrize("cursor", ["x", "product.x", "category.WzEsIjEiXQ", "customer.", "product.%00"])
async def test_a_cursor_of_another_list_is_refused(place: Place, cursor: str) -> None:
    trigger = await followed(place)
    answer = await snapshot(place, trigger, f"?cursor={cursor}", accept="")
    assert problem(answer, 422, "invalid")["errors"][0]["field"] == "cursor"


async def test_who_may_take_a_snapshot(place: Place) -> None:
    """`read`; of another account it is an unknown trigger; of orders there is none."""
    trigger = await followed(place)
    path = f"/v1/triggers/{trigger}/snapshot"
    assert (await place.relay.call("GET", path, as_="status")).status_code == 403
    theirs = await place.relay.call("GET", path, as_="other")
    unknown = await place.relay.call("GET", "/v1/triggers/trg_aaaaaaaaaaaaaaaa/snapshot", as_="other")
    assert theirs.status_code == 404
    assert theirs.json() | {"request": ""} == unknown.json() | {"request": ""}
    orders = await place.relay.made(f"/v1/connections/{place.connection}/triggers", {"kind": "order-updated"})
    problem(await snapshot(place, orders["id"]), 409, "not_a_catalogue")

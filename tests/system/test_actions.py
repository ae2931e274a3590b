"""Actions through the whole road: real relay, real agent, a shop as a process; streams that break, relays that die."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.system.caller import Answer, BrokenOffError, Line, basic, bearer, request
from tests.system.lan import DOMAIN
from tests.system.programs import HOST, eventually
from tests.system.road import Connection, NewRoad, Road, Shop

NDJSON = ("Accept", "application/x-ndjson")
KEY = ("Idempotency-Key", "5f1d0a52-6a6c-4d0f-9f2f-3d5b2f2a7f11")


class Scene:
    """A road of its own, on which an order may be changed and a relay killed."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.shop: Shop = road.start_shop("--domain", DOMAIN)
        entry = road.new_agent()
        self.agent = road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{self.shop.port}"])
        self.connection: Connection = road.connect(entry.id, f"http://{DOMAIN}", self.shop.key)
        _, self.token = road.new_token("forward")

    def path(self, action: str, **query: Any) -> str:
        path = f"/v1/connections/{self.connection.id}/actions/{action}"
        return f"{path}?{urlencode(query)}" if query else path

    def get(self, action: str, *headers: tuple[str, str], **query: Any) -> Answer:
        return self.road.ask(self.path(action, **query), headers=[bearer(self.token), *headers])

    def change(self, wish: dict[str, Any], *headers: tuple[str, str]) -> Answer:
        body = json.dumps(wish).encode()
        sent = [bearer(self.token), ("Content-Type", "application/json"), *headers]
        return self.road.ask(self.path("update-order-state"), "POST", sent, body)

    def histories(self, order: int) -> list[int]:
        """The states in the order's history, asked of the shop itself."""
        query = f"/api/order_histories?filter[id_order]=[{order}]&display=[id_order_state]&sort=[id_ASC]"
        answer = self.shop.ask("GET", query, [basic(self.shop.key)], host=DOMAIN)
        return [int(found.text or "") for found in answer.xml.iter("id_order_state")]


@pytest.fixture(scope="module")
def scene(new_road: NewRoad) -> Iterator[Scene]:
    road = new_road("actions")
    yield Scene(road)
    road.close()


@pytest.mark.parametrize("action", ["list-products", "list-orders", "list-customers", "list-carts", "order-states"])
def test_lists(scene: Scene, action: str) -> None:
    """Each list comes through the tunnel, page by page and as a stream, the same."""
    paged: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = scene.get(action, limit=4, **({"cursor": cursor} if cursor else {}))
        assert answer.status == 200, answer
        paged += answer.json["items"]
        cursor = answer.json["next"]
        if cursor is None:
            break
    streamed = scene.get(action, NDJSON, limit=4)
    assert streamed.status == 200
    assert [json.loads(line) for line in streamed.body.splitlines()] == paged
    assert paged


def test_single_things(scene: Scene) -> None:
    """An order with its rows and a product with its quantities come through the tunnel."""
    order = scene.get("get-order", id=1).json
    assert [row["product_id"] for row in order["order_rows"]] == [1, 2]
    product = scene.get("get-product", id=1).json
    assert product["quantity"] == 2400
    missing = scene.get("get-product", id=4711)
    assert (missing.status, missing.json["code"], missing.json["origin"]) == (404, "not_in_store", "store")


def test_a_state_is_changed_once(scene: Scene) -> None:
    """New order, look, change: the order is in its state, with one new row of history however often it is asked."""
    wish = {"order_id": 4, "state": "Payment accepted", "email": True}
    answers = [scene.change(wish, ("Idempotency-Key", "one")) for _ in range(3)]
    assert [answer.json for answer in answers] == [answers[0].json] * 3
    assert answers[0].json["current_state"] == 2
    assert scene.histories(4) == [1, 2]


def test_a_stream_that_breaks(scene: Scene) -> None:
    """A store that fails in mid-stream: a last line says so, and the transfer ends unfinished."""
    before = len(scene.shop.seen("/api/products"))
    with scene.shop.troubled(latency=0.1), Line(scene.road.http_port) as line:
        line.send(request("GET", scene.path("list-products", limit=1), [bearer(scene.token), NDJSON]))
        scene.shop.wait_for_seen("/api/products", times=before + 4)
        scene.shop.set(webservice=False)
        with pytest.raises(BrokenOffError) as broken:
            line.read()
        scene.shop.set(webservice=True)
    *items, last = [json.loads(text) for text in dechunked(broken.value.got).splitlines()]
    assert [item["id"] for item in items] == list(range(1, len(items) + 1))
    assert (last["problem"]["code"], last["problem"]["origin"], last["complete"]) == ("webservice_off", "store", False)
    rest = scene.get("list-products", NDJSON, limit=1, cursor=last["next"])
    assert json.loads(rest.body.splitlines()[0])["id"] == len(items) + 1


def test_a_caller_that_leaves(scene: Scene) -> None:
    """When the caller of a stream goes away, the store is asked no more, while others go on."""
    before = len(scene.shop.seen("/api/products"))
    with scene.shop.troubled(latency=0.1):
        with Line(scene.road.http_port) as line:
            line.send(request("GET", scene.path("list-products", limit=1), [bearer(scene.token), NDJSON]))
            scene.shop.wait_for_seen("/api/products", times=before + 3)
        for _ in range(8):
            assert scene.get("order-states").status == 200
    assert len(scene.shop.seen("/api/products")) < before + 10, "the list was read for nobody"


def test_a_token_that_is_revoked(scene: Scene) -> None:
    """A stream ends when its token is revoked."""
    id_, token = scene.road.new_token("read")
    with scene.shop.troubled(latency=0.2), Line(scene.road.http_port) as line:
        before = len(scene.shop.seen("/api/products"))
        line.send(request("GET", scene.path("list-products", limit=1), [bearer(token), NDJSON]))
        scene.shop.wait_for_seen("/api/products", times=before + 3)
        assert scene.road.api("DELETE", f"/v1/tokens/{id_}").status == 204
        with pytest.raises(BrokenOffError) as broken:
            line.read()
    last = json.loads(dechunked(broken.value.got).splitlines()[-1])
    assert last["problem"]["code"] == "unauthenticated"


def test_the_relay_is_killed_in_between(scene: Scene) -> None:
    """kill -9 while the store is at work on a change: the same key is answered from what the order tells."""
    wish = {"order_id": 3, "state": "Shipped", "email": True}
    before = len(scene.shop.seen("POST /api/order_histories"))
    with scene.shop.troubled(latency=0.4):
        first = threading.Thread(target=lost, args=(scene, wish))
        first.start()
        scene.shop.wait_for_seen("POST /api/order_histories", times=before + 1)
        scene.road.relay.signal(signal.SIGKILL)
        scene.road.relay.ends()
        first.join(10)
    scene.road.start_relay()
    eventually("the agent is back", lambda: scene.get("order-states").status == 200, seconds=20)
    eventually("the history tells of it", lambda: scene.histories(3) == [1, 8, 4])
    answer = scene.change(wish, KEY)
    assert (answer.status, answer.header("Idempotency-Replayed")) == (200, "true"), answer
    assert (answer.json["current_state"], answer.json["changed"]) == (4, True)
    assert scene.histories(3) == [1, 8, 4]
    assert len(scene.shop.seen("POST /api/order_histories")) == before + 1


def lost(scene: Scene, wish: dict[str, Any]) -> None:
    """A change whose answer never comes."""
    with pytest.raises((BrokenOffError, OSError)):
        scene.change(wish, KEY)


def dechunked(data: bytes) -> bytes:
    """The body in chunks that may end in the middle, without the head."""
    body, rest = b"", data.partition(b"\r\n\r\n")[2]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return body

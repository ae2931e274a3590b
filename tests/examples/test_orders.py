"""deploy/examples/orders.py brings on a shop's new orders, through a real relay, a real agent and a shop."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from relay.webhooks.signing import headers
from tests.system.ordering import IN_PROGRESS, PAID, id_of, ordered_again
from tests.system.programs import HOST, ROOT, Program, eventually
from tests.system.road import Connection, Road, Shop

ORDERS = str(ROOT / "deploy" / "examples" / "orders.py")
DOMAIN = "shop.test"
EVENT = "evt_aaaaaaaaaaaaaaaa"
SECONDS = 60.0  # for some cycles and the second that must be over


@dataclass
class Place:
    """A road with one shop, as its connector finds it."""

    road: Road
    shop: Shop
    connection: Connection

    @property
    def memory(self) -> Path:
        return self.road.home / "orders.json"

    def start(self, *public: str) -> Program:
        token_file = self.road.home / "api.token"
        token_file.write_text(self.road.new_token("manage")[1])
        words = [self.road.url, str(token_file), self.connection.id, str(self.memory), *public]
        return self.road.start("orders", [sys.executable, "-u", ORDERS, *words])

    def trigger(self) -> dict[str, Any]:
        """The program's, once it is there."""
        path = f"/v1/connections/{self.connection.id}/triggers"
        found: list[dict[str, Any]] = eventually("a trigger", lambda: self.road.api("GET", path).json["items"], SECONDS)
        (shown,) = found
        return shown

    def wait_until_the_past_is_known(self) -> None:
        eventually("a cycle", lambda: self.trigger()["last_run_at"], SECONDS)

    def order(self, state: int) -> int:
        """A customer's new order, in that state."""
        document = self.connection.ask("/api/orders/1").body.decode()
        answer = self.connection.ask("/api/orders", "POST", body=ordered_again(document, state))
        assert answer.status == 201, answer
        return id_of(answer.body.decode())

    def state(self, order: int) -> int:
        path = f"/api/orders?display=[current_state]&filter[id]={order}&output_format=JSON"
        return int(self.connection.ask(path).json["orders"][0]["current_state"])

    def histories(self) -> int:
        """How often an order was put into another state."""
        return len(self.shop.seen("POST /api/order_histories"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    road = Road(tmp_path)
    road.start_relay()
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent()
    road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{shop.port}"])
    yield Place(road, shop, road.connect(entry.id, f"http://{DOMAIN}", shop.key))
    road.close()


def test_new_orders_are_pulled_and_brought_on(place: Place) -> None:
    """Those that are paid, and no others; killed and started again, it goes on, and does nothing twice."""
    program = place.start()
    place.wait_until_the_past_is_known()
    paid, waiting = place.order(PAID), place.order(1)
    program.says(f"order {paid}: now in state {IN_PROGRESS}", SECONDS)
    program.signal(signal.SIGKILL)
    program.ends()
    assert (place.state(paid), place.state(waiting)) == (IN_PROGRESS, 1)
    trigger = place.trigger()["id"]
    again = place.start()
    later = place.order(PAID)
    again.says(f"order {later}: now in state {IN_PROGRESS}", SECONDS)
    assert (place.trigger()["id"], place.histories()) == (trigger, 2)
    assert f"order {paid}: 1 of Hummingbird printed t-shirt" in program.text()
    assert place.memory.stat().st_mode & 0o077 == 0


def test_an_event_comes_as_a_webhook(place: Place) -> None:
    """A signed one is done, and once however often it comes; a forged, altered or old one is refused."""
    program = place.start("https://hooks.example.com/", f"{HOST}:0")
    place.wait_until_the_past_is_known()
    order = place.order(PAID)
    port = port_of(program)
    kept = json.loads(place.memory.read_text())
    body, now = event_of(order), int(time.time())

    def send(secret: str, moment: int, sent: bytes = body) -> int:
        signed = headers(EVENT, moment, body, [SecretStr(secret)])
        return httpx.post(f"http://{HOST}:{port}/", headers=signed, content=sent, timeout=60).status_code

    assert send("whsec_" + "QUFB" * 8, now) == 401
    assert send(kept["secret"], now - 600) == 401
    assert send(kept["secret"], now, body.replace(b"[{", b"[ {")) == 401
    assert place.state(order) == PAID
    assert [send(kept["secret"], now) for _ in range(3)] == [204, 204, 204]
    assert (place.state(order), place.histories()) == (IN_PROGRESS, 1)


def test_what_cannot_be_done_now_is_asked_for_again(place: Place) -> None:
    """A shop that is away: the webhook is answered 503, which makes the relay send it again."""
    program = place.start("https://hooks.example.com/", f"{HOST}:0")
    place.wait_until_the_past_is_known()
    order = place.order(PAID)
    port, body = port_of(program), event_of(order)
    secret = SecretStr(json.loads(place.memory.read_text())["secret"])

    def send() -> int:
        signed = headers(EVENT, int(time.time()), body, [secret])
        return httpx.post(f"http://{HOST}:{port}/", headers=signed, content=body, timeout=60).status_code

    with place.shop.troubled(hang_up="before_answer"):
        assert send() == 503
    assert send() == 204
    assert place.state(order) == IN_PROGRESS


def port_of(program: Program) -> int:
    program.says("listening on ")
    return int(re.findall(r"listening on .*:(\d+)", program.text())[0])


def event_of(order: int) -> bytes:
    """What the relay would send of a paid order."""
    return json.dumps({"id": EVENT, "data": {"items": [{"id": order, "current_state": PAID}]}}).encode()

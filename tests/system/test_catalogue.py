"""A catalogue of 20,000 products through the whole road: what it takes of the relay's memory and the store's line."""

from __future__ import annotations

import http.client
import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.system.caller import Answer
from tests.system.lan import DOMAIN
from tests.system.programs import HOST, eventually
from tests.system.road import Connection, NewRoad, Road, Shop

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
PRODUCTS = 20_000
GROWTH_BYTES = 64 * MIB
SECONDS = 120.0
SHARE = 0.15  # of what the whole catalogue takes from the store: what a run may take that finds two changes


@dataclass
class Followed:
    """A road with one large shop, and one trigger that watches its catalogue."""

    road: Road
    shop: Shop
    connection: Connection
    trigger: str = ""
    cursor: str | None = None
    copy: dict[tuple[str, int], str] = field(default_factory=dict)
    """By kind and id: a product's price and quantity."""

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self._ask("GET", f"/v1/triggers/{self.trigger}").json
        return shown

    def watch(self) -> None:
        form = {"kind": "product-catalogue"}
        self.trigger = self._ask("POST", f"/v1/connections/{self.connection.id}/triggers", form).json["id"]

    def run(self) -> None:
        """A whole run, from the call to its end: only then the next look is half a day away."""
        self._ask("POST", f"/v1/triggers/{self.trigger}/run")
        self.wait()

    def wait(self) -> None:
        def over() -> bool:
            shown = self.shown()
            return bool(shown["last_run_at"]) and shown["next_run_at"] >= shown["last_run_at"] + shown["interval"]

        eventually("the run is over", over, SECONDS)

    def pull(self) -> list[dict[str, Any]]:
        """What is new, and taken into the copy."""
        found: list[dict[str, Any]] = []
        while True:
            query = f"?cursor={self.cursor}" if self.cursor else ""
            page = self._ask("GET", f"/v1/triggers/{self.trigger}/events{query}").json
            self.cursor = page["next"] or self.cursor
            if not page["items"]:
                return found
            for item in (item for event in page["items"] for item in event["data"]["items"]):
                found.append(item)
                self._take(item)

    def snapshot(self) -> Counter[str]:
        """Take it as a stream, line by line; how many there are of each kind."""
        asking = http.client.HTTPConnection(HOST, self.road.http_port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {self.road.operator}", "Accept": "application/x-ndjson"}
        asking.request("GET", f"/v1/triggers/{self.trigger}/snapshot?limit=250", headers=headers)
        response = asking.getresponse()
        assert response.status == 200, response.read()
        self.copy, kinds = {}, Counter[str]()
        for line in response:
            item = json.loads(line)
            kinds[item["kind"]] += 1
            self._take(item)
            if item["kind"] == "begin":
                self.cursor = item["events"]
            if item["kind"] == "end":
                assert item == {"kind": "end", "category": kinds["category"], "product": kinds["product"]}
        asking.close()
        return kinds

    def transferred(self) -> int:
        """Bytes that the store has sent so far."""
        return self.shop.counts()["body_bytes"]

    def write(self, method: str, path: str, document: str = "") -> None:
        body = f"<prestashop>{document}</prestashop>".encode() if document else b""
        assert self.connection.ask(path, method, body=body).status == 200

    def _take(self, item: dict[str, Any]) -> None:
        if item["kind"] == "removed":
            self.copy.pop((item["of"], item["id"]))
        elif item["kind"] in {"product", "category"}:
            self.copy[item["kind"], item["id"]] = f"{item.get('price')} {item.get('quantity')}"

    def _ask(self, method: str, path: str, form: dict[str, Any] | None = None) -> Answer:
        answer = self.road.api(method, path, form)
        assert answer.status < 300, answer
        return answer


@pytest.fixture(scope="module")
def followed(new_road: NewRoad) -> Iterator[Followed]:
    road = new_road("catalogue")
    shop = road.start_shop("--domain", DOMAIN, "--catalogue", f"large:{PRODUCTS}")
    agent = road.start_agent(road.new_agent(), [f"http://{DOMAIN}={HOST}:{shop.port}"])
    connection = road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key)
    for _ in range(20):
        assert connection.ask("/api/products?display=full&limit=50").status == 200
    yield Followed(road, shop, connection)
    road.close()


def test_a_large_catalogue(followed: Followed) -> None:
    """First run, whole snapshot, a second run with two changes: the relay grows by less than 64 MiB, the second run
    takes a small share from the store, and tells just the stock that changed and the product that is gone.
    """
    relay = followed.road.relay
    Path(f"/proc/{relay.pid}/clear_refs").write_text("5")  # the peak starts anew (proc_pid_clear_refs(5))
    rest = relay.memory()
    followed.watch()
    followed.wait()
    before = followed.transferred()
    kinds = followed.snapshot()
    whole = followed.transferred() - before
    assert kinds["product"] == PRODUCTS
    assert followed.pull() == []

    stock = "<stock_available><id>777</id><quantity>41</quantity></stock_available>"
    followed.write("PATCH", "/api/stock_availables", stock)
    followed.write("DELETE", "/api/products/4711")
    before = followed.transferred()
    followed.run()
    second = followed.transferred() - before
    told = followed.pull()
    assert [(item["kind"], item["id"]) for item in told] == [("product", 777), ("removed", 4711)]
    assert told[0]["quantity"] == 41
    assert len(followed.copy) == PRODUCTS - 1 + kinds["category"]
    assert second < SHARE * whole, f"{second} of {whole} bytes"

    followed.run()
    assert followed.pull() == []
    grown = relay.memory("VmHWM") - rest
    assert grown < GROWTH_BYTES, f"{grown / MIB:.1f} MiB"


def test_a_relay_that_is_killed_in_the_middle_of_a_run_loses_nothing(followed: Followed) -> None:
    """kill -9 while the shop is being looked over: the run goes on where it was, and the change is told."""
    if not followed.trigger:
        followed.watch()
        followed.wait()
        followed.snapshot()
    stock = "<stock_available><id>19000</id><quantity>5</quantity></stock_available>"
    followed.write("PATCH", "/api/stock_availables", stock)
    with followed.shop.troubled(latency=0.1):
        seen = followed.shop.counts()["requests"]
        followed._ask("POST", f"/v1/triggers/{followed.trigger}/run")
        eventually("some of it is read", lambda: followed.shop.counts()["requests"] > seen + 40, SECONDS)
        followed.road.relay.signal(signal.SIGKILL)
        followed.road.relay.ends()
    followed.road.start_relay()
    told = eventually("it is told", followed.pull, SECONDS)
    assert [(item["kind"], item["id"], item["quantity"]) for item in told] == [("product", 19_000, 5)]

"""What goes wrong, where it shows, and in which words: the rows of docs/SYMPTOMS.md."""

from __future__ import annotations

import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system.programs import eventually
from tests.system.road import Agent, Connection, NewRoad, Road, Shop

DOMAIN = "shop.test"
HASTY_RELAY = [sys.executable, "-m", "tests.system.hasty_relay"]
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "SYMPTOMS.md"
SECONDS = 20.0


@dataclass
class Place:
    """A relay that looks often, a shop, an agent and a connection."""

    road: Road
    shop: Shop
    agent: Agent
    connection: Connection

    def shown(self, path: str) -> dict[str, Any]:
        answer = self.road.api("GET", path)
        assert answer.status == 200, answer
        return dict(answer.json)

    @property
    def entry(self) -> dict[str, Any]:
        return self.shown(f"/v1/agents/{self.agent.entry.id}")

    @property
    def store(self) -> dict[str, Any]:
        """As the agent's page shows it."""
        (store,) = self.entry["stores"]
        return dict(store)

    def until(self, what: str, **expected: object) -> dict[str, Any]:
        """The store, once it is shown so."""
        eventually(what, lambda: {name: self.store[name] for name in expected} == expected, SECONDS)
        return self.store


@pytest.fixture(scope="module")
def place(new_road: NewRoad) -> Iterator[Place]:
    road = new_road("symptoms", start=False)
    road.start_relay(command=HASTY_RELAY)
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent("Lyon")
    agent = road.start_agent(entry, [f"http://{DOMAIN}=127.0.0.1:{shop.port}"])
    place = Place(road, shop, agent, road.connect(entry.id, f"http://{DOMAIN}", shop.key))
    eventually("the shop is well", lambda: bool(place.entry["stores"]) and place.store["answering"], SECONDS)
    yield place
    road.close()


def test_no_machine_has_used_the_token(place: Place) -> None:
    """The agent says so itself."""
    agent = place.shown(f"/v1/agents/{place.road.new_agent('new').id}")
    assert (agent["state"], agent["since"]) == ("never", agent["created_at"])
    assert agent["remedy"]["en"].startswith("No machine has used this agent's access token yet")


def test_the_agent_was_revoked(place: Place) -> None:
    """With the moment."""
    id_ = place.road.new_agent("gone").id
    place.road.api("POST", f"/v1/agents/{id_}/revoke")
    agent = place.shown(f"/v1/agents/{id_}")
    assert (agent["state"], agent["since"]) == ("revoked", agent["revoked_at"])


def test_an_agent_is_out_of_date(place: Place) -> None:
    """How many are, and which."""
    with closing(sqlite3.connect(place.road.state_dir / "relay.db", timeout=30)) as database, database:
        database.execute("UPDATE instances SET version = '0.0.1'")
    assert place.shown("/v1/status")["versions_behind"] == 1
    assert [each["name"] for each in place.shown("/v1/agents?version=0.0.1")["items"]] == ["Lyon"]


def test_the_webservice_is_switched_off(place: Place) -> None:
    """The machine is there, PrestaShop's webservice is not; the agent is as online as before."""
    with place.shop.troubled(webservice=False):
        store = place.until("it is seen", reachable=True, answering=False)
        assert (store["code"], place.entry["state"]) == ("webservice_off", "online")
        assert "Webservice" in store["remedy"]["en"]
    place.until("it is well again", answering=True, code=None)


def test_the_key_is_refused(place: Place) -> None:
    """Shown where the connection is."""
    path = f"/v1/connections/{place.connection.id}"
    assert place.road.api("PATCH", path, {"api_key": place.shop.keys["disabled"]}).status == 200
    eventually("it is seen", lambda: (place.shown(path)["store"] or {}).get("key") is False, SECONDS)
    assert place.shown(path)["store"]["code"] == "key_unknown"
    assert place.road.api("PATCH", path, {"api_key": place.shop.key}).status == 200
    eventually("it is taken", lambda: (place.shown(path)["store"] or {}).get("key") is True, SECONDS)


def test_the_store_fails(place: Place) -> None:
    """Failures of the last minutes by who is to blame; the agent is among the worst."""
    with place.shop.troubled(fatal=True):
        assert place.connection.ask("/api/orders?display=full").status == 500
    assert place.entry["traffic"]["errors"] == {"store": 1}
    worst = {each["id"]: each["errors"] for each in place.shown("/v1/status")["worst"]}
    assert worst[place.agent.entry.id] == 1


def test_the_store_is_slow(place: Place) -> None:
    """How long requests have taken lately."""
    with place.shop.troubled(first_byte_delay=0.6):
        for _ in range(3):
            assert place.connection.ask("/api/orders?limit=1").status == 200
    traffic = place.shown(f"/v1/connections/{place.connection.id}")["traffic"]
    assert traffic["p95_ms"] > 500
    assert sum(traffic["series"]) == traffic["requests"]


def test_a_trigger_cannot_read_the_store(place: Place) -> None:
    """The fault stands with the trigger, with the hop to blame."""
    with place.shop.troubled(webservice=False):
        made = place.road.api("POST", f"/v1/connections/{place.connection.id}/triggers", {"kind": "order-updated"})
        assert made.status == 201, made
        path = f"/v1/triggers/{made.json['id']}"
        eventually("it has failed", lambda: bool(place.shown(path)["fault"]), SECONDS)
        fault = place.shown(path)["fault"]
        assert (fault["origin"], fault["code"]) == ("store", "webservice_off")
    assert place.road.api("DELETE", path).status == 204


def test_the_master_keys_cannot_be_read(place: Place) -> None:
    """The relay is not ready, and says why; it is as soon as they are back."""
    keys = place.road.state_dir / "keys" / "master.keys"
    keys.rename(keys.with_suffix(".away"))
    answer = place.road.ask("/readyz")
    assert (answer.status, answer.json["items"]["keys"]) == (503, "the file of master keys cannot be read")
    keys.with_suffix(".away").rename(keys)
    assert place.road.ask("/readyz").status == 200


def test_the_shops_machine_is_off(place: Place) -> None:
    """What the agent hears when it dials."""
    place.shop.program.signal(signal.SIGKILL)
    place.shop.program.ends()
    store = place.until("it is seen", reachable=False)
    assert (store["code"], place.entry["state"]) == ("store_refused", "online")
    refused = place.connection.ask("/api/orders")
    assert (refused.status, refused.verdict[1:3]) == (502, ("store_refused", "store"))


def test_the_agents_machine_is_off(place: Place) -> None:
    """It is offline since then, and what to look at is said."""
    place.agent.program.signal(signal.SIGKILL)
    place.agent.program.ends()
    eventually("it is seen", lambda: place.entry["state"] == "offline", SECONDS)
    assert "postern-agent check" in place.entry["remedy"]["en"]
    assert place.shown("/v1/status")["agents"]["offline"] == 1
    assert place.shown("/v1/status")["worst"][0]["state"] == "offline"


def test_every_row_of_the_page_is_a_test() -> None:
    """That is there, under the name that the page gives."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(rows) >= 15
    for row in rows:
        (path, name), *_ = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z_]+)`", row)
        assert re.search(rf"def {name}\(", (ROOT / path).read_text()), row

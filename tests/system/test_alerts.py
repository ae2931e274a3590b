"""Alerts through the whole road: what breaks is told, once, with what to do; what was announced is not."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.system.hasty_relay import HASTE
from tests.system.programs import eventually
from tests.system.road import Agent, Connection, NewRoad, Road, Shop

DOMAIN = "shop.test"
HASTY_RELAY = [sys.executable, "-m", "tests.system.hasty_relay"]
GRACE_SECONDS = HASTE["relay.health.alert_rules"]["GRACE_SECONDS"]
START_SECONDS = HASTE["relay.health.alert_rules"]["START_SECONDS"]
SECONDS = 30.0


@dataclass
class Watched:
    """A road with a shop, an agent, a connection, and somebody who pulls alerts."""

    road: Road
    shop: Shop
    agent: Agent
    connection: Connection
    alert: str

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and data of all alerts so far."""
        answer = self.road.api("GET", f"/v1/alerts/{self.alert}/events")
        assert answer.status == 200, answer
        return [(event["type"], event["data"]) for event in answer.json["items"]]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told()]

    def wait_for(self, *kinds: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Until these alerts have been told, and no others; the data of the last."""
        eventually(f"alerts {kinds}, not {self.kinds()}", lambda: self.kinds() == list(kinds), seconds)
        return self.told()[-1][1]

    def start_agent_again(self) -> None:
        stores = [f"http://{DOMAIN}=127.0.0.1:{self.shop.port}"]
        self.agent = self.road.start_agent(self.agent.entry, stores, state_dir=self.agent.state_dir)


@pytest.fixture
def watched(new_road: NewRoad) -> Iterator[Watched]:
    road = new_road("alerts", start=False)
    road.start_relay(command=HASTY_RELAY)
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent("Lyon")
    agent = road.start_agent(entry, [f"http://{DOMAIN}=127.0.0.1:{shop.port}"])
    connection = road.connect(entry.id, f"http://{DOMAIN}", shop.key)
    made = road.api("POST", "/v1/alerts", {})
    assert made.status == 201, made
    eventually("the shop is looked at", lambda: shop.looks() >= 3)
    time.sleep(START_SECONDS)
    yield Watched(road, shop, agent, connection, made.json["id"])
    road.close()


def test_an_agent_that_is_killed_and_one_that_is_stopped(watched: Watched) -> None:
    """Killed: told within the grace and some seconds, then that it is back. Stopped: nobody is told."""
    watched.agent.program.signal(signal.SIGKILL)
    watched.agent.program.ends()
    data = watched.wait_for("agent.offline", seconds=GRACE_SECONDS + 25)
    assert (data["agent"], data["name"]) == (watched.agent.entry.id, "Lyon")
    assert data["since"] == pytest.approx(time.time(), abs=40)
    assert "postern-agent check" in data["remedy"]["en"]
    watched.start_agent_again()
    watched.wait_for("agent.offline", "agent.online")
    watched.agent.program.signal(signal.SIGTERM)
    assert watched.agent.program.ends() == 0
    time.sleep(3 * GRACE_SECONDS)
    assert watched.kinds() == ["agent.offline", "agent.online"]
    watched.start_agent_again()
    time.sleep(GRACE_SECONDS)
    assert watched.kinds() == ["agent.offline", "agent.online"]


def test_a_relay_that_restarts_tells_of_those_who_do_not_come_back(watched: Watched) -> None:
    """Who comes back is no news; who does not is, and a second restart does not tell it again."""
    watched.road.relay.signal(signal.SIGTERM)
    watched.road.relay.ends()
    watched.road.start_relay(command=HASTY_RELAY)
    watched.agent.wait_until_it_stands(times=2)
    time.sleep(2 * START_SECONDS)
    assert watched.kinds() == []
    watched.road.relay.signal(signal.SIGKILL)
    watched.road.relay.ends()
    watched.agent.program.signal(signal.SIGKILL)
    watched.agent.program.ends()
    watched.road.start_relay(command=HASTY_RELAY)
    watched.wait_for("agent.offline")
    watched.road.relay.signal(signal.SIGTERM)
    watched.road.relay.ends()
    watched.road.start_relay(command=HASTY_RELAY)
    time.sleep(START_SECONDS + 2 * GRACE_SECONDS)
    assert watched.kinds() == ["agent.offline"]
    watched.start_agent_again()
    watched.wait_for("agent.offline", "agent.online")


def test_a_store_that_breaks_and_is_mended(watched: Watched) -> None:
    """Its webservice is switched off, then its machine is gone: told once each, and once that it is over."""
    watched.shop.set(webservice=False)
    data = watched.wait_for("store.unreachable")
    assert (data["store"], data["code"]) == (f"{DOMAIN}:80", "webservice_off")
    assert "Webservice" in data["remedy"]["en"]
    watched.shop.set(webservice=True)
    data = watched.wait_for("store.unreachable", "store.reachable")
    assert "remedy" not in data
    watched.shop.program.signal(signal.SIGKILL)
    watched.shop.program.ends()
    data = watched.wait_for("store.unreachable", "store.reachable", "store.unreachable")
    assert (data["code"], data["agent"], data["name"]) == ("store_refused", watched.agent.entry.id, "Lyon")


def test_a_key_that_is_refused(watched: Watched) -> None:
    """Told of the connection, as soon as it has the key; over when it has a good one again."""
    path = f"/v1/connections/{watched.connection.id}"
    assert watched.road.api("PATCH", path, {"api_key": watched.shop.keys["disabled"]}).status == 200
    data = watched.wait_for("store.key_refused", seconds=10)
    assert (data["connection"], data["code"]) == (watched.connection.id, "key_unknown")
    assert data["name"] == watched.road.api("GET", path).json["name"]
    assert data["remedy"]["fr"]
    assert watched.road.api("GET", path).json["key_works"] is False
    assert watched.road.api("PATCH", path, {"api_key": watched.shop.key}).status == 200
    watched.wait_for("store.key_refused", "store.key_accepted", seconds=10)
    assert watched.shop.keys["disabled"] not in watched.road.logs()


def test_a_token_that_ends_soon(watched: Watched) -> None:
    """Told when the relay looks: at its start, and each hour."""
    watched.road.new_token("read", expires_at=int(time.time()) + 6 * 86_400)
    watched.road.relay.signal(signal.SIGTERM)
    watched.road.relay.ends()
    watched.road.start_relay(command=HASTY_RELAY)
    data = watched.wait_for("token.expiring")
    assert data["days"] == 7

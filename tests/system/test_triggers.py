"""Triggers through the whole road: what changes in a shop is told, once, whatever happens to relay and agent."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.system.caller import Answer
from tests.system.programs import eventually
from tests.system.road import Agent, Connection, NewRoad, Road, Shop

DOMAIN = "shop.test"
SECONDS = 60.0  # for what takes some cycles, the time until a second is over, and perhaps a lease
STATES = (2, 3, 4, 5)


@dataclass
class Watched:
    """A road with one shop and one trigger that is pulled."""

    road: Road
    shop: Shop
    agent: Agent
    connection: Connection
    trigger: str
    cursor: str | None = None

    def trigger_now(self) -> dict[str, Any]:
        shown: dict[str, Any] = self._ask("GET", f"/v1/triggers/{self.trigger}").json
        return shown

    def run(self) -> None:
        self._ask("POST", f"/v1/triggers/{self.trigger}/run")

    def look(self) -> None:
        """Have the relay look at the shop, and wait until it has."""
        before = self.trigger_now()["last_run_at"] or 0
        self.run()
        eventually("a cycle", lambda: (self.trigger_now()["last_run_at"] or 0) > before, SECONDS)

    def pull(self) -> list[dict[str, Any]]:
        """What is new."""
        asked = f"?cursor={self.cursor}" if self.cursor else ""
        answer = self._ask("GET", f"/v1/triggers/{self.trigger}/events{asked}").json
        self.cursor = answer["next"]
        return list(answer["items"])

    def wait_for(self, wanted: set[tuple[int, int]]) -> list[tuple[int, int]]:
        """All that is told until each of these orders has been, in that state; pairs of order and state."""
        told: list[tuple[int, int]] = []

        def look() -> bool:
            self.run()
            for event in self.pull():
                told.extend((item["id"], item["current_state"]) for item in event["data"]["items"])
            return wanted <= set(told)

        eventually(f"{sorted(wanted)} are told", look, SECONDS)
        return told

    def change(self, order: int, state: int) -> None:
        body = f"<prestashop><order><id>{order}</id><current_state>{state}</current_state></order></prestashop>"
        assert self.connection.ask("/api/orders", "PATCH", body=body.encode()).status == 200

    def orders(self) -> dict[int, int]:
        """Their states, by id."""
        rows = self.connection.ask("/api/orders?display=[id,current_state]&output_format=JSON").json["orders"]
        return {int(row["id"]): int(row["current_state"]) for row in rows}

    def _ask(self, method: str, path: str) -> Answer:
        answer = self.road.api(method, path)
        assert answer.status < 300, answer
        return answer


@pytest.fixture
def watched(new_road: NewRoad) -> Iterator[Watched]:
    road = new_road("triggers")
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent()
    agent = road.start_agent(entry, [f"http://{DOMAIN}=127.0.0.1:{shop.port}"])
    connection = road.connect(entry.id, f"http://{DOMAIN}", shop.key)
    made = road.api("POST", f"/v1/connections/{connection.id}/triggers", {"kind": "order-updated", "interval": 10})
    assert made.status == 201, made
    found = Watched(road, shop, agent, connection, made.json["id"])
    eventually("the past is known", lambda: found.trigger_now()["last_run_at"], SECONDS)
    assert found.trigger_now()["fault"] is None
    yield found
    road.close()


def test_an_order_that_changes_is_told(watched: Watched) -> None:
    """Not the past; then each change with what list-orders shows, under an id and with a cursor to go on from."""
    assert watched.pull() == []
    order = min(watched.orders())
    watched.change(order, 4)
    assert watched.wait_for({(order, 4)}) == [(order, 4)]
    time.sleep(1)
    watched.look()
    assert watched.pull() == [], "told twice"


def test_a_relay_that_is_killed_in_the_middle_of_cycles_loses_nothing(watched: Watched) -> None:
    """kill -9 at three moments of a cycle, with a slow shop; each time it goes on, and nothing is told twice."""
    orders = sorted(watched.orders())
    last: dict[int, int] = {}
    for round_, state in enumerate(STATES[:3]):
        for order in orders:
            watched.change(order, state)
            last[order] = state
        time.sleep(3)  # the second is over
        with watched.shop.troubled(first_byte_delay=0.5):
            watched.run()
            time.sleep(0.4 + 0.5 * round_)
            watched.road.relay.signal(signal.SIGKILL)
            watched.road.relay.ends()
        watched.road.start_relay()
        watched.agent.wait_until_it_stands(times=round_ + 2)
    told = watched.wait_for(set(last.items()))
    assert Counter(told)[(orders[0], last[orders[0]])] == 1
    assert max(Counter(told).values()) == 1, "told twice"


def test_an_agent_that_was_away_is_caught_up_with_in_bounded_steps(watched: Watched) -> None:
    """Faults are said while it is away; then everything comes, at most `ceiling` orders in one event."""
    changed = watched.road.api("PATCH", f"/v1/triggers/{watched.trigger}", {"ceiling": 2})
    assert changed.status == 200
    orders = sorted(watched.orders())
    for order in orders:
        watched.change(order, 5)
    watched.agent.program.signal(signal.SIGTERM)
    watched.agent.program.ends()
    watched.run()
    fault = eventually("a fault", lambda: watched.trigger_now()["fault"], SECONDS)
    assert (fault["code"], fault["origin"]) == ("agent_offline", "agent")
    state_dir = watched.agent.state_dir
    watched.agent = watched.road.start_agent(
        watched.agent.entry, [f"http://{DOMAIN}=127.0.0.1:{watched.shop.port}"], state_dir=state_dir
    )
    told: list[dict[str, Any]] = []

    def look() -> bool:
        watched.run()
        told.extend(watched.pull())
        return sum(len(event["data"]["items"]) for event in told) >= len(orders)

    eventually("all are told", look, SECONDS)
    assert max(len(event["data"]["items"]) for event in told) <= 2
    assert len({event["id"] for event in told}) == len(told)
    assert watched.trigger_now()["fault"] is None


def test_changes_while_cycles_run_are_all_told(watched: Watched) -> None:
    """Orders change all the time, several in one second; the last state of each is told."""
    orders = sorted(watched.orders())
    stop = threading.Event()
    last: dict[int, int] = {}

    def change() -> None:
        for number in range(60):
            order, state = orders[number % len(orders)], STATES[number // len(orders) % len(STATES)]
            watched.change(order, state)
            last[order] = state
        stop.set()

    thread = threading.Thread(target=change)
    thread.start()
    told: list[tuple[int, int]] = []
    while not stop.is_set():
        watched.run()
        told += [(i["id"], i["current_state"]) for event in watched.pull() for i in event["data"]["items"]]
    thread.join()
    told += watched.wait_for({pair for pair in last.items() if pair not in told})
    assert set(last.items()) <= set(told)

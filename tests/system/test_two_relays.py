"""Two whole relays on one PostgreSQL: a trigger is one node's at a time, and what one revokes the other does too."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.relay.conftest import database_flags
from tests.system.caller import basic
from tests.system.hop import Hop
from tests.system.programs import HOST, eventually, free_ports
from tests.system.road import Agent, Connection, Entry, Road, Shop
from tests.system.test_revocation import WITHIN_SECONDS

DOMAIN = "shop.test"
SECONDS = 60.0  # for some cycles, and the half minute after which a lease is another node's
STATES = (2, 3, 4, 5)


@dataclass(frozen=True)
class Node:
    """One relay, its agent's process, and the hop between that and the shop, through which nobody else goes."""

    road: Road
    agent: Agent
    hop: Hop


@dataclass(frozen=True)
class Pair:
    """Two nodes before one shop, with one connection and one trigger that is pulled."""

    nodes: list[Node]
    shop: Shop
    entry: Entry
    connection: Connection
    trigger: str

    def run(self, node: Node) -> None:
        """Have somebody look at the shop."""
        assert node.road.api("POST", f"/v1/triggers/{self.trigger}/run").status == 200

    def shown(self, node: Node) -> dict[str, Any]:
        answer: dict[str, Any] = node.road.api("GET", f"/v1/triggers/{self.trigger}").json
        return answer

    def told(self, node: Node) -> list[dict[str, Any]]:
        """All orders of all events."""
        events = node.road.api("GET", f"/v1/triggers/{self.trigger}/events?limit=500").json["items"]
        return [item for event in events for item in event["data"]["items"]]

    def through(self, node: Node) -> Connection:
        """The connection as a caller of that node has it."""
        return dataclasses.replace(self.connection, relay_port=node.road.http_port)

    def change(self, order: int, state: int) -> None:
        """In the shop itself: no connection through an agent comes of it."""
        body = f"<prestashop><order><id>{order}</id><current_state>{state}</current_state></order></prestashop>"
        answer = self.shop.ask("PATCH", "/api/orders", [basic(self.shop.key)], body.encode(), host=DOMAIN)
        assert answer.status == 200, answer

    def wait_for(self, wanted: set[tuple[int, int]], node: Node) -> None:
        def look() -> bool:
            self.run(node)
            return wanted <= {(item["id"], item["current_state"]) for item in self.told(node)}

        eventually(f"{sorted(wanted)} are told", look, SECONDS)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with database_flags(request, "postgresql") as flags, ExitStack() as stack:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        first = Road(tmp_path / "a", settings=flags)
        stack.callback(first.close)
        first.start_relay()
        keys = ["--master-key-file", str(first.state_dir / "keys" / "master.keys")]
        second = Road(tmp_path / "b", settings=[*flags, *keys])
        stack.callback(second.close)
        second.start_relay()
        shop = first.start_shop("--domain", DOMAIN)
        entry = first.new_agent(places=2)
        nodes = [_node(road, entry, shop, stack) for road in (first, second)]
        connection = first.connect(entry.id, f"http://{DOMAIN}", shop.key)
        wish = {"kind": "order-updated", "interval": 10}
        made = first.api("POST", f"/v1/connections/{connection.id}/triggers", wish)
        assert made.status == 201, made
        pair = Pair(nodes, shop, entry, connection, made.json["id"])
        eventually("the past is known", lambda: pair.shown(nodes[0])["last_run_at"], SECONDS)
        yield pair


def _node(road: Road, entry: Entry, shop: Shop, stack: ExitStack) -> Node:
    (port,) = free_ports(1)
    hop = stack.enter_context(Hop(port, shop.port).running())
    return Node(road, road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{port}"]), hop)


def working(pair: Pair) -> list[Node]:
    """Who has connections to the shop."""
    return [node for node in pair.nodes if node.hop.connections]


def caught(pair: Pair) -> Node:
    """The node that has begun a cycle, in the middle of it, with the shop slow to answer."""
    for node in pair.nodes:
        node.hop.cut()
    pair.run(pair.nodes[0])
    eventually("a cycle has begun", lambda: working(pair))
    (node,) = working(pair)
    return node


def test_a_trigger_is_one_nodes_at_a_time(pair: Pair) -> None:
    """While one reads, slowly, the other keeps away; killed, it is followed by the other, and nothing is told twice."""
    orders = list(range(1, 6))
    for order in orders:
        pair.change(order, STATES[order % len(STATES)])
    wanted = {(order, STATES[order % len(STATES)]) for order in orders}
    time.sleep(3)  # their second is over, so that this cycle would tell them
    with pair.shop.troubled(first_byte_delay=3):
        holder = caught(pair)
        (other,) = (node for node in pair.nodes if node is not holder)
        for _ in range(10):
            time.sleep(0.2)
            pair.run(other)
            assert working(pair) == [holder]
        holder.road.relay.signal(signal.SIGKILL)
        holder.road.relay.ends()
    pair.wait_for(wanted, other)
    assert pair.shown(other)["fault"] is None
    stamps = Counter((item["id"], item["date_upd"]) for item in pair.told(other))
    assert max(stamps.values()) == 1, "told twice"


def test_both_nodes_look_and_nothing_is_told_twice(pair: Pair) -> None:
    """Many short cycles, asked for on both: every order's last state is told, and each change of it once."""
    last: dict[int, int] = {}
    for number in range(20):
        order, state = number % 5 + 1, STATES[number // 5]
        pair.change(order, state)
        last[order] = state
        pair.run(pair.nodes[number % 2])
    pair.wait_for(set(last.items()), pair.nodes[1])
    stamps = Counter((item["id"], item["date_upd"]) for item in pair.told(pair.nodes[0]))
    assert max(stamps.values()) == 1, "told twice"


def test_what_is_revoked_on_one_node_is_revoked_on_the_other(pair: Pair) -> None:
    """Within a second each: an API token, and an agent, whose tunnel goes with what is under way in it."""
    first, second = pair.nodes
    id_, token = first.road.new_token("read")
    there = pair.through(second)
    assert there.ask("/api/orders?limit=1", token=token).status == 200
    assert first.road.api("POST", f"/v1/tokens/{id_}/revoke").status == 200
    eventually("401", lambda: there.ask("/api/orders?limit=1", token=token).status == 401, WITHIN_SECONDS)
    with pair.shop.troubled(first_byte_delay=20), ThreadPoolExecutor() as pool:
        under_way = pool.submit(there.ask, "/api/orders?limit=1&slow=1", seconds=15)
        pair.shop.wait_for_seen("slow=1")
        assert first.road.api("POST", f"/v1/agents/{pair.entry.id}/revoke").status == 200
        revoked_at = time.monotonic()
        answer = under_way.result()
    assert answer.verdict == (503, "agent_offline", "agent", "sent_unknown")
    assert answer.at - revoked_at < WITHIN_SECONDS

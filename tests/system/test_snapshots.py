"""A machine restored from a snapshot while the copied one runs: two agents with everything in common, memory too."""

from __future__ import annotations

import shutil
import sys
import time

import pytest

from tests.system.lan import DOMAIN
from tests.system.programs import HOST, eventually
from tests.system.road import Agent, Entry, NewRoad, Road, Shop

pytestmark = pytest.mark.timeout(120)

RESTORED = """\
import secrets, sys
draw, secrets.token_hex = secrets.token_hex, lambda _: "5ab1" * 4
import agent.tunnel
secrets.token_hex = draw
from agent.cli import main
sys.exit(main())
"""
"""The agent, with what a process draws at its start as it was in the snapshot."""
SETTLED_SECONDS = 40.0
QUIET_SECONDS = 5.0


def start(road: Road, shop: Shop, entry: Entry, copied: Agent | None = None) -> Agent:
    directory = road.home / "restored.state" if copied else None
    if copied and directory:
        shutil.copytree(copied.state_dir, directory, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    stores, command = [f"http://{DOMAIN}={HOST}:{shop.port}"], (sys.executable, "-c", RESTORED)
    return road.start_agent(entry, stores, command=command, wait=copied is None, state_dir=directory)


def test_they_are_told_apart_and_one_stays(new_road: NewRoad) -> None:
    """Each bears the other's very name, and they would replace each other for ever. One takes another name, the alert
    is on record, one of the two is turned away for a while, and requests go on."""
    road = new_road("snapshots")
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent()
    agents = [start(road, shop, entry)]
    agents[0].wait_until_it_stands(2)
    agents.append(start(road, shop, entry, agents[0]))
    connection = road.connect(entry.id, f"http://{DOMAIN}", shop.key)
    road.relay.says('"clone suspected"', SETTLED_SECONDS)

    def logins() -> int:
        return road.relay.text().count('"tunnel up"')

    def one_stays() -> bool:
        before = logins()
        time.sleep(QUIET_SECONDS)
        shown = road.api("GET", f"/v1/agents/{entry.id}").json
        return logins() == before and len(shown["tunnels"]) == 2 and bool(shown["instances"][0]["clone_suspected"])

    eventually("they no longer replace each other", one_stays, SETTLED_SECONDS)
    assert any("was its state directory, or its machine, copied?" in agent.program.text() for agent in agents)
    events = road.api("GET", "/v1/audit?limit=50").json["items"]
    assert any(event["action"] == "instance.clone" for event in events)
    assert connection.ask("/api/orders?limit=1").status == 200
    for agent in agents:
        agent.program.stop()

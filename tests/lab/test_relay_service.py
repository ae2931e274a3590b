"""The relay's life under a real systemd: stopped with work under way, killed, and what it leaves on disk."""

from __future__ import annotations

import threading
import time

import pytest

from tests.lab.machine import eventually
from tests.lab.parties import RELAY_SOCKETS, RELAY_UNIT, Agent, Answer, Relay, Shop

pytestmark = pytest.mark.lab

Account = dict[str, dict[str, str]]
STOP_SECONDS = 5.0
"""Stopping with nothing under way; the proxy's idle connections are nothing to wait for."""
STATE = "/var/lib/postern-relay"


def answers(relay: Relay, account: Account) -> bool:
    return relay.get(account["connection"], "/api/products/1").status == 200


def test_stop_is_quick_when_nothing_is_under_way(agent: Agent, relay: Relay, account: Account) -> None:
    """`systemctl stop` ends with status 0 within seconds, with the proxy's connections and a tunnel open."""
    eventually(lambda: answers(relay, account), "requests go through")
    began = time.monotonic()
    relay.machine.run("systemctl", "stop", RELAY_UNIT)
    took = time.monotonic() - began
    properties = relay.machine.unit(RELAY_UNIT, "Result", "ExecMainStatus")
    relay.machine.run("systemctl", "start", RELAY_UNIT)
    assert properties == {"Result": "success", "ExecMainStatus": "0"}
    assert took < STOP_SECONDS
    eventually(lambda: answers(relay, account), "requests go through again")


def test_a_request_under_way_survives_the_stop(agent: Agent, relay: Relay, shop: Shop, account: Account) -> None:
    """A shop that thinks for three seconds is waited for: the caller gets its answer while the relay is leaving."""
    eventually(lambda: answers(relay, account), "requests go through")
    got: list[Answer] = []
    shop.set(first_byte_delay=3)
    try:
        caller = threading.Thread(target=lambda: got.append(relay.get(account["connection"], "/api/products/1")))
        before = len(shop.requests())
        caller.start()
        eventually(lambda: len(shop.requests()) > before, "the shop has the request")
        relay.machine.run("systemctl", "stop", RELAY_UNIT)
        caller.join(30)
    finally:
        shop.set(first_byte_delay=0)
        relay.machine.run("systemctl", "start", RELAY_UNIT)
    assert [answer.status for answer in got] == [200]
    eventually(lambda: answers(relay, account), "requests go through again")


def test_killed_it_is_back_and_the_agent_with_it(agent: Agent, relay: Relay, account: Account) -> None:
    """After SIGKILL systemd starts it, the database opens, the agent dials again, and requests go through."""
    before = relay.machine.unit(RELAY_UNIT, "NRestarts", "MainPID")
    relay.machine.run("systemctl", "kill", "--signal=KILL", RELAY_UNIT)
    again = str(int(before["NRestarts"]) + 1)
    eventually(lambda: relay.machine.unit(RELAY_UNIT, "NRestarts")["NRestarts"] == again, "it is started again")
    eventually(lambda: answers(relay, account), "requests go through again")
    after = relay.machine.unit(RELAY_UNIT, "NRestarts", "MainPID")
    assert after["NRestarts"] == again, "once was not enough"
    assert after["MainPID"] != before["MainPID"]


def test_its_files_are_for_its_user_alone(relay: Relay, account: Account) -> None:
    """Database and master keys belong to the service's user, in directories that nobody else can enter."""
    look = ("stat", "--format", "%a %U %n")
    places = (STATE, f"{STATE}/keys", f"{STATE}/keys/master.keys", f"{STATE}/relay.db")
    expected = [f"700 postern-relay {place}" for place in places[:2]]
    expected += [f"600 postern-relay {place}" for place in places[2:]]
    assert relay.machine.tell(*look, *places).splitlines() == expected


def test_a_bad_setting_is_told_and_not_tried_again(relay: Relay, agent: Agent, account: Account) -> None:
    """Exit status 78 with a sentence in the journal, and no restart by systemd (its sockets try it for who knocks)."""
    settings = relay.machine.tell("cat", "/etc/postern/relay.toml")
    relay.machine.write("/etc/postern/relay.toml", settings + '\ncolour = "blue"\n')
    since = time.time()
    try:
        assert relay.machine.run("systemctl", "restart", RELAY_UNIT, check=False).returncode != 0
        told = [str(event["event"]) for _, event in relay.machine.events(RELAY_UNIT, since=since)]
        assert any("COLOUR" in line for line in told), told
        by_systemd = " ".join(str(entry["MESSAGE"]) for entry in relay.machine.journal(RELAY_UNIT, since=since))
        assert "status=78/CONFIG" in by_systemd
        assert "Scheduled restart job" not in by_systemd
    finally:
        relay.machine.write("/etc/postern/relay.toml", settings + "\n")
        relay.machine.run("systemctl", "stop", *RELAY_SOCKETS, RELAY_UNIT)  # a socket does not start under its service
        relay.machine.run("systemctl", "reset-failed", *RELAY_SOCKETS, RELAY_UNIT)
        relay.machine.run("systemctl", "start", *RELAY_SOCKETS, RELAY_UNIT)
    eventually(lambda: answers(relay, account), "requests go through again")

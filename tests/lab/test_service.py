"""The agent's life under a real systemd: ready, told, stopped, killed, hung, revoked, rebooted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.machine import eventually
from tests.lab.network import Network
from tests.lab.parties import AGENT_UNIT, Agent, Relay, Shop

pytestmark = pytest.mark.lab

Account = dict[str, dict[str, str]]
TOKEN_FILE = "/etc/postern/agent.token"
DROP_IN = f"/etc/systemd/system/{AGENT_UNIT}.d/lab.conf"
LEAVING_SECONDS = 5.0
"""An idle agent has nothing to wait for but the relay's goodbye."""


def restarted(agent: Agent, restarts: int) -> bool:
    return agent.restarts() > restarts and agent.machine.unit(AGENT_UNIT, "SubState")["SubState"] == "running"


@contextmanager
def drop_in(agent: Agent, text: str) -> Iterator[None]:
    """Other lines in the unit, in force from the next start on."""
    agent.machine.write(DROP_IN, f"[Service]\n{text}\n")
    agent.machine.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        remove_drop_in(agent)


def remove_drop_in(agent: Agent) -> None:
    agent.machine.run("rm", DROP_IN)
    agent.machine.run("systemctl", "daemon-reload")
    agent.machine.run("systemctl", "restart", AGENT_UNIT)


def test_a_request_goes_through(agent: Agent, relay: Relay, account: Account) -> None:
    """The connector in the cloud gets the shop's products, and systemd is told how many tunnels stand."""
    answer = relay.get(account["connection"], "/api/products?display=[id,reference]&limit=2")
    assert answer.status == 200
    assert "<prestashop" in answer.body
    assert "tunnels to https://relay.test stand" in agent.machine.unit(AGENT_UNIT, "StatusText")["StatusText"]


def test_ready_does_not_wait_for_the_relay(agent: Agent, network: Network) -> None:
    """With the line down the service starts at once and says what is wrong; when the line is back it connects."""
    network("port", "443", "off")
    began = time.monotonic()
    agent.machine.run("systemctl", "restart", AGENT_UNIT)
    assert time.monotonic() - began < 5
    properties = agent.machine.unit(AGENT_UNIT, "ActiveState", "StatusText")
    assert properties["ActiveState"] == "active"
    assert "relay.test" in properties["StatusText"]
    assert not agent.connected()
    network("port", "443", "on")
    agent.connect()


def test_stop_leaves_cleanly_and_quickly(agent: Agent) -> None:
    """`systemctl stop` ends with status 0 and a goodbye, long before systemd would lose patience."""
    began = time.monotonic()
    agent.machine.run("systemctl", "stop", AGENT_UNIT)
    took = time.monotonic() - began
    properties = agent.machine.unit(AGENT_UNIT, "Result", "ExecMainStatus", "ExecMainCode")
    agent.machine.run("systemctl", "start", AGENT_UNIT)
    assert (properties["Result"], properties["ExecMainStatus"]) == ("success", "0")
    assert took < LEAVING_SECONDS


def test_killed_it_is_back(agent: Agent, relay: Relay, account: Account) -> None:
    """After SIGKILL systemd starts it again, it connects with what it has on disk, and requests go through."""
    restarts = agent.restarts()
    agent.machine.run("kill", "-KILL", str(agent.pid()))
    eventually(lambda: restarted(agent, restarts), "the agent is started again")
    agent.connect()
    assert relay.get(account["connection"], "/api/products/1").status == 200


def test_hung_it_is_restarted(agent: Agent) -> None:
    """A stopped process feeds no watchdog: systemd ends it and starts another (with 3 s in place of the unit's 60)."""
    assert agent.machine.unit(AGENT_UNIT, "WatchdogUSec")["WatchdogUSec"] == "1min"
    with drop_in(agent, "WatchdogSec=3"):
        agent.machine.run("systemctl", "restart", AGENT_UNIT)
        agent.connect()
        time.sleep(4)  # longer than the watchdog's time: while it is fed, nothing happens
        assert agent.restarts() == 0
        agent.machine.run("kill", "-STOP", str(agent.pid()))
        eventually(lambda: restarted(agent, 0), "the agent is started again")
        agent.connect()
        told = [str(entry["MESSAGE"]) for entry in agent.machine.journal(AGENT_UNIT)]
        assert any("Watchdog timeout" in line for line in told)


def test_a_revoked_token_ends_it_for_good(agent: Agent, relay: Relay, account: Account) -> None:
    """Its tunnel is cut, it exits with 78 and is not started again; a new token in the file brings it back."""
    agent_id = account["agent"]["id"]
    token = next(t for t in relay.ask("agents", "tokens", "list", agent_id)["items"] if not t["revoked_at"])
    agent.machine.run("systemctl", "restart", AGENT_UNIT)
    agent.connect()

    def state() -> dict[str, str]:
        return dict(agent.machine.unit(AGENT_UNIT, "ActiveState", "Result", "ExecMainStatus", "NRestarts"))

    try:
        relay.ask("agents", "tokens", "revoke", agent_id, token["id"])
        eventually(lambda: state()["ActiveState"] == "failed", "the unit has failed")
        time.sleep(4)  # twice RestartSec
        assert state() == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
        assert "token was revoked" in [str(event["event"]) for _, event in agent.machine.events(AGENT_UNIT)][-1]
        assert relay.get(account["connection"], "/api/products/1").status == 503
    finally:
        fresh = relay.ask("agents", "tokens", "create", agent_id)
        agent.machine.write(TOKEN_FILE, fresh["token"] + "\n", mode=0o600)
        agent.machine.run("systemctl", "restart", AGENT_UNIT)
    agent.connect()
    assert relay.get(account["connection"], "/api/products/1").status == 200


@pytest.mark.parametrize("end", ["reboot", "power cut"])
def test_after_a_reboot_it_comes_up_by_itself_and_needs_no_token(
    agent: Agent, relay: Relay, account: Account, end: str
) -> None:
    """The instance's key is enough: the token's file is gone, the machine boots, requests go through."""
    machine = agent.machine
    token = machine.tell("cat", TOKEN_FILE)
    machine.write(DROP_IN, "[Service]\nLoadCredential=\n")
    machine.run("rm", TOKEN_FILE)
    if end == "reboot":
        machine.stop(keep=True)
    else:
        machine.crash()
    machine.start(keep=True)
    try:
        agent.connect()
        assert relay.get(account["connection"], "/api/products/1").status == 200
        machine.run("journalctl", "--verify")
    finally:
        machine.write(TOKEN_FILE, token + "\n", mode=0o600)
        remove_drop_in(agent)


def test_files_with_secrets_are_for_their_reader_alone(agent: Agent) -> None:
    """The token is root's, its copy and the state belong to the service's user, and nobody else may read them."""
    look = ("stat", "--format", "%a %U", "--dereference")
    assert agent.machine.tell(*look, TOKEN_FILE) == "600 root"
    credential = agent.machine.tell("stat", "--format", "%a", f"/run/credentials/{AGENT_UNIT}/token")
    assert credential in {"400", "440"}  # by systemd's version
    assert agent.machine.tell(*look, "/var/lib/private/postern-agent") == "700 postern-agent"
    assert agent.machine.tell(*look, "/var/lib/private/postern-agent/instance_key") == "600 postern-agent"
    assert agent.machine.tell(*look, "/run/postern-agent/status.sock") == "600 postern-agent"
    assert agent.machine.tell(*look, "/var/lib/private") == "700 root"


def test_no_secret_is_told(agent: Agent, relay: Relay, shop: Shop, account: Account) -> None:
    """Neither token nor key stands in a journal, a proxy's log, an argument list or an environment."""
    key = account["connection"]["access_key"]
    secrets = {agent.machine.tell("cat", TOKEN_FILE), account["agent"]["token"], shop.key, key}
    path = f"{account['connection']['url']}/api/products/1?ws_key={key}"
    relay.machine.run("curl", "--silent", "--insecure", "--fail", path)
    for machine in (agent.machine, relay.machine):
        told = machine.tell("journalctl", "-o", "cat", "--no-pager")
        told += machine.tell("sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
        assert "postern" in told
        assert [secret[:9] for secret in secrets if secret in told] == []
    logs = relay.machine.tell("sh", "-c", "cat /var/log/nginx/*")
    assert "/api/products/1" in logs
    assert [secret[:9] for secret in secrets if secret in logs] == []

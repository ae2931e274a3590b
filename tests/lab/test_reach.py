"""Nothing in: what the agent's machine listens on, whom it dials, and how far the cloud gets."""

from __future__ import annotations

import pytest

from tests.lab.machine import eventually
from tests.lab.network import LAN, SHOP, Network
from tests.lab.parties import AGENT_UNIT, Agent, Relay, Shop

pytestmark = pytest.mark.lab

KNOCK = """
import socket, sys
for port in map(int, sys.argv[2:]):
    with socket.socket() as s:
        s.settimeout(0.4)
        print(port, s.connect_ex((sys.argv[1], port)) == 0)
"""


def open_ports(network: Network, namespace: str, host: str, *ports: int) -> set[int]:
    """Which of the ports take a TCP connection from the namespace."""
    told = network.run(namespace, "python3", "-c", KNOCK, host, *map(str, ports))
    return {int(line.split()[0]) for line in told.splitlines() if line.endswith("True")}


def test_the_agents_machine_listens_on_nothing(agent: Agent) -> None:
    """With a tunnel that stands, no TCP or UDP socket of the machine waits for anybody, on any address."""
    assert agent.machine.tell("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp", "--raw") == ""


def test_one_local_socket_tells_the_status_and_root_alone_may_ask(agent: Agent) -> None:
    """The only thing the agent's process waits on is the status socket, in a directory that others cannot enter."""
    sockets = agent.machine.tell("ss", "--no-header", "--listening", "--unix", "--processes")
    ours = [line for line in sockets.splitlines() if f"pid={agent.pid()}," in line]
    assert len(ours) == 1
    assert "postern-agent/status.sock" in ours[0]
    nobody = agent.machine.run("setpriv", "--reuid=65534", "--clear-groups", "postern-agent", "status", check=False)
    assert nobody.returncode == 1
    assert "sudo" in nobody.stderr


def test_the_cloud_reaches_neither_agent_nor_shop(agent: Agent, shop: Shop, network: Network) -> None:
    """Even with a route into the LAN, the cloud gets no connection: the firewall has dropped each try."""
    assert open_ports(network, "fw", LAN, 80) == {80}, "the shop can be reached from within, or this proves nothing"
    before = network.dropped("inbound_dropped")
    assert open_ports(network, "cloud", LAN, 80, 443) == set()
    assert open_ports(network, "cloud", SHOP, 22, 80, 443, 2222) == set()
    assert network.dropped("inbound_dropped") >= before + 6


def test_the_agent_dials_the_relay_and_its_stores_and_nothing_else(
    agent: Agent, relay: Relay, account: dict[str, dict[str, str]], network: Network
) -> None:
    """Of all packets that left its machine since it was installed, none went anywhere else."""
    assert relay.get(account["connection"], "/api/products/1").status == 200
    assert network.left_shop("allowed") > 0
    assert network.left_shop("elsewhere") == 0
    agent.machine.run("python3", "-c", KNOCK, "10.77.1.1", "9")
    assert network.left_shop("elsewhere") > 0, "the counter counts"
    network.forgive_shop()


def test_the_relay_cannot_have_another_host_dialled(
    agent: Agent, relay: Relay, account: dict[str, dict[str, str]], shop: Shop, network: Network
) -> None:
    """A connection to a host that the agent's file does not name is refused, and no packet goes there."""
    words = ("connections", "create", "--name", "router", "--mode", "on-premise", "--agent", account["agent"]["id"])
    other = relay.ask(*words, "--store-url", "http://10.77.1.1", "--api-key-file", "-", text=shop.key)
    answer = relay.get(other, "/api/products")
    assert answer.status >= 400
    assert "10.77.1.1" in answer.body
    assert network.left_shop("elsewhere") == 0
    relay.ask("connections", "delete", other["id"])


def test_only_https_and_ssh_to_the_relay_leave_the_shop(agent: Agent, network: Network) -> None:
    """The agent's sockets are those of its tunnels, to the relay's SSH and HTTPS ports, and of its stores."""
    eventually(lambda: {"10.77.2.1:2222", "10.77.2.1:443"} <= _peers(agent), "both tunnels stand")
    assert _peers(agent) <= {"10.77.2.1:2222", "10.77.2.1:443", f"{LAN}:80"}
    assert agent.machine.unit(AGENT_UNIT, "ActiveState")["ActiveState"] == "active"


def _peers(agent: Agent) -> set[str]:
    lines = agent.machine.tell("ss", "--no-header", "--numeric", "--tcp", "--processes", "state", "established")
    return {line.split()[3] for line in lines.splitlines() if f"pid={agent.pid()}," in line}

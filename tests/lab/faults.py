"""The faults of the table, one function each, and the bars that each is held to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.lab.machine import LabError, Machine
from tests.lab.network import CLOUD_IPV6, Network
from tests.lab.parties import AGENT_UNIT, HOST, RELAY_UNIT, Agent, Relay, Shop

NOTICE_SECONDS = 6.0
"""A dead path under traffic is noticed within this."""
IDLE_NOTICE_SECONDS = 15.0
"""And one that carries nothing within this."""
RECOVER_SECONDS = 2.0
"""All is well so soon after the path is back, or after its death was noticed where there is another."""
UNTOLD_SECONDS = NOTICE_SECONDS + RECOVER_SECONDS
"""A fault that ends sooner, but of which one end was not told, lasts until that end notices."""
SLACK_SECONDS = 3.0
"""For a busy machine and the width of a look."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault can be done to, and what tells of it."""

    network: Network
    relay: Relay
    agent: Agent
    shop: Shop
    connection: dict[str, str]

    def agent_noticed(self, since: float) -> float | None:
        return said(self.agent.machine, AGENT_UNIT, "tunnel lost", since)

    def relay_noticed(self, since: float) -> float | None:
        return said(self.relay.machine, RELAY_UNIT, "tunnel gone", since)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    `happen` returns when the fault is over, or can be left as it is: `lasts` seconds after it began. `within`: seconds
    from then until the last request that failed or was held is over. `kept`: another way stands, or the fault heals
    within the hold time, so that no GET fails and a POST only if its bytes had left. `silent`: nobody is told, both
    ends have to find out, within `notice` seconds. `tunnels_stay`: nothing of it may cost a tunnel. `full`: too long
    for every run.
    """

    name: str
    happen: Callable[[Scene], Any]
    within: float = RECOVER_SECONDS
    lasts: float = 0.0
    kept: bool = True
    silent: bool = False
    tunnels_stay: bool = False
    full: bool = False
    forgets: bool = False
    """The shop's record of what it has seen is cut short by the fault."""
    notice: float = NOTICE_SECONDS
    afterwards: Callable[[Scene], Any] | None = None
    """What the row leaves behind, which the next one shall not find."""
    reasons: tuple[str, ...] = ("tunnel_lost",)
    """Codes with which a POST may fail where reads are kept."""


def said(machine: Machine, unit: str, words: str, since: float) -> float | None:
    """When the unit first said it after `since`."""
    told = (moment for moment, event in machine.events(unit, since=since) if words in str(event.get("event")))
    return next(told, None)


def one_mapping_dies(scene: Scene) -> None:
    scene.network("deadflow", _ports_of_tunnels(scene)[0])


def hole(seconds: float) -> Callable[[Scene], None]:
    return lambda scene: _for_a_while(scene, seconds, ("hole", "on"), ("hole", "off"))


def reset(scene: Scene) -> None:
    _for_a_while(scene, 1.0, ("rst", "on"), ("rst", "off"))


def inspected(scene: Scene) -> None:
    """Whatever looks like SSH vanishes from now on, and what stood is gone."""
    scene.network("dpi", "on")
    scene.network("flush")


def only_https(scene: Scene) -> None:
    scene.network("port", "2222", "off")
    scene.network("flush")


def dial_anew(scene: Scene) -> None:
    """No tunnel stays on an address that its name no longer has."""
    _systemctl(scene.agent.machine, "restart", AGENT_UNIT)


def names_gone(seconds: float) -> Callable[[Scene], None]:
    """The relay's name is known to nobody for a while, and what stood is gone."""

    def happen(scene: Scene) -> None:
        with _relay_known_as(scene, ""):
            scene.network("flush")
            time.sleep(seconds)

    return happen


def only_ipv6(scene: Scene) -> None:
    """The name leads to an IPv6 address, IPv4 leads nowhere, and what stood is gone."""
    with _relay_known_as(scene, f"{CLOUD_IPV6} {HOST}"):
        _for_a_while(scene, 15.0, ("v4", "off"), ("v4", "on"))


def link_pulled(scene: Scene) -> None:
    _for_a_while(scene, 3.0, ("link", "down"), ("link", "up"))


def bad_line(scene: Scene) -> None:
    _for_a_while(scene, 20.0, ("wire", "100", "0", "1", "0"), ("wire", "0", "0", "0", "0"))


def idle_mapping(scene: Scene) -> None:
    """The router forgets what was silent for 30 s; the connector goes on asking, so this costs nothing."""
    _for_a_while(scene, 40.0, ("idle", "30"), ("idle", "432000"))


def killed(machine: Callable[[Scene], Machine], unit: str) -> Callable[[Scene], None]:
    return lambda scene: _systemctl(machine(scene), "kill", "--signal=KILL", unit)


def restarted(machine: Callable[[Scene], Machine], unit: str) -> Callable[[Scene], None]:
    return lambda scene: _systemctl(machine(scene), "restart", unit)


def suspended(seconds: float) -> Callable[[Scene], None]:
    """The agent's whole machine stands still, its service manager included."""

    def happen(scene: Scene) -> None:
        scene.agent.machine.freeze()
        try:
            time.sleep(seconds)
        finally:
            scene.agent.machine.thaw()

    return happen


def shop_restarted(scene: Scene) -> None:
    scene.shop.restart()


def shop_frozen(scene: Scene) -> None:
    with scene.shop.frozen():
        time.sleep(8.0)


def of_relay(scene: Scene) -> Machine:
    return scene.relay.machine


def of_agent(scene: Scene) -> Machine:
    return scene.agent.machine


FAULTS = [
    Fault(
        "one tunnel's NAT mapping dies",
        one_mapping_dies,
        NOTICE_SECONDS + RECOVER_SECONDS,
        silent=True,
        notice=IDLE_NOTICE_SECONDS,
    ),
    Fault("NAT mappings die", lambda s: s.network("deadflow"), UNTOLD_SECONDS, silent=True),
    Fault("NAT table flushed", lambda s: s.network("flush"), UNTOLD_SECONDS, silent=True),
    Fault("NAT idle expiry 30 s", idle_mapping, lasts=40.0, tunnels_stay=True, full=True),
    Fault("hole of 5 s", hole(5.0), lasts=5.0),
    Fault("hole of 60 s", hole(60.0), lasts=60.0, kept=False, full=True),
    Fault("RST by a middlebox", reset, UNTOLD_SECONDS - 1.0, lasts=1.0),
    Fault("SSH blocked by DPI", inspected, UNTOLD_SECONDS + RECOVER_SECONDS, silent=True),
    Fault("only 443 out", only_https, UNTOLD_SECONDS + RECOVER_SECONDS, silent=True),
    Fault("IPv6 only for 15 s", only_ipv6, lasts=15.0, silent=True, afterwards=dial_anew),
    Fault("DNS gone for 60 s", names_gone(60.0), lasts=60.0, full=True),
    Fault("new public address", lambda s: s.network("newip"), UNTOLD_SECONDS, silent=True),
    Fault("link down and up", link_pulled, UNTOLD_SECONDS - 3.0, lasts=3.0),
    Fault("relay killed", killed(of_relay, RELAY_UNIT), within=10.0, kept=False),
    Fault("relay drained and replaced", restarted(of_relay, RELAY_UNIT), within=10.0, reasons=()),
    Fault("agent killed", killed(of_agent, AGENT_UNIT), within=10.0),
    Fault("agent restarted", restarted(of_agent, AGENT_UNIT), within=10.0, reasons=()),
    Fault("agent host suspended 30 s", suspended(30.0), lasts=30.0, kept=False, full=True),
    Fault("agent host suspended 5 min", suspended(300.0), lasts=300.0, kept=False, full=True),
    Fault("store restarted", shop_restarted, within=5.0, kept=False, tunnels_stay=True, forgets=True),
    Fault("store frozen 8 s", shop_frozen, lasts=8.0, tunnels_stay=True, reasons=("tunnel_lost", "store_closed_early")),
    Fault("200 ms, 1 % loss for 20 s", bad_line, lasts=20.0, tunnels_stay=True),
]


@contextmanager
def _relay_known_as(scene: Scene, line: str) -> Iterator[None]:
    """Another line, or none, where the agent's machine has the relay's name."""
    machine = scene.agent.machine
    before = machine.tell("cat", "/etc/hosts")
    others = [other for other in before.splitlines() if HOST not in other]
    machine.run("sh", "-c", "cat > /etc/hosts", text="\n".join([*others, line, ""]))
    try:
        yield
    finally:
        machine.run("sh", "-c", "cat > /etc/hosts", text=f"{before}\n")


def _for_a_while(scene: Scene, seconds: float, begin: tuple[str, ...], end: tuple[str, ...]) -> None:
    scene.network(*begin)
    try:
        time.sleep(seconds)
    finally:
        scene.network(*end)


def _systemctl(machine: Machine, *words: str) -> None:
    with suppress(LabError):  # a machine that is busy with what was asked for may close the connection
        machine.run("systemctl", *words, check=False)


def _ports_of_tunnels(scene: Scene) -> list[str]:
    """The agent's own ports of its connections to the relay."""
    told = scene.network.run("shop", "ss", "-Htn", "state", "established", "dst", "10.77.2.1")
    ports = [line.split()[2].rpartition(":")[2] for line in told.splitlines()]
    assert ports, "the agent has no connection"
    return ports

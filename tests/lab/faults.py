"""The faults of the table, one function each, and the bars that each is held to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.lab.machine import LabError, Machine, eventually
from tests.lab.network import CLOUD_IPV6
from tests.lab.parties import AGENT_UNIT, HOST, RELAY_UNIT
from tests.lab.surroundings import Scene, as_installed, behind_proxy, own_clock, said, set_clock
from tests.lab.verdict import Verdict

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
    idle: bool = False
    """Nothing is asked from a while before it until it was noticed."""
    full: bool = False
    around: Callable[[Scene], AbstractContextManager[Scene]] = as_installed
    forgets: bool = False
    """The shop's record of what it has seen is cut short by the fault."""
    notice: float = NOTICE_SECONDS
    afterwards: Callable[[Scene], Any] | None = None
    """What the row leaves behind, which the next one shall not find."""
    reasons: tuple[str, ...] = ("tunnel_lost",)
    """Codes with which a POST may fail where reads are kept."""


def mapping_dies(port: str) -> Callable[[Scene], None]:
    """Of the one tunnel that goes to this port of the relay."""

    def happen(scene: Scene) -> None:
        scene.network("deadflow", _port_of_tunnel(scene, port))

    return happen


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


def outlet_restarted(scene: Scene) -> None:
    """The proxy resets what goes through it, and is away for a while."""
    assert scene.outlet
    scene.outlet.stop()
    time.sleep(3.0)
    scene.outlet.start()


def clock_off(seconds: int) -> Callable[[Scene], None]:
    """The clock jumps; after a while under traffic the agent is restarted, enrols with that clock, and says so."""

    def happen(scene: Scene) -> None:
        began, machine = time.time(), scene.agent.machine
        set_clock(scene, seconds)
        time.sleep(5.0)
        assert scene.agent_noticed(began) is None, "a clock that jumps costs no tunnel"
        _systemctl(machine, "restart", AGENT_UNIT)
        eventually(lambda: said(machine, AGENT_UNIT, "this machine's clock is off", began), "the agent says it")

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


def misses(fault: Fault, verdict: Verdict, slack: float = 0.0) -> list[str]:
    """Which bars a round missed, in words; times that are over by no more than `slack` seconds pass."""
    late = (verdict.settled or 0.0) - fault.lasts - fault.within
    ends = {"agent": verdict.agent_noticed, "relay": verdict.relay_noticed} if fault.silent else {}
    allowed = {f"POST 502 {reason}" for reason in fault.reasons}
    found = {
        "a POST reached the shop twice": verdict.doubled > 0,
        "an answer said not_sent, and it was": verdict.untrue > 0,
        "an answer to what the shop never saw": verdict.missing > 0 and not fault.forgets,
        "no good answer afterwards": verdict.recovered is None,
        f"all well {late:.1f} s late": late > slack,
        f"failed: {', '.join(sorted(set(verdict.reasons) - allowed))}": fault.kept
        and not set(verdict.reasons) <= allowed,
        "a tunnel was lost": fault.tunnels_stay and verdict.agent_noticed is not None,
    }
    for end, noticed in ends.items():
        found[f"{end} noticed {'never' if noticed is None else f'after {noticed:.1f} s'}"] = (
            noticed is None or noticed > fault.notice + slack
        )
    return [words for words, missed in found.items() if missed]


FAULTS = [
    Fault("busy tunnel's NAT mapping dies", mapping_dies("2222"), UNTOLD_SECONDS, silent=True),
    Fault(
        "spare tunnel's NAT mapping dies",
        mapping_dies("443"),
        IDLE_NOTICE_SECONDS + RECOVER_SECONDS,
        silent=True,
        notice=IDLE_NOTICE_SECONDS,
    ),
    Fault(
        "NAT mappings die, nobody asks",
        lambda s: s.network("deadflow"),
        IDLE_NOTICE_SECONDS + RECOVER_SECONDS,
        silent=True,
        notice=IDLE_NOTICE_SECONDS,
        idle=True,
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
    Fault("only a proxy leads out; it restarts", outlet_restarted, lasts=3.0, around=behind_proxy),
    Fault(
        "a proxy inspects TLS; it restarts", outlet_restarted, lasts=3.0, around=partial(behind_proxy, inspects=True)
    ),
    Fault("agent's clock 10 min ahead", clock_off(600), within=10.0, reasons=(), around=own_clock),
    Fault("agent's clock 10 min behind", clock_off(-600), within=10.0, reasons=(), around=own_clock),
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


def _port_of_tunnel(scene: Scene, port: str) -> str:
    """The agent's own port of its connection to that port of the relay."""
    told = scene.network.run("shop", "ss", "-Htn", "state", "established", "dst", "10.77.2.1", "dport", "=", f":{port}")
    ports = [line.split()[2].rpartition(":")[2] for line in told.splitlines()]
    assert len(ports) == 1, f"connections to port {port}: {told}"
    return ports[0]

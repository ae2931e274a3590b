"""Faults of networks and processes while a connector asks twenty times a second: what each costs.

`make lab` has one round of each and holds it to the bounds below; `make lab FULL=1` has five, and writes RESULTS.md.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.lab.connector import MOST, RATE, Connector
from tests.lab.machine import HERE, Machine, eventually
from tests.lab.network import Network
from tests.lab.parties import AGENT_UNIT, RELAY_UNIT, Agent, Relay, Shop
from tests.lab.verdict import Verdict, failures, table

FULL = os.environ.get("FULL") == "1"
ROUNDS = 5 if FULL else 1
RESULTS = HERE / "RESULTS.md"
CALM_SECONDS = 3.0
"""All well for so long before the fault, and again after it."""
HOLE_SECONDS = 5.0
NOTICE_SECONDS = 20.0
"""How long both ends are given to say that they noticed: keepalives take 15 s."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault can be done to, and what tells of it."""

    network: Network
    relay: Relay
    agent: Agent
    shop: Shop
    connection: dict[str, str]

    def agent_noticed(self, since: float) -> float | None:
        return _said(self.agent.machine, AGENT_UNIT, "tunnel lost", since)

    def relay_noticed(self, since: float) -> float | None:
        return _said(self.relay.machine, RELAY_UNIT, "tunnel gone", since)


def hole(scene: Scene) -> None:
    scene.network("hole", "on")
    time.sleep(HOLE_SECONDS)
    scene.network("hole", "off")


def kill(machine: Machine, unit: str) -> None:
    machine.run("systemctl", "kill", "--signal=KILL", unit)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what is done, and within how many seconds the first request that begins after it must be answered."""

    name: str
    happen: Callable[[Scene], Any]
    within: float
    lasts: float = 0.0
    silent: bool = False
    """Nobody is told: both ends have to find out."""


FAULTS = [
    Fault("NAT mapping dies", lambda scene: scene.network("deadflow"), within=25, silent=True),
    Fault("NAT table flushed", lambda scene: scene.network("flush"), within=25, silent=True),
    Fault("hole of 5 s", hole, within=20, lasts=HOLE_SECONDS),
    Fault("relay killed", lambda scene: kill(scene.relay.machine, RELAY_UNIT), within=15),
    Fault("agent killed", lambda scene: kill(scene.agent.machine, AGENT_UNIT), within=12),
]


@pytest.fixture(scope="module")
def rounds(verdicts: list[Verdict]) -> Iterator[list[Verdict]]:
    """Collects the rounds; at the end, with FULL=1, they are written down."""
    yield verdicts
    if FULL:
        RESULTS.write_text(_report(verdicts))


@pytest.fixture
def scene(network: Network, relay: Relay, agent: Agent, shop: Shop, account: dict[str, dict[str, str]]) -> Scene:
    return Scene(network, relay, agent, shop, account["connection"])


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_recovers_and_nothing_happens_twice(fault: Fault, number: int, scene: Scene, rounds: list[Verdict]) -> None:
    """Requests are answered again in time, by themselves; no POST reaches the shop twice; no answer lies about it."""
    verdict = play(fault, f"{fault.name.replace(' ', '-')}-{number}", scene)
    rounds.append(verdict)
    print(verdict)
    assert verdict.sent > 2 * CALM_SECONDS * RATE * MOST
    assert (verdict.doubled, verdict.untrue, verdict.missing) == (0, 0, 0)
    assert verdict.recovered is not None
    assert verdict.recovered < fault.within


def play(fault: Fault, label: str, scene: Scene) -> Verdict:
    """One round: calm, the fault, calm again."""
    with Connector.asking(scene.network, scene.connection, scene.relay.ca_file, label) as connector:
        eventually(lambda: connector.all_well_for(CALM_SECONDS), "all is well before the fault")
        started = time.time()
        fault.happen(scene)
        over = time.time()

        def calm() -> bool:
            return time.time() - over > CALM_SECONDS and connector.all_well_for(CALM_SECONDS)

        def told() -> bool:
            return bool(scene.agent_noticed(started) and scene.relay_noticed(started))

        eventually(calm, "all is well after the fault", seconds=90)
        while fault.silent and time.time() < over + NOTICE_SECONDS and not told():
            time.sleep(0.5)
    return Verdict.of(
        fault.name,
        over - fault.lasts,
        connector.fates,
        connector.arrived(scene.shop.requests()),
        agent_noticed=scene.agent_noticed(started),
        relay_noticed=scene.relay_noticed(started),
    )


def _said(machine: Machine, unit: str, words: str, since: float) -> float | None:
    """When the unit first said it after `since`."""
    told = (moment for moment, event in machine.events(unit, since=since) if words in str(event.get("event")))
    return next(told, None)


def _report(rounds: list[Verdict]) -> str:
    kernel = platform.release().split("-")[0]
    return f"""\
# What faults cost

Measured {datetime.now(UTC):%Y-%m-%d} by `make lab FULL=1` on {os.cpu_count()} cores, Linux {kernel}.
{ROUNDS} rounds of each fault, the median, the worst in brackets where it differs. A connector asks {RATE} times a
second, half GET, half POST, each on a connection of its own, through nginx, relay, tunnel and agent, all under systemd,
over the lab's network. Seconds count from the fault's beginning.

{table(rounds)}

first answer: to the first request that began after the fault. all well: the end of the last request that failed, or
was held (answered well after more than a second). failed: no answer of 2xx. POST twice: it reached the shop more than
once. untrue: the answer said `not_sent`, and the shop has seen the request.

How requests failed, the least and the most in a round:

{failures(rounds)}
"""

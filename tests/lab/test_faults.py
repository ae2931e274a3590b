"""Faults of networks and processes while a connector asks twenty times a second: what each costs.

`make lab` has one round of the short ones and holds them to their bars; `make lab FULL=1` has five of each (one of
those that last for minutes), and writes RESULTS.md.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.connector import MOST, RATE, Connector
from tests.lab.faults import FAULTS, SLACK_SECONDS, Fault, misses
from tests.lab.machine import HERE, eventually
from tests.lab.network import Network
from tests.lab.parties import Agent, Relay, Shop
from tests.lab.report import LONG_SECONDS, ROUNDS, note, report
from tests.lab.surroundings import Scene
from tests.lab.verdict import Verdict
from tests.lab.wheels import lab_directory

FULL = os.environ.get("FULL") == "1"
RESULTS = HERE / "RESULTS.md"
CALM_SECONDS = 3.0
"""All well for so long before the fault, and again after it."""
TELL_SECONDS = 20.0
"""How long both ends are given to say that they noticed."""

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def rounds(verdicts: list[Verdict]) -> Iterator[list[Verdict]]:
    """Collects the rounds; at the end, with FULL=1, they are written down."""
    yield verdicts
    if FULL:
        RESULTS.write_text(report(verdicts))


@pytest.fixture
def scene(network: Network, relay: Relay, agent: Agent, shop: Shop, account: dict[str, dict[str, str]]) -> Scene:
    return Scene(network, relay, agent, shop, account["connection"])


ROUNDS_OF = [
    pytest.param(fault, number, id=f"{fault.name}-{number}", marks=pytest.mark.timeout(120 + 2 * fault.lasts))
    for fault in FAULTS
    if FULL or not fault.full
    for number in range(1, 1 + (ROUNDS if FULL and fault.lasts <= LONG_SECONDS else 1))
]


@pytest.mark.parametrize(("fault", "number"), ROUNDS_OF)
def test_it_recovers_and_nothing_happens_twice(fault: Fault, number: int, scene: Scene, rounds: list[Verdict]) -> None:
    """In time, by itself, losing only what the fault must cost; no POST reaches the shop twice; no answer lies."""
    verdict = play(fault, f"{re.sub('[^a-z0-9]+', '-', fault.name.lower())}-{number}", scene)
    rounds.append(verdict)
    note(verdict, lab_directory() / "rounds.jsonl")
    print(verdict)
    assert verdict.sent > 2 * CALM_SECONDS * RATE * MOST
    assert misses(fault, verdict, SLACK_SECONDS) == []


def play(fault: Fault, label: str, given: Scene) -> Verdict:
    """One round: calm, the fault, calm again."""
    with (
        fault.around(given) as scene,
        Connector.asking(scene.network, scene.connection, scene.relay.ca_file, label) as connector,
    ):
        eventually(lambda: connector.all_well_for(CALM_SECONDS), "all is well before the fault")
        if fault.idle:
            connector.rest()
            eventually(lambda: scene.agent.channels() == 0, "no channel is open")
        started = time.time()
        fault.happen(scene)
        over = time.time()

        def calm() -> bool:
            return time.time() - over > CALM_SECONDS and connector.all_well_for(CALM_SECONDS)

        def told() -> bool:
            return bool(scene.agent_noticed(started) and scene.relay_noticed(started))

        if not fault.idle:
            eventually(calm, "all is well after the fault", seconds=60)
        while fault.silent and time.time() < over + TELL_SECONDS and not told():
            time.sleep(0.5)
        if fault.idle:
            connector.go_on()
            eventually(calm, "all is well after the fault", seconds=60)
        noticed = scene.agent_noticed(started), scene.relay_noticed(started)
    if fault.afterwards:
        fault.afterwards(scene)
    return Verdict.of(
        fault.name,
        started,
        connector.fates,
        connector.arrived(scene.shop.requests()),
        agent_noticed=noticed[0],
        relay_noticed=noticed[1],
        over=over if fault.lasts else started,
    )

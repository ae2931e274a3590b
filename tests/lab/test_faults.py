"""Faults of networks and processes while a connector asks twenty times a second: what each costs.

`make lab` has one round of the short ones and holds them to their bars; `make lab FULL=1` has five of each (one of
those that last for minutes), and writes RESULTS.md.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.lab.connector import MOST, RATE, Connector
from tests.lab.faults import FAULTS, SLACK_SECONDS, Fault, Scene
from tests.lab.machine import HERE, eventually
from tests.lab.network import Network
from tests.lab.parties import Agent, Relay, Shop
from tests.lab.verdict import Verdict, failures, table

FULL = os.environ.get("FULL") == "1"
ROUNDS = 5 if FULL else 1
RESULTS = HERE / "RESULTS.md"
CALM_SECONDS = 3.0
"""All well for so long before the fault, and again after it."""
LONG_SECONDS = 60.0
"""A fault that lasts longer has one round only."""
TELL_SECONDS = 20.0
"""How long both ends are given to say that they noticed."""

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def rounds(verdicts: list[Verdict]) -> Iterator[list[Verdict]]:
    """Collects the rounds; at the end, with FULL=1, they are written down."""
    yield verdicts
    if FULL:
        RESULTS.write_text(_report(verdicts))


@pytest.fixture
def scene(network: Network, relay: Relay, agent: Agent, shop: Shop, account: dict[str, dict[str, str]]) -> Scene:
    return Scene(network, relay, agent, shop, account["connection"])


ROUNDS_OF = [
    pytest.param(fault, number, id=f"{fault.name}-{number}", marks=pytest.mark.timeout(120 + 2 * fault.lasts))
    for fault in FAULTS
    if FULL or not fault.full
    for number in range(1, 1 + (ROUNDS if fault.lasts <= LONG_SECONDS else 1))
]


@pytest.mark.parametrize(("fault", "number"), ROUNDS_OF)
def test_it_recovers_and_nothing_happens_twice(fault: Fault, number: int, scene: Scene, rounds: list[Verdict]) -> None:
    """In time, by itself, losing only what the fault must cost; no POST reaches the shop twice; no answer lies."""
    verdict = play(fault, f"{re.sub('[^a-z0-9]+', '-', fault.name.lower())}-{number}", scene)
    rounds.append(verdict)
    print(verdict)
    assert verdict.sent > 2 * CALM_SECONDS * RATE * MOST
    assert (verdict.doubled, verdict.untrue) == (0, 0)
    assert verdict.missing == 0 or fault.forgets
    assert verdict.recovered is not None
    assert (verdict.settled or 0) - fault.lasts <= fault.within + SLACK_SECONDS
    if fault.kept:
        allowed = {f"POST 502 {reason}" for reason in fault.reasons}
        assert set(verdict.reasons) <= allowed
    if fault.tunnels_stay:
        assert verdict.agent_noticed is None
    if fault.silent:
        assert verdict.agent_noticed is not None
        assert verdict.agent_noticed <= fault.notice + SLACK_SECONDS


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

        eventually(calm, "all is well after the fault", seconds=60)
        while fault.silent and time.time() < over + TELL_SECONDS and not told():
            time.sleep(0.5)
    if fault.afterwards:
        fault.afterwards(scene)
    return Verdict.of(
        fault.name,
        started,
        connector.fates,
        connector.arrived(scene.shop.requests()),
        agent_noticed=scene.agent_noticed(started),
        relay_noticed=scene.relay_noticed(started),
        over=over if fault.lasts else started,
    )


def _report(rounds: list[Verdict]) -> str:
    kernel = platform.release().split("-")[0]
    return f"""\
# What faults cost

Measured {datetime.now(UTC):%Y-%m-%d} by `make lab FULL=1` on {os.cpu_count()} cores, Linux {kernel}.
{ROUNDS} rounds of each fault, the median, the worst in brackets where it differs. A connector asks {RATE} times a
second, half GET, half POST, each on a connection of its own, through nginx, relay, tunnel and agent, all under systemd,
over the lab's network. Seconds count from the fault's beginning, `first answer` from its end where it lasts.

{table(rounds)}

first answer: to the first request that began after the fault. all well: the end of the last request that failed, or
was held (answered well after more than a second). failed: no answer of 2xx. POST twice: it reached the shop more than
once. untrue: the answer said `not_sent`, and the shop has seen the request.

How requests failed, the least and the most in a round:

{failures(rounds)}
"""

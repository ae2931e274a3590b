"""Troubles of no store: what is full, what is at fault, and what breaks on the way while a test runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.gateway.call import call
from relay.gateway.gateway import Gateway
from relay.prestashop.diagnosis import Step
from relay.records import Mode
from tests.store import Store
from tests.system.programs import Program
from tests.system.road import Connection
from tests.troubles.cells import BUSY, FAULT, SECURE, SHOP, SLOW, TUNNEL, Cell
from tests.troubles.cloud import Cloud, connection_of, shaped
from tests.troubles.judging import check
from tests.troubles.premise import Premise
from tests.troubles.premises import Met, Place, form_of, opened

ID = "{0[2]}".format
UNUSED = "relay.gateway.turns.QUEUE"  # a bound that these tests do not come to
UNANSWERED = 60.0  # seconds: longer than anybody waits here
KEY = "K" * 32
BUSY_AGENT, FAULTY_AGENT, TUNNEL_LOST = (Cell(*row) for row in TUNNEL)
(RELAY_FAULT,) = (Cell(*row) for row in FAULT)


@pytest.mark.parametrize("cell", SLOW, ids=str)
async def test_too_slow_in_mode_cloud(cell: Cell) -> None:
    """The hop is that of the answer, not that of the dial."""
    assert check(cell, await Cloud(answer_seconds=0.4).meet(cell), Mode.CLOUD) == cell.code


@pytest.mark.parametrize("cell", SLOW, ids=str)
async def test_too_slow_in_mode_on_premise(tmp_path: Path, cell: Cell) -> None:
    """The same behind an agent."""
    with Premise.standing(tmp_path, lowered=UNUSED) as lowered:
        assert check(cell, await lowered.meet(cell), Mode.ON_PREMISE) == cell.code


async def test_a_connection_that_waits_less_is_tested_for_less() -> None:
    """Its own `answer_timeout` bounds the test of it too, where it is shorter than the test's own patience."""
    async with Store.serve(domain=SHOP, first_byte_delay=UNANSWERED) as store:
        connection = connection_of(form_of(Cell(*BUSY[0][:3]), Mode.CLOUD, f"{SHOP}:{store.port}", KEY))
        async with asyncio.timeout(10):
            report = await Cloud(answer_seconds=UNANSWERED).run(dataclasses.replace(connection, answer_timeout=1))
    (failed,) = (step for step in report.steps if step.status == "failed")
    assert (failed.name, failed.code) == (Step.HTTP, "store_timeout")


@pytest.mark.parametrize("row", BUSY, ids=ID)
async def test_no_room_in_mode_cloud(monkeypatch: pytest.MonkeyPatch, row: tuple[str, str, str, str]) -> None:
    """While another request has the only place at the store, in the account, or in the relay: that is said."""
    cell, bound = Cell(*row[:3]), row[3]
    cloud = Cloud()
    async with Store.serve(domain=SHOP, first_byte_delay=UNANSWERED) as store:
        connection = connection_of(form_of(cell, Mode.CLOUD, f"{SHOP}:{store.port}", KEY) | {"concurrency": 1})
        other = asyncio.create_task(call(cloud.gateway, connection, "/api/orders", limit=1, deadline=UNANSWERED))
        await store.wait_for(1)
        monkeypatch.setattr(bound, 1)
        report = await cloud.test.run(connection)
        assert store.requests_total == 1
        other.cancel()
    assert check(cell, Met(shaped(report), "", KEY), Mode.CLOUD) == cell.code


@pytest.mark.parametrize("row", BUSY, ids=ID)
async def test_no_room_in_mode_on_premise(tmp_path: Path, row: tuple[str, str, str, str]) -> None:
    """The same of a saved connection, while a connector's request waits for its answer."""
    cell, bound = Cell(*row[:3]), row[3]
    with Premise.standing(tmp_path, lowered=bound) as lowered:
        async with Store.serve(port=lowered.port, domain=SHOP, first_byte_delay=UNANSWERED) as store:
            made = lowered.road.connect(lowered.agent.entry.id, f"http://{SHOP}", store.keys["full"], concurrency=1)
            other = asyncio.create_task(asyncio.to_thread(made.ask, "/api/orders"))
            await store.wait_for(1)
            met = await met_by(lowered, made)
            assert store.requests_total == 1
        assert (await other).status == 502, "its store has gone"
    assert check(cell, met, Mode.ON_PREMISE) == cell.code


async def test_a_fault_of_the_relay_in_mode_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no code foresaw is not put down to the store, nor to what was entered."""

    async def fail(*_: object) -> None:
        raise RuntimeError("what nobody foresaw")

    monkeypatch.setattr(Gateway, "_look_again", fail)
    assert check(RELAY_FAULT, await Cloud().meet(RELAY_FAULT), Mode.CLOUD) == RELAY_FAULT.code


async def test_a_fault_of_the_relay_in_mode_on_premise(tmp_path: Path) -> None:
    """The same behind an agent; the relay's log has the traceback, without which nobody would find the fault."""
    with (
        pytest.raises(AssertionError, match="an exchange failed in the relay"),
        Premise.standing(tmp_path, lowered=UNUSED) as lowered,
    ):
        met = await lowered.meet(RELAY_FAULT)
    assert check(RELAY_FAULT, met, Mode.ON_PREMISE) == RELAY_FAULT.code


async def test_an_agent_without_room(premise: Premise) -> None:
    """The agent's process may open no further file: it says so, and is well again once it may."""
    with no_more_files(premise.agent.program):
        assert check(BUSY_AGENT, await premise.meet(BUSY_AGENT), Mode.ON_PREMISE) == BUSY_AGENT.code
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        assert (await met_by(premise, made)).report["ok"]


async def test_an_agent_at_fault(premise: Premise) -> None:
    """An agent whose dial fails as nobody foresaw: the trouble is put to the agent, with what it said."""
    faulty = premise.with_agent(command=[sys.executable, "-m", "tests.troubles.faulty_agent"])
    met = await faulty.meet(FAULTY_AGENT)
    assert check(FAULTY_AGENT, met, Mode.ON_PREMISE) == FAULTY_AGENT.code
    assert "Input/output error" in met.failed["detail"]


async def test_the_tunnel_breaks_before_the_answer(premise: Premise) -> None:
    """The request is sent once more when the agent is back; when that breaks as well, it is told."""
    async with Store.serve(port=premise.port, domain=SHOP, first_byte_delay=UNANSWERED) as store:
        first = premise.with_agent()
        testing = asyncio.create_task(first.meet_at(TUNNEL_LOST, Place(store.port, store)))
        await store.wait_for(1)
        first.agent.program.signal(signal.SIGKILL)
        second = await asyncio.to_thread(premise.with_agent, first.agent.entry, state_dir=first.agent.state_dir)
        await store.wait_for(2)
        second.agent.program.signal(signal.SIGKILL)
        assert check(TUNNEL_LOST, await testing, Mode.ON_PREMISE) == TUNNEL_LOST.code
        assert store.requests_total == 2


async def test_the_tunnel_breaks_in_the_answer(premise: Premise) -> None:
    """It is not asked again, and the tunnel is blamed, not the store at its end."""
    cell, aside = (dataclasses.replace(TUNNEL_LOST, shown=shown) for shown in ("dripping", "plain"))
    other = premise.with_agent()
    made = premise.road.connect(other.agent.entry.id, f"http://{SECURE}:443", KEY)
    async with opened(cell, premise.port) as place, opened(aside, premise.secure_port):
        testing = asyncio.create_task(other.meet_at(cell, place))
        await place.spoken_to.wait()
        # what comes back through the same tunnel now comes behind the first bytes of that answer
        assert (await asyncio.to_thread(made.ask, "/api")).status == 400
        other.agent.program.signal(signal.SIGKILL)
        assert check(cell, await testing, Mode.ON_PREMISE) == cell.code


async def test_the_tunnel_breaks_in_the_handshake(premise: Premise) -> None:
    """The same while the store's TLS is waited for."""
    cell = dataclasses.replace(TUNNEL_LOST, host=SECURE, shown="silent")
    other = premise.with_agent()
    async with opened(cell, premise.secure_port) as place:
        testing = asyncio.create_task(other.meet_at(cell, place))
        await place.spoken_to.wait()
        other.agent.program.signal(signal.SIGKILL)
        assert check(cell, await testing, Mode.ON_PREMISE) == cell.code


@contextlib.contextmanager
def no_more_files(program: Program) -> Iterator[None]:
    """The program may open no file or socket beyond those that it has."""
    held = max(int(name.name) for name in Path(f"/proc/{program.pid}/fd").iterdir())
    soft, hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (held + 1, hard))
    try:
        yield
    finally:
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (soft, hard))


async def met_by(premise: Premise, made: Connection) -> Met:
    """The test of a saved connection."""
    answer = await premise.ask(f"/v1/connections/{made.id}/test")
    assert answer.status == 200, answer
    return Met(answer.json, "", made.store_key)

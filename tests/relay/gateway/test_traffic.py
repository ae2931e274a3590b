"""What is told of requests that are over: by connection for five minutes, by agent, and since the node began."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.tally import DURATIONS, Tally
from relay.gateway.traffic import SLICE_SECONDS, SLICES, Ledger
from tests.relay.gateway.scene import API, Clock, Scene, request
from tests.relay.gateway.store import answering


def over(
    ended: float, *, lasted: float = 0.1, status: int = 200, error: GatewayError | None = None, size: int = 10
) -> Exchange:
    fields = {"began": ended - lasted, "ended": ended, "status": status, "error": error, "bytes_in": 1,
              "bytes_out": size, "left": False, "retried": False}  # fmt: skip
    return cast("Exchange", SimpleNamespace(**fields))


@given(st.lists(st.floats(min_value=0.0001, max_value=100), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_an_eighth(durations: list[float], part: float) -> None:
    """The quantile told lies within an eighth of the real one."""
    tally = Tally()
    for each in durations:
        tally.note(over(1000.0, lasted=each))
    wanted = part * len(durations)
    real = next(each for place, each in enumerate(sorted(durations), 1) if place >= wanted)
    assert tally.quantile(part) == pytest.approx(real, rel=0.13, abs=1e-5)


def test_counts_by_duration_are_cumulative() -> None:
    """`within` counts what lasted at most so long, exactly at its bounds' own steps."""
    tally = Tally()
    for lasted in (0.0004, 0.0009, 0.0011, 0.5, 500.0):
        tally.note(over(1000.0, lasted=lasted))
    within = dict(zip(DURATIONS, tally.within(), strict=True))
    assert (within[0.001], within[0.002], within[0.512], max(within.values())) == (2, 3, 4, 4)


async def test_requests_are_told_for_five_minutes(scene: Scene) -> None:
    """Requests, errors by origin, bytes and durations of the last ten slices; the totals forget nothing."""
    clock = Clock()
    ledger, connection = Ledger(clock), scene.connection
    traffic = ledger.of(connection)
    traffic.note(over(clock()))
    clock.forward(SLICE_SECONDS)
    traffic.note(over(clock(), status=500))
    traffic.note(over(clock(), status=0, error=GatewayError("agent_offline")))
    told = ledger.connection(connection.id)
    assert told
    assert (told.requests, told.errors, told.bytes_out) == (3, {"store": 1, "agent": 1}, 30)
    assert told.series[-2:] == (1, 2)
    assert told.last_success is not None
    clock.forward((SLICES - 1) * SLICE_SECONDS)
    told = ledger.connection(connection.id)
    assert told
    assert (told.requests, told.series[0]) == (2, 2)
    clock.forward(SLICE_SECONDS)
    ledger.sweep()
    assert ledger.connection(connection.id) is None
    totals = ledger.totals()
    assert (totals.requests, totals.answers[5], totals.bytes_in) == (3, 1, 3)
    assert totals.errors["agent_offline", "agent"] == 1


async def test_an_agents_traffic_is_that_of_its_connections(scene: Scene) -> None:
    """Summed over the connections that lead through it, and no others."""
    clock = Clock()
    ledger = Ledger(clock)
    mine = [dataclasses.replace(scene.connection, id=id_, agent="agt_a") for id_ in ("con_1", "con_2")]
    other = dataclasses.replace(scene.connection, id="con_3", agent="agt_b")
    for connection in (*mine, other):
        ledger.of(connection).note(over(clock()))
    told = ledger.agent("agt_a")
    assert told
    assert told.requests == 2
    moved = dataclasses.replace(mine[0], agent="agt_b")
    ledger.of(moved).note(over(clock()))
    counts = [summary.requests if summary else 0 for summary in (ledger.agent("agt_a"), ledger.agent("agt_b"))]
    assert counts == [1, 2]
    assert ledger.totals().requests == 4


async def test_exchanges_tell_what_they_did(scene: Scene) -> None:
    """A request through the front is noted with status, bytes and times, whatever became of it."""
    seen: list[Exchange] = []
    scene.gateway.on_over = seen.append
    scene.store.behave = answering(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello")
    client = await scene.client()
    client.send(request("Content-Length: 3", method="POST", body=b"abc"))
    assert (await client.answer()).status == 201
    refused = await scene.ask(auth=None)
    malformed = await scene.ask(target=f"{API}/../../x")
    told, unknown = seen
    assert (told.status, told.bytes_in, told.bytes_out, told.error, told.left) == (201, 3, 5, None, False)
    assert told.began <= told.sent_at <= told.first_at <= told.ended
    assert unknown.error is not None
    assert refused.value("Postern-Request") == unknown.id.encode()
    assert malformed.status == 400
    assert scene.gateway.traffic.totals().requests == 1
    assert set(scene.gateway.traffic.refused) == {("unauthenticated", "caller"), ("path_refused", "caller")}

"""Sent again is only what changes nothing, once, and only if not a byte of an answer came."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateway.errors import GatewayError
from tests.relay.gateway.scene import API, Scene, request
from tests.relay.gateway.store import OK, Behaviour, Visit, answering
from tests.relay.gateway.test_target import PS_METHOD

PRODUCTS = f"{API}/products"
NEVER_AGAIN = [
    *[{"method": method} for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get")],
    *[{"target": f"{PRODUCTS}?{name.decode()}=DELETE"} for name in PS_METHOD],
    {"target": f"{PRODUCTS}&ps_method=DELETE"},
    {"target": f"{PRODUCTS}?url=customers"},
    {"target": f"{PRODUCTS}?+url=customers"},
    {"method": "HEAD", "target": f"{PRODUCTS}?ps_method=DELETE"},
]


def lost(count: int, first: bytes = b"") -> Behaviour:
    """Breaks so many requests, after these bytes of an answer, and answers the next."""
    left = [count]

    async def behave(visit: Visit) -> None:
        while await visit.request():
            if left[0]:
                left[0] -= 1
                visit.send(first)
                visit.end()
                return
            visit.send(OK)

    return behave


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_is_sent_again_once(scene: Scene, method: str) -> None:
    """The store closed without a byte: the same request on a new line, and the caller notices nothing."""
    scene.store.behave = lost(1)
    assert (await scene.ask("X-Note: 1", method=method)).status == 200
    first, second = scene.store.requests
    assert first == second
    assert len(scene.store.visits) == 2


async def test_reading_is_sent_twice_at_most(scene: Scene) -> None:
    """Twice without a byte is 502, and what became of it is unknown."""
    scene.store.behave = lost(2)
    failed = await scene.ask()
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_closed_early")
    assert failed.value("Postern-Outcome") == b"sent_unknown"
    assert len(scene.store.requests) == 2


@pytest.mark.parametrize("how", NEVER_AGAIN, ids=str)
async def test_what_may_change_something_is_never_sent_twice(scene: Scene, how: dict[str, str]) -> None:
    """Writing, and GET with any spelling of `ps_method` or with `url`: 502, not retryable, sent once."""
    scene.store.behave = lost(1)
    scene.route.lost_code = "tunnel_lost"
    client = await scene.client()
    failed = await client.ask(**how)
    assert (failed.status, failed.value("Postern-Outcome")) == (502, b"sent_unknown")
    assert failed.value("Retry-After") is None
    assert len(scene.store.requests) == 1
    assert (await client.ask()).status == 200
    assert len(scene.store.requests) == 2


async def test_a_get_with_a_body_is_not_sent_again(scene: Scene) -> None:
    """Its body is not kept."""
    scene.store.behave = lost(1)
    assert (await scene.ask("Content-Length: 5", body=b"hello")).status == 502
    assert len(scene.store.requests) == 1


@pytest.mark.parametrize(
    "first",
    [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"],
)
async def test_after_a_byte_of_an_answer_nothing_is_sent_again(scene: Scene, first: bytes) -> None:
    """Half a head or an interim answer: the store has begun, so that was it."""
    scene.store.behave = lost(1, first)
    client = await scene.client()
    client.send(request())
    failed = await client.answer()
    while failed.status < 200:
        failed = await client.answer()
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_closed_early")
    assert len(scene.store.requests) == 1


async def test_the_hop_that_broke_is_named(scene: Scene) -> None:
    """Whoever knows which hop it was says so: here the tunnel."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.abort()

    scene.store.behave = behave
    scene.route.lost_code = "tunnel_lost"
    failed = await scene.ask(method="POST")
    assert (failed.value("Postern-Error"), failed.value("Postern-Origin")) == (b"tunnel_lost", b"tunnel")


async def test_a_second_try_that_finds_no_way_is_not_said_to_be_unsent(scene: Scene) -> None:
    """The first try went out: whatever stops the second, the outcome is unknown."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        scene.route.fault = GatewayError("agent_offline")
        visit.end()

    scene.store.behave = behave
    failed = await scene.ask()
    assert (failed.status, failed.value("Postern-Error")) == (503, b"agent_offline")
    assert failed.value("Postern-Outcome") == b"sent_unknown"


async def stale(scene: Scene, seconds: float) -> Visit:
    """A line that has been idle so long, and that the store breaks as soon as it is used again."""

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.send(OK)
        scene.store.behave = answering(OK)
        await visit.some()
        visit.abort()

    scene.store.behave = behave
    assert (await scene.ask()).status == 200
    scene.clock.forward(seconds)
    return scene.store.visits[0]


@pytest.mark.parametrize("seconds", [0, 0.9, 1, 2.9])
async def test_a_stale_line_costs_a_get_nothing(scene: Scene, seconds: float) -> None:
    """The idle line was dead already: sent again on a new one."""
    first = await stale(scene, seconds)
    assert (await scene.ask(target=PRODUCTS + "?second")).status == 200
    assert b"?second" in first.received
    assert len(scene.store.visits) == 2


@pytest.mark.parametrize(("seconds", "lines"), [(0, 1), (0.99, 1), (1, 2), (2.9, 2)])
@pytest.mark.parametrize("how", NEVER_AGAIN[:3] + NEVER_AGAIN[7:9], ids=str)
async def test_what_may_not_be_sent_twice_takes_no_line_that_was_idle_for_a_second(
    scene: Scene, how: dict[str, str], seconds: float, lines: int
) -> None:
    """Below one second idle a line has proved itself; from there on only a new one will do."""
    assert (await scene.ask()).status == 200
    scene.clock.forward(seconds)
    assert (await scene.ask(**how)).status == 200
    assert len(scene.store.visits) == lines


@pytest.mark.parametrize(("seconds", "lines"), [(2.9, 1), (3, 2)])
async def test_reading_takes_a_line_that_was_idle_for_less_than_three_seconds(
    scene: Scene, seconds: float, lines: int
) -> None:
    """Later it would race with the store's own idle limit."""
    assert (await scene.ask()).status == 200
    scene.clock.forward(seconds)
    assert (await scene.ask()).status == 200
    assert len(scene.store.visits) == lines


async def test_idle_lines_are_closed_before_the_store_does_it(scene: Scene) -> None:
    """Three seconds, then the relay ends them itself, and forgets the pool."""
    assert (await scene.ask()).status == 200
    await scene.pass_time(2)
    visit = scene.store.visits[0]
    assert not visit.ended.is_set()
    await scene.pass_time(1)
    await scene.until(visit.ended.is_set)
    await scene.pass_time(1)
    assert not scene.gateway._pools


async def test_the_newest_idle_line_is_taken(scene: Scene) -> None:
    """So the older ones may grow old and be closed."""
    go_on = asyncio.Event()

    async def behave(visit: Visit) -> None:
        while await visit.request():
            await go_on.wait()
            visit.send(OK)

    scene.store.behave = behave
    clients = [await scene.client() for _ in range(3)]
    for client in clients:
        client.send(request())
    await scene.until(lambda: len(scene.store.requests) == 3)
    go_on.set()
    for client in clients:
        await client.answer()
        scene.clock.forward(0.1)
    for _ in range(5):
        await scene.ask()
    assert sorted(len(visit.requests) for visit in scene.store.visits) == [1, 1, 6]


async def test_a_line_that_ended_while_idle_is_not_used(scene: Scene) -> None:
    """The store's end is heard while nothing is asked: even a POST goes on without harm."""
    scene.store.behave = answering(OK)
    assert (await scene.ask()).status == 200
    scene.store.visits[0].end()
    await scene.until(scene.route.streams[0].is_closing)
    assert (await scene.ask(method="POST")).status == 200
    assert len(scene.store.visits) == 2


async def test_an_idle_line_that_is_being_closed_is_not_used(scene: Scene) -> None:
    """Its end is decided but not told yet: a POST takes another line instead of being lost on it."""
    assert (await scene.ask()).status == 200
    client = await scene.client()
    await scene.until(lambda: len(scene.hall.fronts) == 1)
    [front] = scene.hall.fronts
    scene.route.streams[0].transport.close()
    front.data_received(request(method="POST"))
    assert (await client.answer()).status == 200
    assert len(scene.store.visits) == 2

"""A store is given as much as it copes with, through the gateway itself: forwarding and the relay's own calls alike."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.gateway import limiter, pool
from relay.gateway.call import BACKGROUND, Answer, call
from relay.gateway.turns import Turns
from tests.relay.gateway.message import Message
from tests.relay.gateway.scene import ID, Client, Scene, request
from tests.relay.gateway.store import OK, Behaviour, Visit, answering

EXPORT = f"/to/{ID}/api/products?display=full&limit=100"
LOOKUP = f"/to/{ID}/api/orders/41"
HEAVY = "/api/products?display=full&limit=100"


@pytest.fixture(autouse=True)
def known_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here nothing is known of a store."""
    monkeypatch.setattr(limiter, "FIRST", 1)


def turns_of(scene: Scene) -> Turns:
    return scene.gateway._stores.of(scene.connection)


def gated(go_on: asyncio.Semaphore, answer: bytes = OK) -> Behaviour:
    """Answers one request for each time that it is let."""

    async def behave(visit: Visit) -> None:
        while await visit.request():
            await go_on.acquire()
            visit.send(answer)

    return behave


def has_begun(scene: Scene, count: int) -> bool:
    return scene.gateway._accounts.total() >= count


def has_reached(scene: Scene, count: int) -> bool:
    """And no more than that."""
    assert len(scene.store.requests) <= count
    return len(scene.store.requests) == count


def has_left(scene: Scene, count: int) -> bool:
    return scene.gateway._accounts.total() == count


async def asking(scene: Scene, target: str) -> Client:
    """A caller that has sent its request."""
    before = scene.gateway._accounts.total()
    client = await scene.client()
    client.send(request(target=target))
    await scene.until(functools.partial(has_begun, scene, before + 1))
    return client


async def test_a_new_store_is_given_one_page_at_a_time_and_soon_more(scene: Scene) -> None:
    """From one up, doubled by each round of good answers."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    clients = [await asking(scene, EXPORT) for _ in range(20)]
    answered = 0
    for at_once in (1, 3, 7, 9):
        await scene.until(functools.partial(has_reached, scene, answered + at_once))
        scene.clock.forward(0.08)
        for _ in range(at_once):
            go_on.release()
        answered += at_once
        await scene.until(functools.partial(has_left, scene, 20 - answered))
    for client in clients:
        assert (await client.answer()).status == 200


async def known_limit(scene: Scene) -> limiter.Limit:
    """Of a store that has answered once, and closed its line, so that it may behave otherwise."""
    scene.store.behave = answering(status("200 OK"))
    await scene.ask(target=EXPORT)
    limit = turns_of(scene).limit
    limit.at = 8
    return limit


async def test_a_store_that_takes_long_for_its_first_answer_is_given_more(scene: Scene) -> None:
    """Nothing speaks against it: one more every two seconds, so that nobody waits half an hour behind a long report;
    not without bound.
    """
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    for _ in range(30):
        await asking(scene, EXPORT)
    await scene.until(functools.partial(has_reached, scene, 1))
    await scene.pass_time(4)
    await scene.until(functools.partial(has_reached, scene, 3))
    await scene.pass_time(60)
    await scene.until(functools.partial(has_reached, scene, 16))
    for _ in range(30):
        go_on.release()
    await scene.until(lambda: not scene.held())


async def test_a_lookup_does_not_wait_for_an_export(scene: Scene) -> None:
    """Pages wait for their turn, the lookup is at the store at once, and so is the next one when it is answered."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    for _ in range(5):
        await asking(scene, EXPORT)
    lookup = await asking(scene, LOOKUP)
    await scene.until(lambda: len(scene.store.requests) == 2)
    second = await asking(scene, LOOKUP)
    for _ in range(10):
        go_on.release()
    assert (await lookup.answer()).status == 200
    assert (await second.answer()).status == 200
    await scene.until(lambda: not scene.held())
    targets = [message.target for message in scene.store.requests]
    assert targets[:2] == [HEAVY.encode(), b"/api/orders/41"]
    assert b"/api/orders/41" in targets[2:4]


async def test_the_relays_own_reading_comes_last(scene: Scene) -> None:
    """What nobody waits for waits for what somebody does, though it began to wait earlier."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    first = await asking(scene, EXPORT)

    async def own(path: str, *, background: bool) -> Answer:
        BACKGROUND.set(background)
        return await call(scene.gateway, scene.connection, path, limit=1000, deadline=10)

    calls = [asyncio.create_task(own("/api/orders/1", background=True)) for _ in range(2)]
    await scene.until(lambda: has_begun(scene, 3))
    calls.append(asyncio.create_task(own("/api/orders/2", background=False)))
    await scene.until(lambda: len(scene.store.requests) == 2)
    assert scene.store.requests[1].target == b"/api/orders/2"
    for _ in range(4):
        go_on.release()
    assert (await first.answer()).status == 200
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200, 200, 200]


async def test_two_connections_to_one_store_share_its_turns(scene: Scene) -> None:
    """Of one account; another account's are its own."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    scene.put(dataclasses.replace(scene.connection, id="con_bbbbbbbbbbbbbbbb", name="b"))
    scene.put(dataclasses.replace(scene.connection, id="con_cccccccccccccccc", account="acc_two"))
    await asking(scene, EXPORT)
    await asking(scene, EXPORT.replace(ID, "con_bbbbbbbbbbbbbbbb"))
    await asking(scene, EXPORT.replace(ID, "con_cccccccccccccccc"))
    await scene.until(lambda: len(scene.store.requests) == 2)
    assert scene.gateway.waiting == 1
    for _ in range(3):
        go_on.release()
    await scene.until(lambda: not scene.held())


def status(line: str, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {line}", *fields, "Content-Length: 0", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


@asynccontextmanager
async def left_alone(scene: Scene, line: str, retry_after: str) -> AsyncIterator[Message]:
    """After an answer with a Retry-After; then the store is well again."""
    scene.store.behave = answering(status(line, f"Retry-After: {retry_after}"))
    told = await scene.ask()
    scene.store.behave = answering(OK)
    yield told


@pytest.mark.parametrize("line", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_retry_after_is_heeded(scene: Scene, line: str) -> None:
    """The answer passes untouched; then nothing is sent for so long, and what waits goes when it is over."""
    async with left_alone(scene, line, "7") as told:
        assert (told.status, told.value("Retry-After")) == (int(line[:3]), b"7")
        client = await asking(scene, LOOKUP)
        await scene.pass_time(6)
        assert len(scene.store.requests) == 1
        await scene.pass_time(1)
        assert (await client.answer()).status == 200


async def test_who_would_wait_in_vain_is_told_at_once(scene: Scene) -> None:
    """A store that wants to be left alone for longer than anybody waits: 503 with what is left of it."""
    async with left_alone(scene, "503 Busy", "50"):
        await scene.pass_time(5)
        refused = await scene.ask(target=LOOKUP)
        assert (refused.status, refused.value("Postern-Error")) == (503, b"store_busy")
        assert (refused.value("Retry-After"), refused.value("Postern-Outcome")) == (b"45", b"not_sent")
        await scene.pass_time(16)
        client = await asking(scene, LOOKUP)
        await scene.pass_time(29)
        assert (await client.answer()).status == 200
    assert len(scene.store.requests) == 2


@pytest.mark.parametrize("retry_after", ["999999999", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_nobody_is_left_alone_for_ever(scene: Scene, retry_after: str) -> None:
    """A minute is the most."""
    async with left_alone(scene, "429 Too Many Requests", retry_after):
        await scene.pass_time(pool.PAUSE_SECONDS_MOST - 1)
        client = await asking(scene, LOOKUP)
        assert len(scene.store.requests) == 1
        await scene.pass_time(1)
        assert (await client.answer()).status == 200


async def test_an_hour_of_maintenance_is_no_matter_of_load(scene: Scene) -> None:
    """A shop whose web server does not know `/api` answers so: everybody is told by the shop itself."""
    async with left_alone(scene, "503 Service Unavailable", "3600"):
        assert (await scene.ask(target=LOOKUP)).status == 200


@pytest.mark.parametrize("retry_after", ["0", "-5", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "\xff", "x" * 5000])
async def test_a_retry_after_that_says_nothing(scene: Scene, retry_after: str) -> None:
    """No pause, and no harm."""
    scene.store.behave = answering(status("503 Busy", f"Retry-After: {retry_after}"))
    assert (await scene.ask()).status == 503
    scene.store.behave = answering(OK)
    assert (await scene.ask()).status == 200


FAILING: dict[str, tuple[bytes, bool]] = {
    "bad gateway": (status("502 Bad Gateway"), True),
    "gateway timeout": (status("504 Gateway Timeout"), True),
    "php fatal": (status("500 Internal Server Error", "Content-Type: text/html"), True),
    "unavailable": (status("503 Service Unavailable"), True),
    "too many": (status("429 Too Many Requests"), True),
    "prestashop's own error": (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<prestashop>",
        False,
    ),
    "not found": (status("404 Not Found"), False),
    "unauthorised": (status("401 Unauthorized"), False),
}


@pytest.mark.parametrize(("answer", "counts"), FAILING.values(), ids=FAILING.keys())
async def test_failures_of_the_store_lower_what_it_is_given(scene: Scene, answer: bytes, counts: bool) -> None:
    """Those that tell of exhaustion, and none that tell of the request."""
    limit = await known_limit(scene)
    scene.store.behave = answering(answer)
    for _ in range(4):
        await scene.ask(target=EXPORT)
    assert (limit.at < 8) is counts


async def test_a_store_that_breaks_off_is_given_less(scene: Scene) -> None:
    """No answer at all counts as well."""
    limit = await known_limit(scene)

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.abort()

    scene.store.behave = behave
    for _ in range(4):
        assert (await scene.ask(target=EXPORT)).status == 502
    assert limit.at < 8


async def test_a_lost_tunnel_is_not_the_stores_fault(scene: Scene) -> None:
    """Nothing is learnt of the store from it."""
    limit = await known_limit(scene)
    scene.route.lost_code = "tunnel_lost"

    async def behave(visit: Visit) -> None:
        await visit.request()
        visit.abort()

    scene.store.behave = behave
    for _ in range(6):
        assert (await scene.ask(target=EXPORT)).value("Postern-Error") == b"tunnel_lost"
    assert limit.at == 8


async def test_what_is_known_of_a_store_outlives_a_changed_record(scene: Scene) -> None:
    """And an idle while."""
    await scene.ask(target=EXPORT)
    turns_of(scene).limit.at = 9
    scene.change(name="renamed")
    await scene.pass_time(600)
    await scene.ask(target=EXPORT)
    assert turns_of(scene).limit.at == 9


async def test_the_lines_time_is_not_the_stores(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the way there and back took when it was measured last is taken off."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    scene.route.round_trip = 0.3
    seen: list[float] = []
    monkeypatch.setattr(limiter.Limit, "answered", lambda _limit, _kind, seconds, *_: seen.append(seconds))
    client = await asking(scene, EXPORT)
    await scene.until(lambda: len(scene.store.requests) == 1)
    scene.clock.forward(0.4)
    go_on.release()
    assert (await client.answer()).status == 200
    assert seen == [pytest.approx(0.1)]


async def test_callers_who_left_without_an_answer_say_that_it_took_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that lets callers wait ten times as long as it used to has too much to do."""
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    client = await asking(scene, EXPORT)
    await scene.until(lambda: len(scene.store.requests) == 1)
    scene.clock.forward(0.1)
    go_on.release()
    await client.answer()
    seen: list[float] = []
    monkeypatch.setattr(limiter.Limit, "answered", lambda _limit, _kind, seconds, *_: seen.append(seconds))
    waiting = await asking(scene, EXPORT)
    await scene.until(lambda: len(scene.store.requests) == 2)
    scene.clock.forward(5)
    waiting.leave()
    await scene.until(lambda: seen)
    assert seen == [pytest.approx(5)]
    go_on.release()


async def test_who_left_without_an_answer_says_nothing_of_how_long_answers_take(scene: Scene) -> None:
    """Such a store would seem to be quick, and most of its answers would teach nothing."""
    scene.clock.forward(500_000)
    go_on = asyncio.Semaphore(0)
    scene.store.behave = gated(go_on)
    turns_of(scene).usual = 0.3
    client = await asking(scene, EXPORT)
    await scene.until(lambda: len(scene.store.requests) == 1)
    client.leave()
    await scene.until(functools.partial(has_left, scene, 0))
    assert turns_of(scene).usual == 0.3

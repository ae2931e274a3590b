"""Turns at a store and shares of an account: bounded, first come first served, and always given back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.gateway import gateway, pool, turns
from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.gateway import DirectoryUnavailableError
from relay.gateway.http1 import read_request
from relay.gateway.pool import Pool
from relay.gateway.target import Target
from relay.records import Connection, Mode, Scope, StoreUrl
from tests.relay.gateway.scene import Client, Clock, Scene, basic, request, sha256
from tests.relay.gateway.store import OK, Behaviour, Visit, answering


def slow(go_on: asyncio.Event) -> Behaviour:
    """Answers each request once it may go on."""

    async def behave(visit: Visit) -> None:
        while await visit.request():
            await go_on.wait()
            visit.send(OK)

    return behave


def has_begun(scene: Scene, count: int) -> bool:
    return scene.gateway._accounts.total() >= count


async def asking(scene: Scene, count: int, **how: Any) -> list[Client]:
    """So many callers, each of whom has sent a request; in their order."""
    clients = []
    for _ in range(count):
        under_way = scene.gateway._accounts.total() + 1
        client = await scene.client()
        client.send(request(**how))
        await scene.until(functools.partial(has_begun, scene, under_way))
        clients.append(client)
    return clients


async def test_no_more_requests_reach_a_store_than_it_may_have(scene: Scene) -> None:
    """Three at once, the fourth waits, and goes when one is answered; in the order in which they came."""
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=3)
    clients = await asking(scene, 10)
    await scene.until(lambda: len(scene.store.requests) == 3)
    assert scene.held() == {"exchanges": 3, "tasks": 7, "turns": 3, "waiting": 7, "acc_one": 10}
    go_on.set()
    for client in clients:
        assert (await client.answer()).body == b"ok"
    assert scene.held() == {}
    assert len(scene.store.visits) == 3


async def test_who_has_left_does_not_stand_in_the_way(scene: Scene) -> None:
    """A connector that gives up and asks again takes one place in the queue, not two."""
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    first, *others = await asking(scene, 6)
    await scene.until(lambda: scene.gateway.waiting == 5)
    for client in others:
        client.leave()
    await scene.until(lambda: scene.held() == {"exchanges": 1, "turns": 1, "acc_one": 1})
    go_on.set()
    assert (await first.answer()).status == 200
    await scene.until(lambda: not scene.held())


async def test_first_come_first_served(scene: Scene) -> None:
    """With one turn, requests reach the store in the order in which they came."""
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    clients = []
    for n in range(8):
        clients += await asking(scene, 1, target=f"/to/{scene.connection.id}/api/orders/{n}")
    go_on.set()
    for client in clients:
        await client.answer()
    assert [message.target for message in scene.store.requests] == [b"/api/orders/%d" % n for n in range(8)]


async def test_a_queue_that_is_full_is_said_to_be(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `store_busy` with Retry-After, not sent; those who wait are not touched."""
    monkeypatch.setattr(turns, "QUEUE", 2)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    clients = await asking(scene, 3)
    refused = await scene.ask()
    assert (refused.status, refused.value("Postern-Error"), refused.value("Retry-After")) == (503, b"store_busy", b"2")
    assert refused.value("Postern-Outcome") == b"not_sent"
    go_on.set()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_it_is_not_the_store_that_is_busy_while_its_agent_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all wait for a tunnel, one too many hears of that."""
    monkeypatch.setattr(turns, "QUEUE", 2)
    scene.change(concurrency=1)
    scene.route.open_gate.clear()
    scene.route.is_away = True
    clients = await asking(scene, 3)
    refused = await scene.ask()
    assert (refused.status, refused.value("Postern-Error")) == (503, b"agent_offline")
    assert refused.value("Postern-Outcome") == b"not_sent"
    scene.route.is_away = False
    assert (await scene.ask()).value("Postern-Error") == b"store_busy"
    scene.store.behave = answering(OK)
    scene.route.open_gate.set()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_a_wait_for_a_turn_has_an_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `store_busy` after the queue's deadline; the turn that comes later goes to whoever still waits."""
    monkeypatch.setattr(pool, "QUEUE_SECONDS", 0.05)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    first, late = await asking(scene, 2)
    refused = await late.answer()
    assert (refused.status, refused.value("Postern-Error")) == (503, b"store_busy")
    monkeypatch.setattr(pool, "QUEUE_SECONDS", 30)
    [waiting] = await asking(scene, 1)
    go_on.set()
    assert (await first.answer()).status == 200
    assert (await waiting.answer()).status == 200


async def test_a_turn_given_in_the_moment_of_giving_up_is_not_lost() -> None:
    """`leave` hands the turn over, and in the same loop turn its new owner is cancelled: the next one gets it."""
    stores = pool_of_one()
    exchange = an_exchange()
    assert stores.enter(exchange)
    tasks = [asyncio.create_task(stores.wait_to_enter(an_exchange())) for _ in range(2)]
    await asyncio.sleep(0)
    stores.leave(exchange)
    tasks[0].cancel()
    await asyncio.wait(tasks, timeout=1)
    assert tasks[0].cancelled()
    assert tasks[1].done()
    stores.leave(exchange)
    assert stores.empty
    assert stores.turns.idle


async def test_a_turn_given_in_the_moment_of_the_deadline_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the deadline strikes together with the turn."""
    monkeypatch.setattr(pool, "QUEUE_SECONDS", 0.02)
    stores = pool_of_one()
    exchange = an_exchange()
    assert stores.enter(exchange)
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(stores.wait_to_enter(an_exchange()))
    await asyncio.sleep(0)
    loop.call_at(loop.time() + 0.0199, spin_until, loop, loop.time() + 0.03, lambda: stores.leave(exchange))
    with contextlib.suppress(GatewayError):
        await task
        stores.leave(exchange)
    assert stores.empty
    assert stores.turns.idle


def spin_until(loop: asyncio.AbstractEventLoop, moment: float, then: Callable[[], None]) -> None:
    """Hold the loop until the deadline has passed as well, so that both come in one turn."""
    while loop.time() < moment:
        pass
    then()


def pool_of_one() -> Pool:
    """Of a connection that may have one request at its store."""
    connection = Connection("con_aaaaaaaaaaaaaaaa", "acc_one", "shop", Mode.ON_PREMISE, "agt_one",
                            StoreUrl("http", Destination("shop.example", 80)), SecretStr("K" * 32),
                            concurrency=1)  # fmt: skip
    return Pool(connection, turns.Turns(0), Clock())


def an_exchange() -> Exchange:
    """One that is never sent."""
    head = read_request(b"GET /api/orders HTTP/1.1\r\nHost: x\r\n")
    target = Target("con_aaaaaaaaaaaaaaaa", b"/api/orders", None, overrides_method=False, names_url=False)
    return Exchange(cast("Any", None), head, target, cast("Any", None), 0)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_callers_who_leave_while_they_wait_hold_nothing(scene: Scene) -> None:
    """Gone before their turn: they are never sent, and those behind them are."""
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    clients = await asking(scene, 6)
    for client in clients[1:5]:
        client.leave()
    await scene.until(lambda: scene.gateway._accounts["acc_one"] == 2)
    go_on.set()
    assert (await clients[0].answer()).status == 200
    assert (await clients[5].answer()).status == 200
    assert len(scene.store.requests) == 2


async def test_an_accounts_share(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """429 `account_busy` above it, for this account alone; what waits counts too."""
    monkeypatch.setattr(gateway, "IN_FLIGHT_PER_ACCOUNT", 5)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.put(dataclasses.replace(scene.connection, id="con_bbbbbbbbbbbbbbbb", account="acc_two"))
    scene.change(concurrency=2)
    clients = await asking(scene, 5)
    busy = await scene.ask()
    assert (busy.status, busy.value("Postern-Error"), busy.value("Retry-After")) == (429, b"account_busy", b"1")
    [other] = await asking(scene, 1, target="/to/con_bbbbbbbbbbbbbbbb/api/products")
    go_on.set()
    for client in [*clients, other]:
        assert (await client.answer()).status == 200
    assert (await scene.ask()).status == 200


async def test_the_nodes_own_limit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `relay_overloaded` where the node itself has no room."""
    monkeypatch.setattr(gateway, "IN_FLIGHT", 2)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    clients = await asking(scene, 2)
    full = await scene.ask()
    assert (full.status, full.value("Postern-Error")) == (503, b"relay_overloaded")
    go_on.set()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_refusals_before_the_account_cost_no_share(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred wrong keys later the account still has its whole share."""
    monkeypatch.setattr(gateway, "IN_FLIGHT_PER_ACCOUNT", 1)
    client = await scene.client()
    for _ in range(100):
        assert (await client.ask(auth=basic("wrong"))).status == 401
    assert scene.held() == {}
    assert (await client.ask()).status == 200


async def test_a_caller_who_leaves_while_the_database_is_asked_costs_nothing(scene: Scene) -> None:
    """The look-up ends after its caller: no share stays taken, nothing is sent."""
    scene.directory.remembers = False
    scene.directory.open.clear()
    clients = [await scene.client() for _ in range(5)]
    for client in clients:
        client.send(request(method="POST"))
    await scene.until(lambda: scene.directory.asked == 5)
    for client in clients:
        client.leave()
    await scene.until(lambda: not scene.hall.fronts)
    scene.directory.open.set()
    await scene.until(lambda: not scene.gateway._tasks)
    assert scene.held() == {}
    assert scene.store.visits == []


async def test_a_caller_who_leaves_while_the_line_is_opened_sends_nothing(scene: Scene) -> None:
    """The line that comes too late is kept for the next; the request never goes out."""
    scene.route.open_gate.clear()
    client = await scene.client()
    client.send(request(method="POST"))
    await scene.until(lambda: scene.route.waiting)
    client.leave()
    await scene.until(lambda: not scene.hall.fronts)
    scene.route.open_gate.set()
    await scene.until(lambda: not scene.gateway._tasks)
    assert scene.held() == {}
    assert (await scene.ask()).status == 200
    assert [message.line[:3] for message in scene.store.requests] == [b"GET"]
    assert len(scene.store.visits) == 1


async def test_a_caller_who_leaves_while_its_credential_is_checked_again_sends_nothing(scene: Scene) -> None:
    """The line is open, the second look is slow, the caller goes: the request never goes out, the line is free."""
    scene.route.open_gate.clear()
    client = await scene.client()
    client.send(request(method="POST"))
    await scene.until(lambda: scene.route.waiting)
    scene.directory.remembers = False
    scene.directory.open.clear()
    scene.route.open_gate.set()
    await scene.until(lambda: scene.directory.asked)
    client.leave()
    await scene.until(lambda: not scene.hall.fronts)
    scene.directory.open.set()
    scene.directory.remembers = True
    await scene.until(lambda: not scene.gateway._tasks)
    assert (await scene.ask()).status == 200
    assert [message.line[:3] for message in scene.store.requests] == [b"GET"]


async def test_a_line_that_is_lost_while_the_credential_is_checked_again_is_not_written_to(scene: Scene) -> None:
    """The request was not sent, is said not to have been, and nobody waits for an answer."""
    scene.route.open_gate.clear()
    client = await scene.client()
    client.send(request(method="POST"))
    await scene.until(lambda: scene.route.waiting)
    scene.directory.remembers = False
    scene.directory.open.clear()
    scene.route.open_gate.set()
    visit = await scene.store.visit()
    await scene.until(lambda: scene.directory.asked)
    visit.abort()
    await scene.until(scene.route.streams[0].is_closing)
    scene.directory.open.set()
    failed = await client.answer()
    assert (failed.status, failed.value("Postern-Error")) == (502, b"store_closed_early")
    assert failed.value("Postern-Outcome") == b"not_sent"


HELD = {
    "key withdrawn": (lambda scene: scene.change(access_keys=()), 401, "unauthenticated"),
    "connection gone": (lambda scene: scene.directory.connections.clear(), 401, "unauthenticated"),
    "store moved": (lambda scene: scene.change(api_key=SecretStr("N" * 32)), 503, "connection_changed"),
    "database away": (
        lambda scene: setattr(scene.directory, "fault", DirectoryUnavailableError()),
        503,
        "relay_unavailable",
    ),
}


@pytest.mark.parametrize(("change", "status", "code"), HELD.values(), ids=HELD.keys())
@pytest.mark.parametrize("waits", ["for a line", "for a turn"])
async def test_the_credential_is_checked_again_after_a_wait(
    scene: Scene, change: Callable[[Scene], object], status: int, code: str, waits: str
) -> None:
    """A request that waited is sent only if it still may be; the line that was opened for it stays in use."""
    go_on = asyncio.Event()
    if waits == "for a turn":
        scene.store.behave = slow(go_on)
        scene.change(concurrency=1)
        _, client = await asking(scene, 2)
        await scene.until(lambda: len(scene.store.requests) == 1)
    else:
        scene.route.open_gate.clear()
        [client] = await asking(scene, 1)
        await scene.until(lambda: scene.route.waiting)
    before = scene.connection
    change(scene)
    scene.route.open_gate.set()
    go_on.set()
    failed = await client.answer()
    assert (failed.status, failed.value("Postern-Error")) == (status, code.encode())
    assert failed.value("Postern-Outcome") == b"not_sent"
    scene.put(before)
    scene.directory.fault = None
    assert (await scene.ask()).status == 200
    assert len(scene.store.visits) == 1


async def test_a_token_withdrawn_while_its_request_waits_sends_nothing(scene: Scene) -> None:
    """The same for API tokens."""
    auth = scene.directory.admit("token", Scope.FORWARD)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    scene.change(concurrency=1)
    first, client = await asking(scene, 2, auth=auth)
    await scene.until(lambda: len(scene.store.requests) == 1)
    del scene.directory.callers[sha256("token")]
    go_on.set()
    assert (await first.answer()).status == 200
    assert (await client.answer()).status == 401
    assert len(scene.store.requests) == 1


async def test_a_changed_record_gets_other_lines(scene: Scene) -> None:
    """Never a line that was opened for another record: key, store or TLS may differ. An equal record keeps them."""
    assert (await scene.ask()).status == 200
    scene.put(dataclasses.replace(scene.connection))
    assert (await scene.ask()).status == 200
    assert len(scene.store.visits) == 1
    scene.change(api_key=SecretStr("N" * 32))
    assert (await scene.ask()).status == 200
    assert len(scene.store.visits) == 2
    assert scene.store.requests[-1].value("Authorization") == basic("N" * 32).encode()
    await scene.until(scene.store.visits[0].ended.is_set)


async def test_a_forgotten_connections_lines_are_closed(scene: Scene) -> None:
    """Idle ones at once, a busy one after its exchange."""
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    first, second = await asking(scene, 2)
    await scene.until(lambda: len(scene.store.requests) == 2)
    go_on.set()
    assert (await first.answer()).status == 200
    assert (await second.answer()).status == 200
    go_on.clear()
    [busy] = await asking(scene, 1)
    await scene.until(lambda: len(scene.store.requests) == 3)
    scene.gateway.forget(scene.connection.id)
    await scene.until(lambda: sum(visit.ended.is_set() for visit in scene.store.visits) == 1)
    go_on.set()
    assert (await busy.answer()).status == 200
    await scene.until(lambda: all(visit.ended.is_set() for visit in scene.store.visits))


async def test_a_line_that_comes_after_its_pool_was_forgotten_is_closed(scene: Scene) -> None:
    """Nobody would ever close it otherwise: the caller left, the pool was empty and has been swept away."""
    scene.route.open_gate.clear()
    [client] = await asking(scene, 1)
    await scene.until(lambda: scene.route.waiting)
    client.leave()
    await scene.until(lambda: not scene.hall.fronts)
    scene.gateway.sweep()
    assert not scene.gateway._pools
    scene.route.open_gate.set()
    visit = await scene.store.visit()
    await scene.until(visit.ended.is_set)


FAULTS = ["store_timeout", "store_refused", "agent_offline", "store_tls"]


@pytest.mark.parametrize("code", FAULTS)
async def test_what_cannot_be_opened_is_answered_and_given_back(scene: Scene, code: str) -> None:
    """The route's own word reaches the caller, as not sent."""
    scene.route.fault = GatewayError(code)
    client = await scene.client()
    for _ in range(3):
        failed = await client.ask()
        assert (failed.value("Postern-Error"), failed.value("Postern-Outcome")) == (code.encode(), b"not_sent")
    assert scene.held() == {}

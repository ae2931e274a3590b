"""Who goes next at a store: by shares of its time, light before heavy, and nobody never."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.gateway import limiter
from relay.gateway import turns as turns_module
from relay.gateway.turns import FLOW, QUEUE, REMEMBERED_SECONDS, Queue, QueueFullError, Stores, Turns, Waiter
from relay.records import Connection, Mode, StoreUrl
from tests.relay.gateway.scene import Clock


@dataclass
class Holder:
    active: int = 0
    ceiling: int = 64


@dataclass
class Scene:
    """Turns at a store, and who was given one, in order."""

    turns: Turns
    given: list[str]

    def wait(self, flow: str, *, light: bool = False, cost: float = 1.0, holder: Holder | None = None) -> Waiter:
        waiter = Waiter(flow, flow, light, cost, holder or Holder(), lambda: self.given.append(flow))
        self.turns.wait(waiter)
        return waiter

    def leave(self, *, kept: bool = False) -> None:
        self.turns.give_back(kept=kept)
        self.turns.settle()


@pytest.fixture
def scene() -> Scene:
    return full(1)


def full(at: int) -> Scene:
    """All turns are taken."""
    turns = Turns(0)
    turns.limit.at = at
    turns.active = at
    turns.kept = 1
    turns.settle()
    return Scene(turns, [])


def test_who_waits_for_a_new_store_is_to_be_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a kind waits of which nothing is known there, lookups that go well are no reason for more at once."""
    monkeypatch.setattr(limiter, "FIRST", 1)
    scene = full(1)
    scene.wait("page")
    scene.turns.limit.answered("lookup", 0.08, (1, 1), scene.turns.limit.era, 1.0)
    assert scene.turns.limit.at == 1


def test_a_lookup_overtakes_an_export(scene: Scene) -> None:
    """However many pages wait, it goes next."""
    for _ in range(50):
        scene.wait("export", cost=2.0)
    scene.leave()
    scene.wait("lookup", light=True, cost=0.1)
    scene.leave()
    assert scene.given == ["export", "lookup"]


def test_the_kept_turn_is_for_what_is_light(scene: Scene) -> None:
    """It is given to a lookup at once, never to a page, and again when it comes back."""
    scene.turns.kept = 0
    scene.wait("export")
    assert scene.given == []
    scene.wait("lookup", light=True)
    assert scene.given == ["lookup"]
    scene.wait("lookup", light=True)
    scene.leave(kept=True)
    assert scene.given == ["lookup", "lookup"]
    assert not scene.turns.take_kept()


def test_flows_share_the_stores_time(scene: Scene) -> None:
    """Pages of two seconds and pages of half a second come to the same time, not to the same number."""
    for _ in range(100):
        scene.wait("long", cost=2.0)
        scene.wait("short", cost=0.5)
    for _ in range(50):
        scene.leave()
    counts = Counter(scene.given)
    assert counts["long"] == 10
    assert counts["short"] == 40


def test_many_lookups_do_not_starve_an_export(scene: Scene) -> None:
    """A flood of what is light has its share, no more."""
    for _ in range(100):
        scene.wait("flood", light=True, cost=0.1)
    for _ in range(10):
        scene.wait("export", cost=1.0)
    for _ in range(33):
        scene.leave()
    assert 2 <= scene.given.count("export") <= 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 5)), min_size=1, max_size=60))
def test_in_a_flow_first_come_first_served(asked: list[tuple[str, float]]) -> None:
    """And everybody goes in the end, exactly once."""
    queue, order = Queue(), []
    for number, (flow, cost) in enumerate(asked):
        queue.put(Waiter(flow, flow, False, cost, Holder(), lambda number=number: order.append(number)))  # type: ignore[misc]  # bound at once
    while waiter := queue.take():
        waiter.give()
    assert len(queue) == 0
    assert queue.light == 0
    for flow in "abc":
        mine = [number for number in order if asked[number][0] == flow]
        assert mine == sorted(mine)
    assert sorted(order) == list(range(len(asked)))


def test_the_queue_is_bounded_and_so_is_each_flow() -> None:
    """One flow never takes all places: there are some for others, until all are taken."""
    queue = Queue()

    def put(flow: str) -> None:
        queue.put(Waiter(flow, flow, False, 1.0, Holder(), list))

    for _ in range(FLOW):
        put("export")
    with pytest.raises(QueueFullError):
        put("export")
    for number in range(QUEUE - FLOW):
        put(str(number))
    with pytest.raises(QueueFullError):
        put("another")
    assert len(queue) == QUEUE


def test_what_is_remembered_of_flows_is_bounded() -> None:
    """A caller who never asks the same twice, at a queue that never runs empty."""
    queue = Queue()
    for number in range(20 * QUEUE):
        queue.put(Waiter(number, number, False, 1e6, Holder(), list))
        if number > 10:
            queue.take()
    assert len(queue._ends) <= 2 * QUEUE + 1


def test_a_connection_at_its_own_ceiling_holds_nobody_up(scene: Scene) -> None:
    """The turn goes to the next whose connection may have one more."""
    scene.wait("narrow", holder=Holder(active=2, ceiling=2))
    scene.wait("wide")
    scene.leave()
    assert scene.given == ["wide"]
    assert scene.turns.waiting == 1
    assert scene.turns.free == 0


def test_who_gives_up_is_passed_over(scene: Scene) -> None:
    """And costs nobody a turn."""
    scene.wait("first")
    gone = scene.wait("gone")
    scene.wait("last")
    scene.turns.give_up(gone)
    scene.leave()
    scene.leave()
    assert scene.given == ["first", "last"]


def test_a_pause_holds_everybody_until_it_is_over() -> None:
    """What is light too; then all who may go do."""
    scene = full(2)
    scene.turns.pause(10.0)
    scene.wait("page")
    scene.wait("lookup", light=True)
    scene.leave()
    scene.leave(kept=True)
    assert not scene.turns.take_kept()
    assert (scene.given, scene.turns.free) == ([], 0)
    scene.turns.wake(9.9)
    assert scene.given == []
    scene.turns.wake(10.0)
    assert sorted(scene.given) == ["lookup", "page"]


def test_more_go_when_the_limit_rises(scene: Scene) -> None:
    """As many as it now lets."""
    for _ in range(5):
        scene.wait("page")
    scene.turns.limit.at = 4
    scene.turns.settle()
    assert len(scene.given) == 3
    assert (scene.turns.active, scene.turns.waiting, scene.turns.free) == (4, 2, 0)


def connection(**changes: Any) -> Connection:
    base = Connection("con_a", "acc_one", "shop", Mode.ON_PREMISE, "agt_one",
                      StoreUrl("http", Destination("shop.example", 80)), SecretStr("K" * 32))  # fmt: skip
    return replace(base, **changes)


SAME: list[dict[str, Any]] = [{"id": "con_b"}, {"name": "other"}, {"concurrency": 3}]
OTHER: list[dict[str, Any]] = [
    {"account": "acc_two"}, {"agent": "agt_two"}, {"mode": Mode.CLOUD},
    {"store": StoreUrl("http", Destination("other.example", 80))},
]  # fmt: skip


def test_stores_are_shared_within_an_account_alone() -> None:
    """By an account's connections to the same machine through the same agent; never by two accounts."""
    stores = Stores(Clock())
    turns = stores.of(connection())
    assert all(stores.of(connection(**changes)) is turns for changes in SAME)
    assert all(stores.of(connection(**changes)) is not turns for changes in OTHER)


def test_what_a_store_could_do_is_forgotten_in_the_end() -> None:
    """An hour after the last request, and not while one is under way."""
    clock = Clock()
    stores = Stores(clock)
    turns = stores.of(connection())
    turns.active = 1
    clock.forward(REMEMBERED_SECONDS)
    stores.sweep([])
    assert stores.of(connection()) is turns
    turns.active = 0
    stores.sweep([turns])
    clock.forward(REMEMBERED_SECONDS - 1)
    stores.sweep([])
    assert stores.of(connection()) is turns
    clock.forward(1)
    stores.sweep([])
    assert stores.of(connection()) is not turns


def test_stores_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for longest makes room, and never one with a request under way."""
    monkeypatch.setattr(turns_module, "STORES", 2)
    clock = Clock()
    stores = Stores(clock)
    first = stores.of(connection())
    first.active = 1
    clock.forward(1)
    second = stores.of(connection(account="acc_two"))
    stores.of(connection(account="acc_three"))
    assert stores.of(connection()) is first
    assert stores.of(connection(account="acc_two")) is not second

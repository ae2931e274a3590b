"""Two stores, three connections, one agent, all at once: nobody gets another's answer, key or delay."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.store.huge import content
from tests.system.caller import JSON, BrokenOffError, Line, basic, request
from tests.system.programs import HOST, START_SECONDS
from tests.system.road import Agent, Connection, Road, Shop

LOAD_SECONDS = 2.5
CALLERS = 4  # per connection
SLOW_SECONDS = 1.5
HUGE_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Trio:
    """Store a has two connections, with different keys; store b has one, with its key in the query."""

    shops: dict[str, Shop]
    agent: Agent
    connections: dict[str, Connection]  # "a1", "a2", "b1": store and number
    keys: dict[str, str]


@dataclass
class Log:
    """What a caller saw."""

    wrong: list[str] = field(default_factory=list)
    right: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


@pytest.fixture(scope="module")
def trio(road: Road) -> Trio:
    shops = {name: road.start_shop("--domain", f"store-{name}.test", huge=HUGE_BYTES) for name in "ab"}
    stores = [f"http://store-{name}.test={HOST}:{shop.port}" for name, shop in shops.items()]
    agent = road.start_agent(road.new_agent(), stores)
    keys = {"a1": shops["a"].key, "a2": shops["a"].keys["products_get_only"], "b1": shops["b"].key}
    places = {"a1": "basic", "a2": "basic", "b1": "ws_key"}
    connections = {
        name: road.connect(agent.entry.id, f"http://store-{name[0]}.test", key, key_place=places[name])
        for name, key in keys.items()
    }
    return Trio(shops, agent, connections, keys)


def call(trio: Trio, name: str, caller: int, until: float, log: Log) -> None:
    """Requests on one kept connection, each with a tag of its own, and each answer looked at."""
    connection, store = trio.connections[name], f"http://store-{name[0]}.test/api/products/"
    line: Line | None = None
    number = 0
    while time.monotonic() < until:
        number += 1
        product = 1 + (number * 7 + caller) % 19
        target = f"/api/products?filter[id]=[{product}]&tag={name}.{caller}.{number}"
        if number % 10 == 0:
            target = f"/api/__huge?size={HUGE_BYTES - product}&tag={name}.{caller}.{number}"
        began = time.monotonic()
        try:
            line = line or Line(connection.relay_port)
            line.send(request("GET", f"/to/{connection.id}{target}", [basic(connection.access_key)]))
            answer = line.read()
        except (OSError, BrokenOffError) as error:
            log.failed[type(error).__name__] += 1
            line = None
            continue
        log.slowest = max(log.slowest, answer.at - began)
        if answer.code:
            log.failed[answer.code] += 1
        elif number % 10 == 0:
            expected = hashlib.sha256(b"".join(content(HUGE_BYTES - product))).digest()
            right = hashlib.sha256(answer.body).digest() == expected
            log.right += right
            log.wrong += [] if right else [f"{target}: {len(answer.body)} bytes of something else"]
        elif f'href="{store}{product}"'.encode() in answer.body and answer.body.count(b"href=") == 1:
            log.right += 1
        else:
            log.wrong.append(f"{target}: {answer}")


def load(trio: Trio, seconds: float = LOAD_SECONDS) -> dict[str, Log]:
    """All connections at once, several callers each; what they saw, by connection."""
    until = time.monotonic() + seconds
    logs = {name: [Log() for _ in range(CALLERS)] for name in trio.connections}
    threads = [
        threading.Thread(target=call, args=(trio, name, caller, until, log))
        for name, own in logs.items()
        for caller, log in enumerate(own)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 30)
    return {name: _joined(own) for name, own in logs.items()}


def _joined(logs: list[Log]) -> Log:
    joined = Log()
    for log in logs:
        joined.wrong += log.wrong
        joined.right += log.right
        joined.failed += log.failed
        joined.slowest = max(joined.slowest, log.slowest)
    return joined


def check_keys(trio: Trio) -> None:
    """Every request that a store has seen came to the right store, with its own connection's key."""
    for store, shop in trio.shops.items():
        seen = shop.seen("tag=")
        assert len(seen) > 20
        for one in seen:
            name = one.target.partition("tag=")[2].partition(".")[0]
            assert name[0] == store
            key = trio.keys[name]
            if name == "b1":
                assert one.target.endswith(f"&ws_key={key}")
                assert one.values("Authorization") == []
            else:
                assert one.values("Authorization") == [basic(key)[1]]
                assert "ws_key" not in one.target


def check(log: Log, least: int) -> None:
    assert log.wrong == []
    assert log.failed == Counter()
    assert log.right > least


def test_under_load_nothing_is_mixed(trio: Trio) -> None:
    """Each answer is of its own store, for its own question, and was asked for with its own connection's key."""
    for log in load(trio).values():
        check(log, 100)
    check_keys(trio)


def test_a_slow_store_delays_nobody_else(trio: Trio) -> None:
    """While store b takes seconds, the connections of store a go on as fast, and b's own answers are right too."""
    with trio.shops["b"].troubled(latency=SLOW_SECONDS):
        logs = load(trio)
    check(logs["b1"], 3)
    assert logs["b1"].slowest >= SLOW_SECONDS
    for name in ("a1", "a2"):
        check(logs[name], 100)
        assert logs[name].slowest < SLOW_SECONDS / 2
    check_keys(trio)


@pytest.fixture
def frozen(trio: Trio) -> Iterator[None]:
    """Store b stands still: it takes connections (the system does) and answers nothing."""
    trio.shops["b"].program.signal(signal.SIGSTOP)
    yield
    trio.shops["b"].program.signal(signal.SIGCONT)


def test_a_frozen_store_delays_nobody_else(trio: Trio, frozen: None) -> None:
    """Requests that hang at one store cost the other's callers nothing."""
    hanging = [Line(trio.connections["b1"].relay_port, seconds=START_SECONDS) for _ in range(20)]
    for line in hanging:
        head = [basic(trio.connections["b1"].access_key), JSON]
        line.send(request("GET", f"/to/{trio.connections['b1'].id}/api/orders", head))
    others = Trio(trio.shops, trio.agent, {name: trio.connections[name] for name in ("a1", "a2")}, trio.keys)
    logs = load(others, LOAD_SECONDS / 2)
    for line in hanging:
        line.sock.close()
    for log in logs.values():
        check(log, 50)
        assert log.slowest < SLOW_SECONDS


def test_a_dead_store_delays_nobody_else(trio: Trio) -> None:
    """The process of store b is killed in the middle of the load: its callers are told so, the others never notice."""
    killer = threading.Timer(LOAD_SECONDS / 4, trio.shops["b"].program.signal, [signal.SIGKILL])
    killer.start()
    logs = load(trio)
    killer.join()
    for name in ("a1", "a2"):
        check(logs[name], 100)
        assert logs[name].slowest < SLOW_SECONDS
    assert logs["b1"].wrong == []
    assert logs["b1"].right > 20, "before it died"
    assert logs["b1"].failed["store_refused"] > 3
    assert set(logs["b1"].failed) <= {"store_refused", "store_closed_early", "BrokenOffError", "ConnectionResetError"}
    assert '"tunnel lost' not in trio.agent.program.text()

"""Which stores are looked at, and when: a real gateway and store, tunnels that are only said to be there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.health.feed import Feed
from relay.health.store_health import Store, StoreHealth
from relay.health.store_looking import Looking
from relay.health.store_probing import StoreProbing
from relay.records import Connection, Mode
from relay.store_records import AgentWays, CloudWay
from relay.trigger_records import DeskAwayError
from relay.tunnels.authority import Identity
from relay.tunnels.registry import Registry
from tests.relay.api.scene import SaidTunnel
from tests.relay.prestashop.scene import DOMAIN, Place, place

AGENT = "agt_one"
NAME = f"{DOMAIN}:80"
STORE = Store("acc_one", AGENT, NAME)
HURRY = 60.0
"""A minute of the schedule passes in a second."""
SECONDS = 10.0


class Book:
    """Agents and connections as a test has written them down."""

    def __init__(self) -> None:
        self.ways: dict[str, AgentWays] = {}
        self.clouds: list[CloudWay] = []
        self.noted: list[tuple[str, bool]] = []
        self.away = False

    async def agents(self, agents: Sequence[str]) -> Mapping[str, AgentWays]:
        if self.away:
            raise DeskAwayError
        return {agent: self.ways[agent] for agent in agents if agent in self.ways}

    async def cloud(self) -> Sequence[CloudWay]:
        return self.clouds

    async def note_key(self, connection: str, *, works: bool, at: int) -> None:
        assert abs(at - time.time()) < 5
        self.noted.append((connection, works))


class Scene:
    def __init__(self, shop: Place) -> None:
        self.shop = shop
        self.registry = Registry()
        self.book = Book()
        self.connections: dict[str, Connection] = {}
        self.feed = Feed(time.time)
        self.health = StoreHealth(self.feed, time.time)
        looking = Looking(shop.gateway, lambda: time.time() + 3600)  # what connectors got is long ago
        self.probing = StoreProbing(
            self.health,
            looking,
            self.registry,
            self.book,
            self._find,
            clock=lambda: time.monotonic() * HURRY,
            wall=time.time,
            chance=lambda: 0.5,
        )

    def tunnel(self, *stores: str, agent: str = AGENT) -> SaidTunnel:
        self.book.ways.setdefault(agent, AgentWays("acc_one"))
        tunnel = SaidTunnel(Identity(agent, "ins_a", "atk_a", 1, 2**31))
        tunnel.published = {Destination.of(store, 80) for store in stores}
        self.registry.add(tunnel)
        return tunnel

    def connect(self, key: str = "full", id_: str = "con_aaaaaaaaaaaaaaaa") -> Connection:
        """A saved connection through the agent, known to whoever asks from now on."""
        secret = SecretStr(self.shop.store.keys[key])
        connection = dataclasses.replace(self.shop.connection, api_key=secret, id=id_)
        self.connections[id_] = connection
        return connection

    def lines(self) -> list[str]:
        return [seen.line.decode().split(" HTTP")[0] for seen in self.shop.store.looks]

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.feed.since(self.feed._first)]

    async def _find(self, connection: str) -> Connection | None:
        return self.connections.get(connection)


@contextlib.asynccontextmanager
async def scene(**knobs: object) -> AsyncIterator[Scene]:
    async with place(**knobs) as shop:
        yield Scene(shop)


@contextlib.asynccontextmanager
async def running(probing: StoreProbing) -> AsyncIterator[None]:
    task = asyncio.create_task(probing.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline, f"not within {SECONDS:g} s: {what}"
        await asyncio.sleep(0.01)


async def test_what_an_agent_publishes_is_looked_at_again_and_again() -> None:
    """Without any connection; a store that breaks is told of, and that it is back."""
    async with scene() as played:
        played.tunnel(DOMAIN)
        async with running(played.probing):
            await until(lambda: played.kinds() == ["store.reachable"], "reachable")
            played.shop.store.knobs.webservice = False
            await until(lambda: played.kinds()[-1] == "store.unreachable", "unreachable")
            assert played.health.of_agent(AGENT)[NAME].code == "webservice_off"
            played.shop.store.knobs.webservice = True
            await until(lambda: played.kinds()[-1] == "store.reachable", "reachable again")
        assert set(played.lines()) == {"HEAD /api"}
        assert len(played.probing) == 1


async def test_a_connections_key_is_tried_when_its_agent_comes() -> None:
    """And what came of it is written down once."""
    async with scene() as played:
        played.connect("disabled")
        played.book.ways[AGENT] = AgentWays("acc_one", (("con_aaaaaaaaaaaaaaaa", NAME),))
        played.tunnel(DOMAIN)
        async with running(played.probing):
            await until(lambda: "store.key_refused" in played.kinds(), "refused")
            state = played.health.of_connection("con_aaaaaaaaaaaaaaaa")
            assert state
            assert (state.key, state.code) == (False, "key_unknown")
            before = len(played.lines())
            await until(lambda: played.lines()[before:].count("GET /api") >= 2, "looked at again")
        assert played.book.noted == [("con_aaaaaaaaaaaaaaaa", False)]
        assert played.kinds().count("store.key_refused") == 1


async def test_a_change_is_looked_at_at_once() -> None:
    """A new connection, another key, and one that is deleted."""
    async with scene() as played:
        played.tunnel(DOMAIN)
        async with running(played.probing):
            await until(lambda: "store.reachable" in played.kinds(), "reachable")
            id_ = played.connect("full").id
            played.probing.changed([id_])
            await until(lambda: played.kinds()[-1] == "store.key_accepted", "accepted")
            played.connect("no_permission")
            played.probing.changed([id_])
            await until(lambda: played.kinds()[-1] == "store.key_refused", "refused")
            del played.connections[id_]
            played.probing.changed([id_])
            await until(lambda: played.health.of_connection(id_) is None, "gone")
            await until(lambda: len(played.probing) == 1, "no more looked at")


async def test_a_connection_that_leads_to_no_published_store_is_not_looked_at() -> None:
    """Its agent may publish another one, or be away."""
    async with scene() as played:
        played.tunnel("other.example")
        played.connect("full")
        await played.probing.look_around()
        played.probing.changed(["con_aaaaaaaaaaaaaaaa"])
        await played.probing._take_in_changes()
        assert list(played.probing._schedule) == [Store("acc_one", AGENT, "other.example:80")]
        tunnel = played.registry.of(AGENT)[0]
        tunnel.published.add(Destination.of(DOMAIN, 80))
        await played.probing.look_around()
        assert set(played.probing._schedule) == {
            STORE,
            Store("acc_one", AGENT, "other.example:80"),
            "con_aaaaaaaaaaaaaaaa",
        }


async def test_a_store_that_is_no_longer_published_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of it stays for a while, for an agent that comes back."""
    async with scene() as played:
        tunnel = played.tunnel(DOMAIN)
        await played.probing.look_around()
        await played.probing.look(STORE)
        assert played.health.of_agent(AGENT)[NAME].reachable
        tunnel.gone = True
        await played.probing.look_around()
        assert len(played.probing) == 0
        assert played.health.of_agent(AGENT)[NAME].reachable
        monkeypatch.setattr("relay.health.store_probing.GONE_SECONDS", 0.0)
        await played.probing.look_around()
        assert played.health.of_agent(AGENT) == {}
        assert played.probing._gone == {}


async def test_a_look_under_way_when_the_agent_leaves_is_not_repeated() -> None:
    """Nothing is put back for a store that nobody publishes."""
    async with scene() as played:
        tunnel = played.tunnel(DOMAIN)
        await played.probing.look_around()
        tunnel.gone = True
        await played.probing.look_around()
        await played.probing.look(STORE)
        assert len(played.probing) == 0


async def test_cloud_connections_are_looked_at_with_their_key_alone() -> None:
    """The store is on the internet: nobody asked for more."""
    async with scene() as played:
        id_ = "con_aaaaaaaaaaaaaaaa"
        played.connections[id_] = dataclasses.replace(played.connect(), mode=Mode.CLOUD, agent=None)
        played.book.clouds.append(CloudWay("acc_one", id_, NAME))
        async with running(played.probing):
            await until(lambda: "store.key_accepted" in played.kinds(), "accepted")
            played.shop.store.knobs.webservice = False
            played.probing.changed([id_])
            await until(lambda: "store.unreachable" in played.kinds(), "unreachable")
            notice = played.feed.since(played.feed._first)[-1]
            assert (notice.agent, notice.connection) == (None, id_)
        assert len(played.probing) == 1


async def test_a_database_that_is_away_is_waited_for() -> None:
    """Agents that came meanwhile are found afterwards."""
    async with scene() as played:
        played.book.away = True
        played.tunnel(DOMAIN)
        async with running(played.probing):
            await asyncio.sleep(0.3)
            assert played.lines() == []
            played.book.away = False
            await until(lambda: played.kinds() == ["store.reachable"], "reachable")


async def test_ten_thousand_agents_are_looked_through_quickly() -> None:
    """A tenth of a second for all, after the first time; looks stay at their pace."""
    async with scene() as played:
        for number in range(10_000):
            played.tunnel(f"shop{number}.example", agent=f"agt_{number}")
        await played.probing.look_around()
        assert len(played.probing) == 10_000
        took = []
        for _ in range(3):
            began = time.process_time()
            await played.probing.look_around()
            took.append(time.process_time() - began)
        assert min(took) < 0.15

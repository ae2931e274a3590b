"""Looks at the stores of this node: without a key each minute, with each connection's key every quarter of an hour."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from agent.wire.destination import CONTROL
from relay.gateway.gateway import DirectoryUnavailableError
from relay.health.store_health import Store, StoreHealth
from relay.health.store_looking import Looking
from relay.health.store_schedule import (
    BARE_SECONDS,
    CONFIRM_SECONDS,
    FIRST_SECONDS,
    KEYED_SECONDS,
    REFUSED_SECONDS,
    Schedule,
    bare_wait,
    varied,
)
from relay.records import Connection, Mode
from relay.store_records import AgentWays, CloudWay
from relay.trigger_records import DeskAwayError
from relay.tunnels.registry import Registry

log = structlog.get_logger()

TICK_SECONDS = 0.25
LOOK_SECONDS = 3.0
"""How often the published stores are looked through: a millisecond for each thousand tunnels."""
AT_ONCE = 64
"""Looks under way: an eighth of an account's share of requests."""
NEW_AGENTS = 500
"""That are looked up in the database at once."""
CLOUD_SECONDS = 300.0
"""How often it is asked for connections without an agent; changes are heard of at once."""
GONE_SECONDS = 600.0
"""How long what is known of a store outlives its last tunnel."""


class Book(Protocol):
    """Agents and connections as they are recorded. Methods raise DeskAwayError."""

    async def agents(self, agents: Sequence[str], /) -> Mapping[str, AgentWays]: ...

    async def cloud(self) -> Sequence[CloudWay]: ...

    async def note_key(self, connection: str, /, *, works: bool, at: int) -> None: ...


Thing = Store | str
"""A store to look at without a key, or the id of a connection to look through with its key."""
FindConnection = Callable[[str], Awaitable[Connection | None]]


class StoreProbing:
    """`clock` is monotonic seconds, `wall` unix seconds, `chance` a number between 0 and 1."""

    def __init__(
        self,
        health: StoreHealth,
        looking: Looking,
        registry: Registry,
        book: Book,
        find: FindConnection,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._health = health
        self._looking = looking
        self._registry = registry
        self._book = book
        self._find = find
        self._clock = clock
        self._wall = wall
        self._chance = chance
        self._schedule: Schedule[Thing] = Schedule(clock())
        self._agents: dict[str, AgentWays] = {}
        self._stores: dict[str, set[Store]] = {}
        """That are published now, by agent."""
        self._cloud: set[Store] = set()
        self._gone: dict[Store, float] = {}
        self._changed: set[str] = set()
        self._anew: set[str] = set()
        """Connections that have changed: what connectors got before tells nothing of them."""
        self._under_way: dict[Thing, asyncio.Task[None]] = {}
        self._around_at = self._cloud_at = clock()
        """When to look through what is published, and for connections without an agent."""

    def __len__(self) -> int:
        """Looks that are planned or under way."""
        return len(self._schedule) + len(self._under_way)

    def changed(self, connections: Iterable[str]) -> None:
        """These connections were made, changed or deleted."""
        self._changed.update(connections)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._learn_what_is_new()
                except (DeskAwayError, DirectoryUnavailableError):
                    pass
                except Exception:
                    log.exception("stores could not be looked through")
                self._begin_looks()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await self._stop()

    async def look_around(self) -> None:
        """Learn which stores are published now. Raises DeskAwayError."""
        here = await self._published()
        for agent in [agent for agent in self._agents if agent not in here]:
            self._leave(agent)
        unknown = [agent for agent in here if agent not in self._agents]
        for first in range(0, len(unknown), NEW_AGENTS):
            self._agents.update(await self._book.agents(unknown[first : first + NEW_AGENTS]))
        for agent, names in here.items():
            if agent in self._agents:
                self._compare(agent, names)
        self._forget_gone()

    async def look(self, thing: Thing) -> None:
        """One look, and when the next one is due."""
        wait = await (self._look_bare(thing) if isinstance(thing, Store) else self._look_keyed(thing))
        if self._wanted(thing) and thing not in self._schedule:
            self._schedule.put(thing, self._clock() + varied(wait, self._chance))

    async def _learn_what_is_new(self) -> None:
        now = self._clock()
        if now >= self._around_at:
            self._around_at = now + LOOK_SECONDS
            await self.look_around()
        if now >= self._cloud_at:
            self._cloud_at = now + LOOK_SECONDS
            await self._look_for_cloud()
            self._cloud_at = now + CLOUD_SECONDS
        await self._take_in_changes()

    def _begin_looks(self) -> None:
        for thing in self._schedule.take(self._clock(), AT_ONCE - len(self._under_way)):
            if thing in self._under_way:
                self._schedule.put(thing, self._clock() + FIRST_SECONDS)
                continue
            task = self._under_way[thing] = asyncio.create_task(self._looked(thing))
            task.add_done_callback(lambda _, thing=thing: self._under_way.pop(thing, None))  # type: ignore[misc]  # bound now

    async def _looked(self, thing: Thing) -> None:
        try:
            await self.look(thing)
        except (DeskAwayError, DirectoryUnavailableError):
            self._schedule.put(thing, self._clock() + BARE_SECONDS)
        except Exception:
            log.exception("a look at a store failed in the relay")
            self._schedule.put(thing, self._clock() + KEYED_SECONDS)

    async def _stop(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _wanted(self, thing: Thing) -> bool:
        if isinstance(thing, Store):
            return thing in self._stores.get(thing.agent or "", ())
        store = self._health.store_of(thing)
        return store is not None and (store in self._cloud or store in self._stores.get(store.agent or "", ()))

    async def _published(self) -> dict[str, set[str]]:
        """By agent, the `host:port` of the stores that a tunnel publishes. Many are gone through in steps."""
        here: dict[str, set[str]] = {}
        for number, tunnel in enumerate(list(self._registry)):
            if tunnel.usable:
                names = here.setdefault(tunnel.identity.agent, set())
                names.update(str(destination) for destination in tunnel.published if destination != CONTROL)
            if number % NEW_AGENTS == NEW_AGENTS - 1:
                await asyncio.sleep(0)
        return here

    def _compare(self, agent: str, names: Collection[str]) -> None:
        """Watch what is published anew, and no more what is not."""
        entry, before = self._agents[agent], self._stores.get(agent, set())
        if len(before) == len(names) and all(store.name in names for store in before):
            return
        stores = {Store(entry.account, agent, name) for name in names}
        for store in before - stores:
            self._drop(store)
        self._stores[agent] = stores
        for store in stores - before:
            self._gone.pop(store, None)
            self._health.watch(store)
            self._schedule.put(store, self._soon())
        for connection, name in entry.connections:
            if name in names:
                self._attach(Store(entry.account, agent, name), connection)

    def _attach(self, store: Store, connection: str) -> None:
        self._health.attach(store, connection)
        if connection not in self._schedule and connection not in self._under_way:
            self._schedule.put(connection, self._soon() + FIRST_SECONDS)

    def _leave(self, agent: str) -> None:
        """Its last tunnel is gone."""
        del self._agents[agent]
        for store in self._stores.pop(agent, ()):
            self._drop(store)

    def _drop(self, store: Store) -> None:
        self._schedule.drop(store)
        for connection in self._health.connections(store):
            self._schedule.drop(connection)
        self._gone[store] = self._clock()

    def _forget_gone(self) -> None:
        over = [store for store, since in self._gone.items() if self._clock() - since >= GONE_SECONDS]
        for store in over:
            del self._gone[store]
            self._health.forget(store)

    async def _look_for_cloud(self) -> None:
        for way in await self._book.cloud():
            self._watch_cloud(Store(way.account, None, way.store, way.connection))

    def _watch_cloud(self, store: Store) -> None:
        if store not in self._cloud and store.connection:
            self._cloud.add(store)
            self._health.watch(store)
            self._attach(store, store.connection)

    async def _take_in_changes(self) -> None:
        while self._changed:
            connection = next(iter(self._changed))
            found = await self._find(connection)
            self._changed.discard(connection)
            self._learn(connection, found)

    def _learn(self, connection: str, found: Connection | None) -> None:
        """It has changed: what was known of its key is of no use, and it is looked at now."""
        before = self._health.store_of(connection)
        self._health.detach(connection)
        self._schedule.drop(connection)
        if before and before.connection and before in self._cloud:
            self._cloud.discard(before)
            self._health.forget(before)
        for agent in {before.agent if before else None, found.agent if found else None} & self._agents.keys():
            self._rewrite(agent or "", connection, found)
        if found is None:
            return
        name = str(found.store.destination)
        if found.mode is Mode.CLOUD:
            self._watch_cloud(Store(found.account, None, name, connection))
        store = Store(found.account, found.agent, name)
        if store in self._stores.get(found.agent or "", ()):
            self._health.attach(store, connection)
        if self._health.store_of(connection):
            self._anew.add(connection)
            self._schedule.put(connection, self._clock())

    def _rewrite(self, agent: str, connection: str, found: Connection | None) -> None:
        entry = self._agents[agent]
        others = tuple(pair for pair in entry.connections if pair[0] != connection)
        if found and found.agent == agent:
            others += ((connection, str(found.store.destination)),)
        self._agents[agent] = dataclasses.replace(entry, connections=others)

    def _soon(self) -> float:
        return self._clock() + FIRST_SECONDS * (1 + 2 * self._chance())

    async def _look_bare(self, store: Store) -> float:
        """Seconds to the next one."""
        connections = self._health.connections(store)
        served = next((each for each in connections if self._looking.served_lately(each)), None)
        if served:
            self._health.succeeded(store, served)
        else:
            first = connections[0] if connections else None
            found = await self._find(first) if first else None
            self._health.found(store, await self._looking.bare(store, found), first)
        return bare_wait(self._health.failures(store), len(self._stores.get(store.agent or "", ())))

    async def _look_keyed(self, connection: str) -> float:
        """Seconds to the next one."""
        store, found = self._health.store_of(connection), await self._find(connection)
        if store is None or found is None or found.account != store.account:
            return KEYED_SECONDS
        anew = connection in self._anew
        self._anew.discard(connection)
        finding = await self._looking.keyed(found, anew=anew)
        self._health.found(store, finding, connection)
        if finding.silent and anew:
            self._anew.add(connection)
            return CONFIRM_SECONDS
        if self._health.found_key(connection, finding) and finding.key is not None:
            with contextlib.suppress(DeskAwayError):
                await self._book.note_key(connection, works=finding.key, at=int(self._wall()))
        if finding.key is None:
            return bare_wait(self._health.failures(store), 1)
        return KEYED_SECONDS if finding.key else REFUSED_SECONDS

"""Nodes that share a database and a shop: every change is told once, whoever freezes or dies."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from relay.database import connections, cycles, events, triggers
from relay.database.cycles import Cycles
from relay.database.engine import Database, open_database
from relay.database.secrets import KeyFile
from relay.database.triggers import TriggerForm
from relay.prestashop.triggering import Triggering
from relay.records import Connection
from relay.trigger_records import Cycle, Lease, TriggerKind, Work
from tests.relay.database.scene import BY, form
from tests.relay.prestashop.scene import Place, place

ZONE = "Europe/Madrid"


class Ahead:
    """Every node's time."""

    seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


class Freezing(Cycles):
    """A node that stands still before it writes, for as long as it is told."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.hold = False
        self.frozen = asyncio.Event()
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def claim(self, most: int) -> list[Work]:
        return await super().claim(most) if self.thawed.is_set() else []

    async def finish(self, lease: Lease, cycle: Cycle, *, next_run_at: int) -> None:
        if cycle.items and self.hold:
            self.hold = False
            self.thawed.clear()
            self.frozen.set()
            await self.thawed.wait()
        await super().finish(lease, cycle, next_run_at=next_run_at)


@contextlib.asynccontextmanager
async def node(desk: Cycles, here: Place, connection: str, clock: Ahead) -> AsyncIterator[None]:
    async def find(_id: str) -> Connection:
        return dataclasses.replace(here.connection, account=account, id=connection)

    account = await _account_of(desk, connection)
    steps = Triggering(desk, here.shops, find, clock=clock, chance=lambda: 0.5).run(look_seconds=0.01)
    task = asyncio.create_task(steps)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _account_of(desk: Cycles, connection: str) -> str:
    loaded = await connections.load(desk._database, connection)
    assert loaded
    return loaded.account


@contextlib.asynccontextmanager
async def another(address: str, keys: KeyFile, clock: Ahead) -> AsyncIterator[Database]:
    opened = await open_database(address, keys=keys, clock=clock)
    yield opened
    await opened.close()


def change(here: Place, order: int, state: int) -> None:
    stamp = here.store.shop.clock.text(-30)
    here.store.shop["orders"].update(order, {"date_upd": stamp, "current_state": state})


async def told(database: Database, account: str, trigger: str) -> list[tuple[int, int]]:
    page = await events.page(database, account, trigger, limit=500)
    bodies = [json.loads(event.body) for event in page.items]
    return [(item["id"], item["current_state"]) for body in bodies for item in body["data"]["items"]]


async def watching(database: Database, account: str) -> tuple[str, str]:
    connection = (await connections.create(database, account, form(), by=BY)).connection.id
    wanted = TriggerForm(TriggerKind.ORDER_UPDATED, time_zone=ZONE)
    return connection, (await triggers.create(database, account, connection, wanted, by=BY)).trigger.id


async def baseline(database: Database, account: str, trigger: str) -> None:
    async with asyncio.timeout(10):
        while (await triggers.find(database, account, trigger)).progress.last_run_at is None:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.01)


async def test_two_nodes_tell_every_change_once(
    database: Database, address: str, keys: KeyFile, account: str, clock: Ahead
) -> None:
    """Both ask for work all the time; each cycle is one node's."""
    connection, trigger = await watching(database, account)
    async with place() as here, another(address, keys, clock) as second:
        desks = Cycles(database), Cycles(second)
        async with node(desks[0], here, connection, clock), node(desks[1], here, connection, clock):
            await baseline(database, account, trigger)
            orders = sorted(here.store.shop["orders"].rows)
            last: dict[int, int] = {}
            for number in range(30):
                order, state = orders[number % len(orders)], 100 + number
                change(here, order, state)
                last[order] = state
                await triggers.run_soon(database, account, trigger, by=BY)
                await asyncio.sleep(0.02)
            async with asyncio.timeout(20):
                while not set(last.items()) <= set(await told(database, account, trigger)):
                    await triggers.run_soon(database, account, trigger, by=BY)
                    await asyncio.sleep(0.05)
        events_told = Counter(await told(database, account, trigger))
    assert max(events_told.values()) == 1
    (row,) = (await triggers.page(database, account, connection)).items
    assert row.progress.fault is None


async def test_a_frozen_node_that_comes_back_writes_nothing(
    database: Database, address: str, keys: KeyFile, account: str, clock: Ahead
) -> None:
    """Its lease runs out, the other node tells the change, and when the first wakes up its work is void."""
    connection, trigger = await watching(database, account)
    async with place() as here, another(address, keys, clock) as second:
        frozen = Freezing(database)
        async with node(frozen, here, connection, clock):
            await baseline(database, account, trigger)
            order = min(here.store.shop["orders"].rows)
            change(here, order, 5)
            frozen.hold = True
            await triggers.run_soon(database, account, trigger, by=BY)
            async with asyncio.timeout(10):
                await frozen.frozen.wait()
            assert await told(database, account, trigger) == []
            clock.seconds += cycles.LEASE_SECONDS + 1
            async with node(Cycles(second), here, connection, clock), asyncio.timeout(20):
                while not await told(database, account, trigger):  # noqa: ASYNC110 - a row of the database
                    await asyncio.sleep(0.02)
                frozen.thawed.set()
                await asyncio.sleep(0.2)
        assert await told(database, account, trigger) == [(order, 5)]

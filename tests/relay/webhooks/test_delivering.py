"""Deliveries from a real database to a real endpoint: in order, at least once, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from relay.database import connections, deliveries, events, triggers
from relay.database.cycles import Cycles
from relay.database.deliveries import Deliveries
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.triggers import TriggerForm, TriggerPatch
from relay.trigger_records import Cycle, Delivery, TriggerKind
from relay.webhooks.delivering import Delivering
from relay.webhooks.sending import Post
from tests.relay.database.conftest import account, address, clock, database, keys
from tests.relay.database.scene import BY, Clock, form
from tests.relay.webhooks.scene import HERE, Endpoint, endpoint

__all__ = ["account", "address", "clock", "database", "keys"]

ROOT = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def running(database: Database, clock: Clock) -> AsyncIterator[None]:
    post = Post(HERE, time.time)
    steps = Delivering(Deliveries(database), post, clock=clock, chance=lambda: 0.5).run(look_seconds=0.01)
    task = asyncio.create_task(steps)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def watching(database: Database, account: str, url: str, name: str = "Shop") -> str:
    connection = (await connections.create(database, account, form(name=name), by=BY)).connection.id
    wanted = TriggerForm(TriggerKind.ORDER_UPDATED, url=url)
    return (await triggers.create(database, account, connection, wanted, by=BY)).trigger.id


async def make(database: Database, trigger: str, *orders: int) -> None:
    """One event an order."""
    for order in orders:
        for work in await Cycles(database).claim(9):
            items = [{"id": order}] if work.lease.subject == trigger else []
            await Cycles(database).finish(work.lease, Cycle({}, items), next_run_at=0)


def orders(there: Endpoint) -> list[int]:
    return [json.loads(got.body)["data"]["items"][0]["id"] for got in there.got]


async def until(look: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
    """Until `look` finds something true."""
    async with asyncio.timeout(seconds):
        while not await look():  # noqa: ASYNC110 - another task writes it into the database
            await asyncio.sleep(0.01)


async def ended(database: Database, account: str, trigger: str, delivery: Delivery, number: int = 1) -> None:
    """Until so many of the trigger's events are done, or dead."""

    async def look() -> bool:
        page = await events.page(database, account, trigger)
        return [event.delivery for event in page.items].count(delivery) == number

    await until(look)


async def _attempts(database: Database, account: str, trigger: str) -> int:
    return (await events.page(database, account, trigger)).items[0].attempts


async def _tried(database: Database, account: str, trigger: str, times: int) -> bool:
    page = await events.page(database, account, trigger)
    return sum(event.attempts for event in page.items) >= times


async def _is_disabled(database: Database, account: str, trigger: str) -> bool:
    return not (await triggers.find(database, account, trigger)).enabled


async def test_events_arrive_in_order_through_failures(database: Database, account: str, clock: Clock) -> None:
    """A later one is not sent before the earlier is done; each under one id, however often."""
    async with endpoint() as there:
        there.statuses = [500, 503, 200, 429, 200]
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1, 2, 3)
        async with running(database, clock):
            for number in (1, 2, 4):  # after each failure
                await until(lambda wanted=number: _tried(database, account, trigger, wanted))  # type: ignore[misc]  # bound now
                clock.now += 3600
            await ended(database, account, trigger, Delivery.DONE, 3)
        assert orders(there) == [1, 1, 1, 2, 2, 3]
        assert len({got.event for got in there.got}) == 3
        assert len({got.body for got in there.got}) == 3


async def test_retry_after_is_kept(database: Database, account: str, clock: Clock) -> None:
    """Nothing comes before the endpoint's own time has passed."""
    async with endpoint() as there:
        there.statuses, there.more = [429], ["Retry-After: 3000"]
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1)
        async with running(database, clock):
            await there.wait_for(1)
            await until(lambda: _attempts(database, account, trigger))
            clock.now += 2999
            await asyncio.sleep(0.2)
            assert len(there.got) == 1
            clock.now += 1
            await ended(database, account, trigger, Delivery.DONE)


async def test_after_a_day_an_event_is_dead_and_the_next_is_tried(
    database: Database, account: str, clock: Clock
) -> None:
    """The next does not take another day, and a replay comes through when the endpoint is back."""
    async with endpoint() as there:
        there.status = 500
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1, 2)
        clock.now += 86_400
        async with running(database, clock):
            await ended(database, account, trigger, Delivery.DEAD, 2)
            assert orders(there) == [1, 2]
            there.status = 200
            (letter, _) = (await deliveries.dead_letters(database, account, trigger)).items
            await deliveries.replay(database, account, trigger, letter.id, by=BY)
            await ended(database, account, trigger, Delivery.DONE)
        assert orders(there) == [1, 2, 1]
        assert there.got[2].event == there.got[0].event


async def test_410_disables_the_trigger(database: Database, account: str, clock: Clock) -> None:
    """One request, and then no more."""
    async with endpoint() as there:
        there.status = 410
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1, 2)
        async with running(database, clock):
            await until(lambda: _is_disabled(database, account, trigger))
            clock.now += 86_400
            await asyncio.sleep(0.2)
        assert len(there.got) == 1


async def test_one_endpoint_that_is_slow_holds_up_nobody_else(database: Database, account: str, clock: Clock) -> None:
    """Triggers are delivered side by side; to one host a bounded number at once."""
    async with endpoint() as slow, endpoint() as quick:
        slow.delay = 30
        first = await watching(database, account, slow.url)
        second = await watching(database, account, quick.url, "Other")
        await make(database, first, 1)
        await make(database, second, 2, 3, 4)
        async with running(database, clock):
            await slow.wait_for(1)
            await ended(database, account, second, Delivery.DONE, 3)
        assert orders(quick) == [2, 3, 4]
        assert (slow.most_at_once, quick.most_at_once) == (1, 1)


async def test_the_loop_outlives_a_database_that_is_away(
    database: Database, account: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent and could not be written down is sent again: at least once."""
    async with endpoint() as there:
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1)
        there.delay = 0.2

        class Away:
            async def __aenter__(self) -> None:
                raise DatabaseUnavailable("no answer")

            async def __aexit__(self, *_: object) -> None: ...

        async with running(database, clock):
            await there.wait_for(1)
            with monkeypatch.context() as away:
                away.setattr(database, "writing", Away)
                away.setattr(database, "reading", Away)
                await asyncio.sleep(0.5)
            clock.now += deliveries.LEASE_SECONDS
            await ended(database, account, trigger, Delivery.DONE)
        assert orders(there) == [1, 1]
        assert len({got.event for got in there.got}) == 1


SENDER = """
import asyncio, pathlib, sys, time
from relay.database.deliveries import Deliveries
from relay.database.engine import open_database
from relay.database.secrets import KeyFile
from relay.webhooks.delivering import Delivering
from relay.webhooks.sending import Post
from tests.relay.webhooks.scene import HERE

async def main():
    keys, clock = KeyFile(pathlib.Path(sys.argv[2])), lambda: float(sys.argv[3])
    database = await open_database(sys.argv[1], keys=keys, clock=clock)
    await Delivering(Deliveries(database), Post(HERE, time.time), clock=clock, chance=lambda: 0.5).run()

asyncio.run(main())
"""


async def test_a_sender_that_is_killed_while_it_sends(
    database: Database, address: str, account: str, clock: Clock
) -> None:
    """kill -9 in the middle of a delivery: another process sends it again, in order, under its id."""
    async with endpoint() as there:
        there.delay = 60
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1, 2)
        command = [sys.executable, "-c", SENDER, address, str(database.keys.path), str(clock.now)]
        process = subprocess.Popen(command, cwd=ROOT)  # noqa: ASYNC220 - it starts at once
        try:
            await there.wait_for(1)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        there.delay = 0
        clock.now += deliveries.LEASE_SECONDS
        async with running(database, clock):
            await ended(database, account, trigger, Delivery.DONE, 2)
        assert orders(there) == [1, 1, 2]
        assert there.got[0].event == there.got[1].event


async def test_what_waited_while_nobody_took_it_is_tried_for_a_day_from_then(
    database: Database, account: str, clock: Clock
) -> None:
    """A trigger that was disabled for days is enabled again, or sent elsewhere: a first failure gives nothing up."""
    async with endpoint() as there:
        there.status = 503
        trigger = await watching(database, account, there.url)
        await make(database, trigger, 1, 2)
        await triggers.change(database, account, trigger, TriggerPatch(enabled=False), by=BY)
        clock.now += 3 * 86_400
        await triggers.change(database, account, trigger, TriggerPatch(enabled=True), by=BY)
        async with running(database, clock):
            await until(lambda: _got(there, 1, clock))
            there.status, failed = 200, len(there.got)
            await until(lambda: _got(there, failed + 2, clock))
            await ended(database, account, trigger, Delivery.DONE, 2)
    assert orders(there)[-2:] == [1, 2]


async def _got(there: Endpoint, number: int, clock: Clock) -> bool:
    """Time goes on meanwhile."""
    clock.now += 5
    return len(there.got) >= number

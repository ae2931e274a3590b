"""Of what is due, no account and no host takes all."""

from __future__ import annotations

from collections import Counter

from relay.database import connections, cycles, deliveries, triggers
from relay.database.cycles import Cycles
from relay.database.deliveries import Deliveries
from relay.database.engine import Database
from relay.database.triggers import TriggerForm
from relay.trigger_records import Cycle, TriggerKind
from tests.relay.database.scene import BY, Clock, form


async def watching(database: Database, account: str, url: str | None, number: int) -> None:
    connection = (await connections.create(database, account, form(name=f"Shop {number}"), by=BY)).connection.id
    await triggers.create(database, account, connection, TriggerForm(TriggerKind.ORDER_UPDATED, url=url), by=BY)


async def test_other_accounts_triggers_do_not_wait_for_ones_slow_shops(
    database: Database, account: str, stranger: str, clock: Clock
) -> None:
    """However many of its triggers are overdue, and for how long."""
    for number in range(cycles.AT_ONCE + 3):
        await watching(database, account, None, number)
    clock.now += 1000
    await watching(database, stranger, None, 0)
    desk = Cycles(database)
    taken = await desk.claim(32)
    assert Counter(work.account for work in taken) == {account: cycles.AT_ONCE, stranger: 1}
    assert await desk.claim(32) == []
    mine = next(work for work in taken if work.account == account)
    await desk.finish(mine.lease, Cycle({}), next_run_at=int(clock.now) + 60)
    assert [work.account for work in await desk.claim(32)] == [account]


async def test_other_hosts_do_not_wait_for_one_that_hangs(
    database: Database, account: str, stranger: str, clock: Clock
) -> None:
    """Nor other accounts for one with many endpoints."""
    for number in range(deliveries.AT_ONCE_PER_HOST + 2):
        await watching(database, account, f"https://hangs.example/{number}", number)
    clock.now += 1000
    for number in range(deliveries.AT_ONCE):
        await watching(database, account, f"https://{number}.example/in", 100 + number)
    clock.now += 1000
    await watching(database, stranger, "https://other.example/in", 0)
    while works := await Cycles(database).claim(32):
        for work in works:
            await Cycles(database).finish(work.lease, Cycle({}, [{"id": 1}]), next_run_at=int(clock.now) + 10_000)
    outbox = Deliveries(database)
    taken = [parcel.url for parcel in await outbox.claim(32)]
    assert sum("hangs" in url for url in taken) == deliveries.AT_ONCE_PER_HOST
    assert len(taken) == deliveries.AT_ONCE + 1
    assert "https://other.example/in" in taken
    assert await outbox.claim(32) == []

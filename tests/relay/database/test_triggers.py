"""Triggers and their events in the database: leases, one transaction, order, retention, secrets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from relay.database import connections, deliveries, endpoints, events, replacing, rotation, triggers
from relay.database.cycles import LEASE_SECONDS, Cycles
from relay.database.deliveries import Deliveries
from relay.database.engine import Database, open_database
from relay.database.errors import Conflict, Invalid, NotFound
from relay.database.records import NewTrigger
from relay.database.secrets import KeyFile
from relay.database.tables import TriggerEventRow, TriggerMarkRow, TriggerRow
from relay.database.triggers import TriggerForm, TriggerPatch
from relay.trigger_records import Cycle, Delivery, Fault, LeaseLostError, Mark, TriggerKind, Work
from tests.relay.database.scene import BY, Clock, form, written

URL = "https://hooks.example.com/in"
PULLED = TriggerForm(TriggerKind.ORDER_UPDATED)
SENT = TriggerForm(TriggerKind.ORDER_UPDATED, url=URL)


@pytest.fixture
async def connection(database: Database, account: str) -> str:
    return (await connections.create(database, account, form(), by=BY)).connection.id


@pytest.fixture
async def second(address: str, clock: Clock, keys: KeyFile, database: Database) -> AsyncIterator[Database]:
    """The same database as another node sees it; on SQLite only one node may serve, but the statements hold."""
    opened = await open_database(address, keys=keys, clock=clock)
    yield opened
    await opened.close()


async def made(database: Database, account: str, connection: str, wanted: TriggerForm = PULLED) -> NewTrigger:
    return await triggers.create(database, account, connection, wanted, by=BY)


async def claimed(database: Database) -> Work:
    (work,) = await Cycles(database).claim(9)
    return work


async def told(database: Database, *items: int, next_in: int = 0) -> None:
    """A cycle of the trigger that is due, with an event of these orders."""
    work = await claimed(database)
    cycle = Cycle({}, [{"id": item} for item in items], [Mark(item, "2026-01-01 00:00:00", "d") for item in items])
    await Cycles(database).finish(work.lease, cycle, next_run_at=database.now() + next_in)


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.reading() as session:
        return list(await session.scalars(select(table)))


async def test_a_trigger_is_made_and_found(database: Database, account: str, connection: str) -> None:
    """With a secret if something is sent, without one if it is pulled; by its account only."""
    sent, pulled = await made(database, account, connection, SENT), await made(database, account, connection)
    assert sent.secret
    assert sent.secret.get_secret_value().startswith("whsec_")
    assert len(base64.b64decode(sent.secret.get_secret_value().removeprefix("whsec_"))) == 32
    assert pulled.secret is None
    page = await triggers.page(database, account, connection)
    assert {each.id for each in page.items} == {sent.trigger.id, pulled.trigger.id}
    assert await triggers.find(database, account, sent.trigger.id) == sent.trigger
    assert ("trigger.create", sent.trigger.id) in (await written(database))[0]


async def test_another_accounts_trigger_is_an_unknown_one(
    database: Database, account: str, connection: str, stranger: str
) -> None:
    """Whatever is asked of it."""
    trigger = (await made(database, account, connection, SENT)).trigger.id
    for asked in (
        triggers.find(database, stranger, trigger),
        triggers.page(database, stranger, connection),
        triggers.create(database, stranger, connection, PULLED, by=BY),
        triggers.change(database, stranger, trigger, TriggerPatch(enabled=False), by=BY),
        triggers.delete(database, stranger, trigger, by=BY),
        triggers.rotate_secret(database, stranger, trigger, by=BY),
        triggers.run_soon(database, stranger, trigger, by=BY),
        events.page(database, stranger, trigger),
        deliveries.dead_letters(database, stranger, trigger),
    ):
        with pytest.raises(NotFound):
            await asked


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval": 9}, "interval"),
        ({"interval": 10**9}, "interval"),
        ({"ceiling": 0}, "ceiling"),
        ({"ceiling": 501}, "ceiling"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
    ],
)
async def test_values_that_cannot_be_taken(
    database: Database, account: str, connection: str, changes: dict[str, Any], field: str
) -> None:
    """Named, when a trigger is made and when it is changed."""
    with pytest.raises(Invalid) as refused:
        await made(database, account, connection, TriggerForm(TriggerKind.ORDER_UPDATED, **changes))
    assert refused.value.field == field
    trigger = (await made(database, account, connection)).trigger.id
    with pytest.raises(Invalid) as refused:
        await triggers.change(database, account, trigger, TriggerPatch(**changes), by=BY)
    assert refused.value.field == field


async def test_a_connection_has_some_triggers_and_takes_them_with_it(
    database: Database, account: str, connection: str
) -> None:
    """Twenty; gone with the connection, events and all."""
    for _ in range(triggers.TRIGGERS_MOST):
        await made(database, account, connection)
    with pytest.raises(Conflict, match="at most"):
        await made(database, account, connection)
    work = (await Cycles(database).claim(1))[0]
    await Cycles(database).finish(work.lease, Cycle({}, [{"id": 1}], [Mark(1, "x", "d")]), next_run_at=0)
    await connections.delete(database, account, connection, by=BY)
    for table in (TriggerRow, TriggerEventRow, TriggerMarkRow):
        assert await rows(database, table) == []


async def test_one_node_works_on_a_trigger(
    database: Database, second: Database, account: str, connection: str, clock: Clock
) -> None:
    """The other takes it when the lease has run out, and from then on nothing of the first is written."""
    trigger = (await made(database, account, connection)).trigger.id
    first = await claimed(database)
    assert await Cycles(second).claim(9) == []
    clock.now += LEASE_SECONDS - 1
    await Cycles(database).renew(first.lease)
    clock.now += LEASE_SECONDS - 1
    assert await Cycles(second).claim(9) == []
    clock.now += 1
    taken = await claimed(second)
    assert (taken.lease.subject, taken.lease.fence) == (trigger, first.lease.fence + 1)
    with pytest.raises(LeaseLostError):
        await Cycles(database).renew(first.lease)
    with pytest.raises(LeaseLostError):
        await Cycles(database).finish(first.lease, Cycle({"a": 1}, [{"id": 1}]), next_run_at=0)
    assert await rows(database, TriggerEventRow) == []
    await Cycles(second).finish(taken.lease, Cycle({"b": 2}, [{"id": 2}]), next_run_at=clock.now + 60)  # type: ignore[arg-type]  # whole
    (row,) = await rows(database, TriggerRow)
    assert row.state == {"b": 2}
    assert await Cycles(database).claim(9) == []


async def test_many_nodes_that_claim_at_once_share(
    database: Database, second: Database, account: str, connection: str
) -> None:
    """No trigger is claimed twice, none is left."""
    wanted = {(await made(database, account, connection)).trigger.id for _ in range(6)}
    shares = await asyncio.gather(*(Cycles(node).claim(2) for node in (database, second) * 3))
    got = [work.lease.subject for share in shares for work in share]
    assert sorted(got) == sorted(wanted)


async def test_a_look_that_is_asked_for_during_a_cycle_follows_it(
    database: Database, account: str, connection: str, clock: Clock
) -> None:
    """The cycle may have passed what the caller means."""
    trigger = (await made(database, account, connection)).trigger.id
    work = await claimed(database)
    await triggers.run_soon(database, account, trigger, by=BY)
    await Cycles(database).finish(work.lease, Cycle({}), next_run_at=int(clock.now) + 60)
    work = await claimed(database)
    await Cycles(database).finish(work.lease, Cycle({}), next_run_at=int(clock.now) + 60)
    assert await Cycles(database).claim(9) == []


async def test_a_cycle_is_written_as_a_whole_or_not_at_all(
    database: Database, account: str, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State, marks and event: an error at the last step leaves nothing of them."""
    await made(database, account, connection)
    work = await claimed(database)
    cycle = Cycle({"far": 1}, [{"id": 1}], [Mark(1, "2026-01-01 00:00:00", "d")])

    async def fail(*_: object) -> None:
        raise RuntimeError("power is out")

    with monkeypatch.context() as broken:
        broken.setattr(events, "forget", fail)
        with pytest.raises(RuntimeError):
            await Cycles(database).finish(work.lease, cycle, next_run_at=0)
    (row,) = await rows(database, TriggerRow)
    assert (row.state, await rows(database, TriggerEventRow), await rows(database, TriggerMarkRow)) == ({}, [], [])
    await Cycles(database).finish(work.lease, cycle, next_run_at=0)
    (row,) = await rows(database, TriggerRow)
    assert row.state == {"far": 1}
    assert await Cycles(database).marks(work.lease, [1, 2]) == {1: Mark(1, "2026-01-01 00:00:00", "d")}


async def test_marks_are_replaced_and_forgotten(database: Database, account: str, connection: str) -> None:
    """One of each subject, and none that is too old."""
    await made(database, account, connection)
    first = [Mark(number, f"2026-01-0{number} 00:00:00", "d") for number in (1, 2, 3)]
    work = await claimed(database)
    await Cycles(database).finish(work.lease, Cycle({}, marks=first), next_run_at=0)
    work = await claimed(database)
    again = Mark(1, "2026-01-04 00:00:00", "e")
    cycle = Cycle({}, marks=[again], forget_before="2026-01-03 00:00:00")
    await Cycles(database).finish(work.lease, cycle, next_run_at=0)
    assert await Cycles(database).marks(work.lease, [1, 2, 3]) == {1: again, 3: first[2]}


async def test_faults_are_counted_and_forgiven(database: Database, account: str, connection: str) -> None:
    """They are shown with the trigger, until a cycle goes well."""
    trigger = (await made(database, account, connection)).trigger.id
    fault = Fault("agent_offline", "agent", "the agent is not connected")
    for number in (1, 2):
        work = await claimed(database)
        assert work.failures == number - 1
        await Cycles(database).finish(work.lease, Cycle({}, fault=fault), next_run_at=0)
    progress = (await triggers.find(database, account, trigger)).progress
    assert (progress.failures, progress.fault) == (2, fault)
    await told(database)
    progress = (await triggers.find(database, account, trigger)).progress
    assert (progress.failures, progress.fault) == (0, None)


async def test_events_are_pulled_in_order_and_the_cursor_goes_on(
    database: Database, account: str, connection: str
) -> None:
    """At the end as well, where nothing has come yet."""
    trigger = (await made(database, account, connection)).trigger.id
    empty = await events.page(database, account, trigger)
    assert empty.next is None
    for order in range(5):
        await told(database, order)
    first = await events.page(database, account, trigger, limit=3)
    rest = await events.page(database, account, trigger, limit=3, cursor=first.next)
    end = await events.page(database, account, trigger, cursor=rest.next)
    assert (end.items, end.next) == ((), rest.next)
    await told(database, 5)
    later = await events.page(database, account, trigger, cursor=end.next)
    bodies = [json.loads(event.body) for page in (first, rest, later) for event in page.items]
    assert [body["data"]["items"] for body in bodies] == [[{"id": order}] for order in range(6)]
    assert all(body["data"]["connection"] == connection for body in bodies)
    with pytest.raises(Invalid):
        await events.page(database, account, trigger, cursor="WyJ4Il0")


async def test_a_later_event_waits_for_the_earlier(
    database: Database, second: Database, account: str, connection: str, clock: Clock
) -> None:
    """Until that is done or dead, whatever node asks."""
    await made(database, account, connection, SENT)
    for order in range(3):
        await told(database, order)
    here, there = Deliveries(database), Deliveries(second)
    (parcel,) = await here.claim(9)
    assert json.loads(parcel.body)["data"]["items"] == [{"id": 0}]
    assert await there.claim(9) == []
    await here.again(parcel.lease, "answered 500", int(clock.now) + 50)
    clock.now += 49
    assert await there.claim(9) == []
    clock.now += 1
    (parcel,) = await there.claim(9)
    assert (json.loads(parcel.body)["data"]["items"], parcel.attempts) == ([{"id": 0}], 1)
    await there.done(parcel.lease)
    (parcel,) = await here.claim(9)
    await here.dead(parcel.lease, "answered 500")
    (parcel,) = await here.claim(9)
    assert json.loads(parcel.body)["data"]["items"] == [{"id": 2}]


async def test_a_parcel_whose_node_died_is_sent_by_another(
    database: Database, second: Database, account: str, connection: str, clock: Clock
) -> None:
    """Under the same id, and what the first says of it then counts no more."""
    await made(database, account, connection, SENT)
    await told(database, 1)
    (lost,) = await Deliveries(database).claim(9)
    clock.now += deliveries.LEASE_SECONDS
    (parcel,) = await Deliveries(second).claim(9)
    assert parcel.lease.subject == lost.lease.subject
    with pytest.raises(LeaseLostError):
        await Deliveries(database).done(lost.lease)
    await Deliveries(second).done(parcel.lease)
    with pytest.raises(LeaseLostError):
        await Deliveries(second).done(parcel.lease)


async def test_dead_letters_are_listed_and_replayed(
    database: Database, account: str, connection: str, clock: Clock
) -> None:
    """Under the old id, for another day, before what waits behind."""
    trigger = (await made(database, account, connection, SENT)).trigger.id
    await told(database, 1)
    (parcel,) = await Deliveries(database).claim(9)
    await Deliveries(database).dead(parcel.lease, "answered 500")
    await told(database, 2)
    (letter,) = (await deliveries.dead_letters(database, account, trigger)).items
    assert (letter.id, letter.attempts, letter.last_failure) == (parcel.lease.subject, 1, "answered 500")
    assert (await triggers.find(database, account, trigger)).progress.dead == 1
    clock.now += 3 * 86_400
    await deliveries.replay(database, account, trigger, letter.id, by=BY)
    assert (await deliveries.dead_letters(database, account, trigger)).items == ()
    (again,) = await Deliveries(database).claim(9)
    assert (again.lease.subject, again.body, again.since) == (letter.id, parcel.body, int(clock.now))
    with pytest.raises(Conflict, match="not given up"):
        await deliveries.replay(database, account, trigger, letter.id, by=BY)
    with pytest.raises(NotFound):
        await deliveries.replay(database, account, "trg_aaaaaaaaaaaaaaaa", letter.id, by=BY)


async def test_an_endpoint_that_is_gone_disables_its_trigger(database: Database, account: str, connection: str) -> None:
    """Nothing is looked at or sent until somebody enables it; then the event comes first."""
    trigger = (await made(database, account, connection, SENT)).trigger.id
    await told(database, 1)
    (parcel,) = await Deliveries(database).claim(9)
    await Deliveries(database).gone(parcel.lease, "410 Gone")
    record = await triggers.find(database, account, trigger)
    assert (record.enabled, record.progress.disabled_because) == (False, "endpoint_gone")
    assert await Deliveries(database).claim(9) == []
    assert await Cycles(database).claim(9) == []
    with pytest.raises(Conflict, match="disabled"):
        await triggers.run_soon(database, account, trigger, by=BY)
    record = await triggers.change(database, account, trigger, TriggerPatch(enabled=True), by=BY)
    assert (record.enabled, record.progress.disabled_because) == (True, None)
    (again,) = await Deliveries(database).claim(9)
    assert again.lease.subject == parcel.lease.subject
    assert ("trigger.disable", trigger) in (await written(database))[0]


async def test_a_new_secret_signs_beside_the_former_for_a_day(
    database: Database, account: str, connection: str, clock: Clock
) -> None:
    """Both valid at rotation."""
    old = await made(database, account, connection, SENT)
    await told(database, 1)
    new = await triggers.rotate_secret(database, account, old.trigger.id, by=BY)
    (parcel,) = await Deliveries(database).claim(9)
    assert parcel.secrets == (new.secret, old.secret)
    clock.now += endpoints.FORMER_SECONDS
    (parcel,) = await Deliveries(database).claim(9)
    assert parcel.secrets == (new.secret,)
    pulled = await made(database, account, connection)
    with pytest.raises(Conflict, match="nothing is signed"):
        await triggers.rotate_secret(database, account, pulled.trigger.id, by=BY)


async def test_secrets_lie_sealed_and_follow_the_master_keys(
    database: Database, account: str, connection: str, clock: Clock
) -> None:
    """In no column in the clear; renewed with the master keys, given up with them."""
    new = await made(database, account, connection, SENT)
    second = await triggers.rotate_secret(database, account, new.trigger.id, by=BY)
    assert new.secret
    assert second.secret
    (row,) = await rows(database, TriggerRow)
    for secret in (new.secret, second.secret):
        assert secret.get_secret_value() not in str(vars(row))
    before = row.secret_sealed
    rotated = await rotation.rotate(database, by=BY)
    assert set(await rotation.count(database)) == {rotated.key}
    (row,) = await rows(database, TriggerRow)
    assert row.secret_sealed != before
    assert endpoints.signing_secrets(database, row, database.now()) == (second.secret, new.secret)
    database.keys.path.unlink()
    database = Database(database.engine, keys=KeyFile(database.keys.path), clock=clock)
    assert (await replacing.replace_lost(database, by=BY)).connections == (connection,)
    record = await triggers.find(database, account, new.trigger.id)
    assert (record.enabled, record.progress.disabled_because) == (False, "secret_lost")
    with pytest.raises(Conflict, match="new secret"):
        await triggers.change(database, account, record.id, TriggerPatch(enabled=True), by=BY)
    assert (await triggers.rotate_secret(database, account, record.id, by=BY)).secret
    assert (await triggers.change(database, account, record.id, TriggerPatch(enabled=True), by=BY)).enabled


async def test_events_are_forgotten_after_a_week_and_beyond_a_number(
    database: Database, account: str, connection: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first; what waits for delivery stays."""
    pulled = (await made(database, account, connection)).trigger.id
    await told(database, 1)
    clock.now += events.KEEP_SECONDS + 1
    await told(database, 2)
    assert len((await events.page(database, account, pulled)).items) == 1
    monkeypatch.setattr(events, "KEEP_MOST", 3)
    monkeypatch.setattr(events, "LIMIT_MOST", 1)
    for order in range(3, 9):
        await told(database, order)
    kept = [
        json.loads(event.body)["data"]["items"][0]["id"]
        for event in (await events.page(database, account, pulled)).items
    ]
    assert kept == [6, 7, 8]
    await triggers.delete(database, account, pulled, by=BY)
    sent = (await made(database, account, connection, SENT)).trigger.id
    for order in range(5):
        await told(database, order)
    assert len((await events.page(database, account, sent)).items) == 5


async def test_no_events_are_made_for_an_endpoint_that_is_far_behind(
    database: Database, account: str, connection: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is not asked for them until the queue is shorter: nothing is lost, and nothing piles up."""
    monkeypatch.setattr(events, "BEHIND_MOST", 2)
    trigger = (await made(database, account, connection, SENT)).trigger.id
    await told(database, 1)
    await told(database, 2)
    assert await Cycles(database).claim(9) == []
    progress = (await triggers.find(database, account, trigger)).progress
    assert progress.fault
    assert (progress.fault.code, progress.waiting) == ("endpoint_behind", 2)
    (parcel,) = await Deliveries(database).claim(9)
    await Deliveries(database).done(parcel.lease)
    clock.now += 60
    await told(database, 3)
    assert [event.delivery for event in (await events.page(database, account, trigger)).items] == [
        Delivery.DONE,
        Delivery.WAITING,
        Delivery.WAITING,
    ]


async def test_a_patch_changes_what_it_names(database: Database, account: str, connection: str, clock: Clock) -> None:
    """A shorter interval counts at once; a pulled trigger gets no address afterwards."""
    trigger = (
        await made(database, account, connection, TriggerForm(TriggerKind.ORDER_UPDATED, interval=86_400))
    ).trigger
    await told(database, next_in=86_400)
    clock.now += 5
    patch = TriggerPatch(interval=10, ceiling=5, time_zone="Europe/Paris")
    record = await triggers.change(database, account, trigger.id, patch, by=BY)
    assert (record.interval, record.ceiling, record.time_zone) == (10, 5, "Europe/Paris")
    assert record.progress.next_run_at == clock.now + 10
    with pytest.raises(Invalid):
        await triggers.change(database, account, trigger.id, TriggerPatch(url=URL), by=BY)

"""What triggers know of catalogues, in the database: written with what was told, bounded, and gone with the trigger."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from relay.database import catalogue, connections, events, triggers
from relay.database.cycles import LEASE_SECONDS, Cycles
from relay.database.engine import Database
from relay.database.errors import Conflict, NotFound
from relay.database.tables import CatalogueEntryRow
from relay.database.triggers import TriggerForm
from relay.trigger_records import Cycle, Entry, LeaseLostError, Noted, Section, TriggerKind, Work
from tests.relay.database.scene import BY, Clock, form

KIND = TriggerKind.PRODUCT_CATALOGUE
RUN = {"runs": 1, "section": "category", "after": 0}


@pytest.fixture
async def trigger(database: Database, account: str) -> str:
    connection = (await connections.create(database, account, form(), by=BY)).connection.id
    return (await triggers.create(database, account, connection, TriggerForm(KIND), by=BY)).trigger.id


async def claimed(database: Database) -> Work:
    (work,) = await Cycles(database).claim(9)
    return work


async def noted(database: Database, section: Section, *entries: Entry, gone: tuple[int, ...] = (), **more: Any) -> None:
    work = await claimed(database)
    cycle = Cycle(**({"state": RUN} | more), noted=Noted(section, entries, gone))
    await Cycles(database).finish(work.lease, cycle, next_run_at=database.now())


async def known(database: Database, section: Section = Section.PRODUCT, above: int = 0, most: int = 99) -> list[Entry]:
    work = await claimed(database)
    found = await Cycles(database).entries(work.lease, section, above, most)
    await Cycles(database).finish(work.lease, Cycle(RUN), next_run_at=database.now())
    return found


async def test_entries_are_kept_by_section_and_id(database: Database, trigger: str) -> None:
    """In the order of ids, from behind one on; the last word of each counts."""
    assert trigger
    first = Entry(7, "a"), Entry(30, "b", "c", settled=False), Entry(4, "d")
    await noted(database, Section.PRODUCT, *first)
    await noted(database, Section.CATEGORY, Entry(7, "x"))
    assert await known(database) == [first[2], first[0], first[1]]
    assert await known(database, above=4, most=1) == [first[0]]
    await noted(database, Section.PRODUCT, Entry(7, "new", "told"), gone=(4, 99))
    assert await known(database) == [Entry(7, "new", "told"), first[1]]
    assert await known(database, Section.CATEGORY) == [Entry(7, "x")]


async def test_thousands_at_once(database: Database, trigger: str) -> None:
    """More than one statement takes values for, twice."""
    many = [Entry(number, "digest") for number in range(1, 5001)]
    for _ in range(2):
        await noted(database, Section.PRODUCT, *many)
    assert len(await known(database, most=6000)) == 5000
    assert await catalogue.known(database, trigger, Section.PRODUCT, range(4990, 5010)) == set(range(4990, 5001))


async def test_who_has_lost_the_lease_writes_nothing(
    database: Database, account: str, trigger: str, clock: Clock
) -> None:
    """Neither what is known nor an event."""
    late = await claimed(database)
    clock.now += LEASE_SECONDS
    await noted(database, Section.PRODUCT, Entry(1, "a"))
    cycle = Cycle(RUN, [{"id": 1}], noted=Noted(Section.PRODUCT, [Entry(1, "b")]))
    with pytest.raises(LeaseLostError):
        await Cycles(database).finish(late.lease, cycle, next_run_at=0)
    assert await known(database) == [Entry(1, "a")]
    assert (await events.page(database, account, trigger)).items == ()


async def test_events_are_numbered(database: Database, account: str, trigger: str) -> None:
    """From 1 on, each trigger's own, so that a receiver sees where one is missing."""
    for number in (1, 2, 3):
        await noted(database, Section.PRODUCT, items=[{"id": number}])
    page = await events.page(database, account, trigger)
    assert [json.loads(event.body)["data"]["number"] for event in page.items] == [1, 2, 3]
    standing = await catalogue.standing(database, account, trigger)
    assert (standing.number, standing.events) == (3, page.next)


async def test_where_a_trigger_stands(database: Database, account: str, stranger: str, trigger: str) -> None:
    """Before its first run there is nothing to begin with; of orders never; of another account's it is unknown."""
    with pytest.raises(Conflict) as early:
        await catalogue.standing(database, account, trigger)
    assert early.value.code == "snapshot_not_ready"
    await noted(database, Section.PRODUCT)
    assert (await catalogue.standing(database, account, trigger)).events is None
    with pytest.raises(NotFound):
        await catalogue.standing(database, stranger, trigger)
    connection = (await triggers.find(database, account, trigger)).connection
    wanted = TriggerForm(TriggerKind.ORDER_UPDATED)
    orders = (await triggers.create(database, account, connection, wanted, by=BY)).trigger
    with pytest.raises(Conflict) as other:
        await catalogue.standing(database, account, orders.id)
    assert other.value.code == "not_a_catalogue"


async def test_what_is_known_goes_with_the_trigger(database: Database, account: str, trigger: str) -> None:
    """Nothing of it stays behind."""
    await noted(database, Section.PRODUCT, Entry(1, "a"))
    await triggers.delete(database, account, trigger, by=BY)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(CatalogueEntryRow)) == 0


async def test_a_run_that_is_held_back_goes_on_soon(
    database: Database, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is far behind stops a run in its middle: not for the half a day that lies between two."""
    monkeypatch.setattr(events, "BEHIND_MOST", 1)
    connection = (await connections.create(database, account, form(name="Sent"), by=BY)).connection.id
    sent = TriggerForm(KIND, url="https://hooks.example.com/in")
    made = (await triggers.create(database, account, connection, sent, by=BY)).trigger
    assert made.interval == 43_200
    await noted(database, Section.PRODUCT, items=[{"id": 1}])
    assert await Cycles(database).claim(9) == []
    progress = (await triggers.find(database, account, made.id)).progress
    assert progress.fault
    assert progress.fault.code == "endpoint_behind"
    assert progress.next_run_at <= database.now() + 900

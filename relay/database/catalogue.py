"""Catalogues: what triggers know of them, as digests by id, and how far a receiver can be told from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete as delete_rows
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database import events
from relay.database.engine import Database
from relay.database.errors import Conflict
from relay.database.names import find_row
from relay.database.records import Accounts
from relay.database.tables import CatalogueEntryRow, TriggerRow
from relay.trigger_records import Entry, Noted, Section, TriggerKind

_AT_ONCE = 500
"""Ids in one statement: both databases take some 32,000 values."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a trigger stands. `events` is the cursor behind which everything is told that changes from now on."""

    connection: str
    time_zone: str | None
    number: int
    events: str | None


async def entries(session: AsyncSession, trigger: str, section: Section, above: int, most: int) -> list[Entry]:
    """In the order of ids, from behind `above` on."""
    mine = CatalogueEntryRow.trigger == trigger, CatalogueEntryRow.section == section.value
    wanted = select(CatalogueEntryRow).where(*mine, CatalogueEntryRow.subject > above)
    rows = await session.scalars(wanted.order_by(CatalogueEntryRow.subject).limit(most))
    return [Entry(row.subject, row.overview, row.content, row.settled) for row in rows]


async def note(session: AsyncSession, trigger: str, noted: Noted) -> None:
    """Write it into the transaction that makes it true."""
    section = noted.section.value
    mine = CatalogueEntryRow.trigger == trigger, CatalogueEntryRow.section == section
    over = [*noted.gone, *(entry.id for entry in noted.entries)]
    for at in range(0, len(over), _AT_ONCE):
        part = CatalogueEntryRow.subject.in_(over[at : at + _AT_ONCE])
        await session.execute(delete_rows(CatalogueEntryRow).where(*mine, part))
    rows = [
        {
            "trigger": trigger,
            "section": section,
            "subject": entry.id,
            "overview": entry.overview,
            "content": entry.content,
            "settled": entry.settled,
        }
        for entry in noted.entries
    ]
    if rows:
        await session.execute(insert(CatalogueEntryRow), rows)


async def standing(database: Database, accounts: Accounts, trigger: str) -> Standing:
    """Raises NotFound, Conflict `not_a_catalogue`, `snapshot_not_ready`."""
    async with database.reading() as session:
        row = await find_row(session, TriggerRow, accounts, trigger)
        if row.kind != TriggerKind.PRODUCT_CATALOGUE:
            raise Conflict("not_a_catalogue", "only a trigger of the kind product-catalogue has a snapshot")
        if not row.state.get("runs"):
            raise Conflict("snapshot_not_ready", "its first run is not over: the event with `ready` tells when it is")
        return Standing(row.connection or "", row.time_zone, row.told, await events.newest(session, row.id))


async def known(database: Database, trigger: str, section: Section, ids: Sequence[int]) -> set[int]:
    """Which of these a trigger knows, and will tell of when they change or go; one page's ids at a time."""
    mine = CatalogueEntryRow.trigger == trigger, CatalogueEntryRow.section == section.value
    async with database.reading() as session:
        return set(
            await session.scalars(select(CatalogueEntryRow.subject).where(*mine, CatalogueEntryRow.subject.in_(ids)))
        )

"""Who changed what, when and from where: one event per change, written in the change's own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.engine import Database
from relay.database.paging import LIMIT, read_page
from relay.database.records import EVERY_ACCOUNT, Accounts, Actor, AuditRecord, Page
from relay.database.tables import AuditEventRow

KEEP_SECONDS = 400 * 86400
"""A year, and the month in which it is looked back on."""
KEEP_EVENTS = 100_000
"""Of one account: nobody can fill the database, nor push another account's events out."""
PRUNE_EVERY = 256
"""Events between two looks for what need not be kept."""


async def note(
    session: AsyncSession, by: Actor, action: str, subject: str, *, at: int, account: str | None, **details: Any
) -> None:
    """Write an event into the transaction. `details` go into JSON and must hold no secret."""
    event = insert(AuditEventRow).values(
        at=at, account=account, actor=by.id, source=by.source, action=action, subject=subject, details=details
    )
    seq = await session.scalar(event.returning(AuditEventRow.seq))
    if seq is not None and seq % PRUNE_EVERY == 0:
        await _prune(session, account, at)


@dataclass(frozen=True, slots=True)
class Event:
    """A change outside of the database, which has no transaction to be noted in; its parts as in `note`."""

    by: Actor
    action: str
    subject: str
    account: str
    details: dict[str, Any]

    async def note(self, session: AsyncSession, at: int) -> None:
        await note(session, self.by, self.action, self.subject, at=at, account=self.account, **self.details)


async def note_alone(database: Database, event: Event) -> None:
    """In a transaction of its own. Raises DatabaseUnavailable."""
    async with database.writing() as session:
        await event.note(session, database.now())


async def page(
    database: Database,
    accounts: Accounts,
    *,
    subject: str | None = None,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[AuditRecord]:
    """The newest events first, all or those of one subject (an id)."""
    statement = select(AuditEventRow)
    if accounts is not EVERY_ACCOUNT:
        statement = statement.where(AuditEventRow.account == accounts)
    if subject is not None:
        statement = statement.where(AuditEventRow.subject == subject.replace("\x00", ""))
    async with database.reading() as session:
        return await read_page(
            session, statement, [AuditEventRow.seq], _record, cursor=cursor, limit=limit, descending=True
        )


async def last_at(session: AsyncSession, action: str, subject: str) -> int | None:
    """When that was last noted of the subject."""
    statement = select(AuditEventRow.at).where(AuditEventRow.subject == subject, AuditEventRow.action == action)
    return await session.scalar(statement.order_by(AuditEventRow.seq.desc()).limit(1))


async def _prune(session: AsyncSession, account: str | None, now: int) -> None:
    """Forget what is too old, whoever's it is, and of this account what is too much. Events lie in order of time."""
    seq = AuditEventRow.seq
    kept = select(seq).where(AuditEventRow.at >= now - KEEP_SECONDS).order_by(seq).limit(1)
    await session.execute(delete(AuditEventRow).where(seq < kept.scalar_subquery()))
    newest = select(seq).where(AuditEventRow.account == account).order_by(seq.desc()).offset(KEEP_EVENTS).limit(1)
    surplus = AuditEventRow.account == account, seq <= newest.scalar_subquery()
    await session.execute(delete(AuditEventRow).where(*surplus))


def _record(row: AuditEventRow) -> AuditRecord:
    return AuditRecord(row.seq, row.at, row.account, row.actor, row.source, row.action, row.subject, row.details)

"""The rows that running nodes follow: what has changed, in the order in which it became true."""

from __future__ import annotations

from typing import Literal, cast

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.engine import Database
from relay.database.tables import ChangeRow
from relay.records import Change

Kind = Literal["connection", "api_token", "agent", "agent_token", "agent_key", "instance", "account", "authority"]

KEEP_SECONDS = 3 * 86400
"""Several times a certificate's life: revocations are read back from here when a node starts."""
BATCH = 500


async def append(session: AsyncSession, kind: Kind, subject: str, *, at: int, revoked: bool = False) -> None:
    """Write a change into the transaction that makes it true, and forget those that no node needs."""
    await session.execute(delete(ChangeRow).where(ChangeRow.at < at - KEEP_SECONDS))
    await session.execute(insert(ChangeRow).values(at=at, kind=kind, subject=subject, revoked=revoked))


async def latest(database: Database) -> int:
    """The number of the newest change, 0 before the first."""
    async with database.reading() as session:
        return await session.scalar(select(func.max(ChangeRow.seq))) or 0


async def after(database: Database, seq: int, *, limit: int = BATCH) -> list[Change]:
    """The changes that followed number `seq`, oldest first."""
    async with database.reading() as session:
        return await read_after(session, seq, limit=limit)


async def read_after(session: AsyncSession, seq: int, *, limit: int = BATCH) -> list[Change]:
    rows = await session.scalars(select(ChangeRow).where(ChangeRow.seq > seq).order_by(ChangeRow.seq).limit(limit))
    return [_change(row) for row in rows]


async def since(database: Database, at: int) -> tuple[int, list[Change]]:
    """The number of the newest change, and all changes dated `at` or later, oldest first, as of one moment."""
    async with database.reading() as session:
        newest = await session.scalar(select(func.max(ChangeRow.seq))) or 0
        rows = await session.scalars(select(ChangeRow).where(ChangeRow.at >= at).order_by(ChangeRow.seq))
        return newest, [_change(row) for row in rows]


def _change(row: ChangeRow) -> Change:
    return Change(row.seq, cast("Kind", row.kind), row.subject, row.revoked)

"""Events of triggers: written with what they tell of, read in their order, forgotten after a week."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database.engine import Database
from relay.database.names import find_row
from relay.database.paging import LIMIT, LIMIT_MOST, encode, read_page
from relay.database.records import Accounts, Page, TriggerEventRecord
from relay.database.tables import TriggerEventRow, TriggerRow
from relay.trigger_records import Delivery

KEEP_SECONDS = 7 * 86400
KEEP_MOST = 10_000
"""Events of one trigger: a week of one a minute."""
KEEP_BYTES = 64 * 1024 * 1024
"""Of one trigger. The oldest go first, but none that waits for delivery: those are held in bounds by `is_behind`."""
BEHIND_MOST = 1_000
BEHIND_BYTES = 16 * 1024 * 1024


async def add(session: AsyncSession, trigger: TriggerRow, items: Sequence[Mapping[str, Any]], at: int) -> str:
    """Write an event into the transaction that makes it true; its id, which it keeps however often it is sent."""
    data = {
        "trigger": trigger.id,
        "connection": trigger.connection,
        "number": trigger.told + 1,
        "items": list(items),
    }
    return await write(session, trigger, trigger.kind, data, at)


async def write(session: AsyncSession, trigger: TriggerRow, type_: str, data: Mapping[str, Any], at: int) -> str:
    """Write an event of that type, which happened at `at` (unix seconds); its id."""
    event = new_id(TriggerEventRow.prefix)
    trigger.told += 1
    body = json.dumps(
        {
            "id": event,
            "type": type_,
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "data": data,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    await session.execute(
        insert(TriggerEventRow).values(
            id=event,
            account=trigger.account,
            trigger=trigger.id,
            body=body,
            size=len(body.encode()),
            created_at=at,
            delivery=Delivery.HELD if trigger.url is None else Delivery.WAITING,
            since=at,
            attempts=0,
            next_at=at,
            leased_until=0,
            fence=0,
        )
    )
    return event


async def page(
    database: Database,
    accounts: Accounts,
    trigger: str,
    *,
    of: type[TriggerRow] = TriggerRow,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[TriggerEventRecord]:
    """Oldest first. `next` is where to go on even at the end, for what comes later; None before the first event.

    `of`: whose, triggers' or alert subscriptions'. Raises NotFound, Invalid `cursor`.
    """
    async with database.reading() as session:
        owner = await find_row(session, of, accounts, trigger)
        mine = TriggerEventRow.account == owner.account, TriggerEventRow.trigger == owner.id
        statement = select(TriggerEventRow).where(*mine)
        part = await read_page(session, statement, [TriggerEventRow.seq], _placed, cursor=cursor, limit=limit)
    last = encode([part.items[-1][0]]) if part.items else cursor
    return Page(tuple(record for _, record in part.items), last)


async def newest(session: AsyncSession, trigger: str) -> str | None:
    """The cursor behind all events that there are; None where there is none."""
    last = await session.scalar(select(func.max(TriggerEventRow.seq)).where(TriggerEventRow.trigger == trigger))
    return None if last is None else encode([last])


async def is_behind(session: AsyncSession, trigger: str) -> bool:
    """Whether so much waits for the trigger's endpoint that no more is made; the store remembers what has changed."""
    waiting = TriggerEventRow.trigger == trigger, TriggerEventRow.delivery == Delivery.WAITING
    found = await session.execute(select(func.count(), func.sum(TriggerEventRow.size)).where(*waiting))
    number, size = found.one()
    return number >= BEHIND_MOST or (size or 0) >= BEHIND_BYTES


async def forget(session: AsyncSession, trigger: str, at: int) -> None:
    """Drop what is older than a week, or too much, and does not wait for delivery."""
    over = TriggerEventRow.trigger == trigger, TriggerEventRow.delivery != Delivery.WAITING
    await session.execute(delete_rows(TriggerEventRow).where(*over, TriggerEventRow.created_at < at - KEEP_SECONDS))
    total = await session.execute(
        select(func.count(), func.sum(TriggerEventRow.size)).where(TriggerEventRow.trigger == trigger)
    )
    number, size = total.one()
    if number <= KEEP_MOST and (size or 0) <= KEEP_BYTES:
        return
    oldest = select(TriggerEventRow.seq).where(*over).order_by(TriggerEventRow.seq).limit(LIMIT_MOST)
    await session.execute(delete_rows(TriggerEventRow).where(TriggerEventRow.seq.in_(oldest)))


def record(row: TriggerEventRow) -> TriggerEventRecord:
    return TriggerEventRecord(
        id=row.id,
        trigger=row.trigger,
        body=row.body,
        created_at=row.created_at,
        delivery=Delivery(row.delivery),
        attempts=row.attempts,
        last_failure=row.last_failure,
        ended_at=row.ended_at,
    )


def _placed(row: TriggerEventRow) -> tuple[int, TriggerEventRecord]:
    return row.seq, record(row)

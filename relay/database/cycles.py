"""Cycles of triggers: which are due, who works on them, and what came of it, written as a whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database import catalogue, events
from relay.database.desk import reading, writing
from relay.database.engine import Database
from relay.database.shares import CANDIDATES, CANDIDATES_MOST, Share
from relay.database.tables import TriggerMarkRow, TriggerRow
from relay.trigger_records import Cycle, Entry, Fault, Lease, LeaseLostError, Mark, Section, TriggerKind, Work

AT_ONCE = 16
"""Of one account, on all nodes: a slow shop's cycle lasts minutes, and others' triggers must not wait for it."""
LEASE_SECONDS = 30
"""After so long without a renewal another node takes over: the one that had it has died or stands still."""
_BEHIND = Fault("endpoint_behind", "caller", "the endpoint does not take events as fast as they come: none is made now")
_BEHIND_SECONDS = 60
_BEHIND_SECONDS_MOST = 900
"""However long the interval is: what was held back may stand in the middle of its work."""


class Cycles:
    """A database as those who run triggers see it. Methods raise DeskAwayError, and LeaseLostError as said."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, most: int) -> list[Work]:
        """Take up to `most` triggers that are due and that nobody works on, the longest overdue first."""
        async with reading(self._database) as session:
            if not await self._due(session, most):
                return []
        async with writing(self._database) as session:
            rows = await self._due(session, most)
            return [_taken(row, self._database.now()) for row in rows if not await self._held_back(session, row)]

    async def renew(self, lease: Lease) -> None:
        """Keep the lease for another while. Raises LeaseLostError."""
        async with writing(self._database) as session:
            row = await _own(session, lease)
            row.leased_until = self._database.now() + LEASE_SECONDS

    async def marks(self, lease: Lease, subjects: Sequence[int]) -> dict[int, Mark]:
        """What was told of these subjects last, by subject; one page's ids at a time."""
        wanted = TriggerMarkRow.trigger == lease.subject, TriggerMarkRow.subject.in_(subjects)
        async with reading(self._database) as session:
            rows = await session.scalars(select(TriggerMarkRow).where(*wanted))
            return {row.subject: Mark(row.subject, row.stamp, row.digest) for row in rows}

    async def entries(self, lease: Lease, section: Section, above: int, most: int) -> list[Entry]:
        """What is known of a section, in the order of ids, from behind `above` on: at most so many."""
        async with reading(self._database) as session:
            return await catalogue.entries(session, lease.subject, section, above, most)

    async def finish(self, lease: Lease, cycle: Cycle, *, next_run_at: int) -> None:
        """State, marks and event, in one transaction. Raises LeaseLostError, with nothing written."""
        async with writing(self._database) as session:
            row, at = await _own(session, lease), self._database.now()
            row.state = dict(cycle.state)
            row.failures = 0 if cycle.fault is None else row.failures + 1
            row.fault = None if cycle.fault is None else asdict(cycle.fault)
            asked_meanwhile = row.next_run_at >= lease.taken_at
            row.next_run_at = min(row.next_run_at, next_run_at) if asked_meanwhile else next_run_at
            row.last_run_at, row.leased_until = at, 0
            await _remember(session, row.id, cycle)
            if cycle.noted is not None:
                await catalogue.note(session, row.id, cycle.noted)
            if cycle.items:
                await events.add(session, row, cycle.items, at)
            await events.forget(session, row.id, at)

    async def _due(self, session: AsyncSession, most: int) -> Sequence[TriggerRow]:
        """The longest overdue; of one account no more than its share."""
        now, order = self._database.now(), (TriggerRow.next_run_at, TriggerRow.id)
        busy = select(TriggerRow.account).where(TriggerRow.leased_until > now)
        due = TriggerRow.enabled.is_(True), TriggerRow.next_run_at <= now, TriggerRow.leased_until <= now
        rank = func.row_number().over(partition_by=TriggerRow.account, order_by=order)
        ranked = select(TriggerRow.id, TriggerRow.account, rank.label("rank"), *order).where(*due).subquery()
        first = ranked.c.rank <= CANDIDATES
        overdue = select(ranked.c.id, ranked.c.account).where(first).order_by(ranked.c.next_run_at, ranked.c.id)
        share = Share(AT_ONCE, await session.scalars(busy))
        chosen: list[str] = []
        for trigger, account in await session.execute(overdue.limit(CANDIDATES_MOST)):
            if len(chosen) < most and share.has_room(account):
                share.take(account)
                chosen.append(trigger)
        return (await session.scalars(select(TriggerRow).where(TriggerRow.id.in_(chosen)).order_by(*order))).all()

    async def _held_back(self, session: AsyncSession, row: TriggerRow) -> bool:
        if row.url is None or not await events.is_behind(session, row.id):
            return False
        row.next_run_at = self._database.now() + min(max(row.interval, _BEHIND_SECONDS), _BEHIND_SECONDS_MOST)
        row.fault = asdict(_BEHIND)
        return True


def _taken(row: TriggerRow, at: int) -> Work:
    row.fence += 1
    row.leased_until = at + LEASE_SECONDS
    row.next_run_at = min(row.next_run_at, at - 1)
    return Work(
        lease=Lease(row.id, row.fence, at),
        account=row.account,
        connection=row.connection or "",
        kind=TriggerKind(row.kind),
        interval=row.interval,
        ceiling=row.ceiling,
        time_zone=row.time_zone,
        state=row.state,
        failures=row.failures,
        created_at=row.created_at,
    )


async def _own(session: AsyncSession, lease: Lease) -> TriggerRow:
    row = await session.get(TriggerRow, lease.subject)
    if row is None or row.fence != lease.fence:
        raise LeaseLostError
    return row


async def _remember(session: AsyncSession, trigger: str, cycle: Cycle) -> None:
    mine = TriggerMarkRow.trigger == trigger
    if cycle.marks:
        again = [mark.subject for mark in cycle.marks]
        await session.execute(delete_rows(TriggerMarkRow).where(mine, TriggerMarkRow.subject.in_(again)))
        rows = [{"trigger": trigger, **asdict(mark)} for mark in {mark.subject: mark for mark in cycle.marks}.values()]
        await session.execute(insert(TriggerMarkRow), rows)
    if cycle.forget_before is not None:
        await session.execute(delete_rows(TriggerMarkRow).where(mine, TriggerMarkRow.stamp < cycle.forget_before))

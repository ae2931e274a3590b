"""Deliveries: which event is next for which endpoint, who sends it, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from relay.database import audit, endpoints, events, triggers
from relay.database.desk import reading, writing
from relay.database.engine import Database
from relay.database.errors import Conflict, NotFound
from relay.database.names import find_row, is_id
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, Page, TriggerEventRecord
from relay.database.secrets import DoesNotOpen, UnknownMasterKey
from relay.database.shares import CANDIDATES, CANDIDATES_MOST, Share
from relay.database.tables import TriggerEventRow, TriggerRow
from relay.trigger_records import Delivery, Lease, LeaseLostError, Parcel

AT_ONCE = 16
"""Of one account, …"""
AT_ONCE_PER_HOST = 8
"""… and to one host, whatever triggers lead there, on all nodes: a host that hangs takes 15 s for each."""
LEASE_SECONDS = 60
"""Longer than any endpoint may take to answer; after it another node sends the event again."""
GONE = "endpoint_gone"
SECRET_LOST = "secret_lost"  # noqa: S105 - a reason, not a secret
_BY = Actor("relay", "delivery")

log = structlog.get_logger()


class Deliveries:
    """A database as those who deliver see it. Methods raise DeskAwayError, and LeaseLostError as said."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, most: int) -> list[Parcel]:
        """Take up to `most` parcels that are due: of each trigger only the first that is neither done nor dead."""
        async with reading(self._database) as session:
            if not await self._due(session, most):
                return []
        async with writing(self._database) as session:
            taken = [await self._taken(session, event, row) for event, row in await self._due(session, most)]
            return [parcel for parcel in taken if parcel]

    async def done(self, lease: Lease) -> None:
        """The endpoint has it. Raises LeaseLostError."""
        await self._ended(lease, Delivery.DONE, None)

    async def dead(self, lease: Lease, why: str) -> None:
        """It is given up, until somebody asks for it to be sent again. Raises LeaseLostError."""
        await self._ended(lease, Delivery.DEAD, why)

    async def again(self, lease: Lease, why: str, next_at: int) -> None:
        """It failed, and is tried again then. Raises LeaseLostError."""
        async with writing(self._database) as session:
            row = await _own(session, lease)
            row.attempts += 1
            row.last_failure, row.next_at, row.leased_until = why, next_at, 0

    async def gone(self, lease: Lease, why: str) -> None:
        """The endpoint wants nothing more: the trigger is disabled, its events wait. Raises LeaseLostError."""
        async with writing(self._database) as session:
            row, at = await _own(session, lease), self._database.now()
            row.attempts += 1
            row.last_failure, row.next_at, row.leased_until = why, at, 0
            trigger = await session.get(TriggerRow, row.trigger)
            if trigger is not None:
                await triggers.disable(session, trigger, GONE, by=_BY, at=at)

    async def _due(self, session: AsyncSession, most: int) -> Sequence[tuple[TriggerEventRow, TriggerRow]]:
        """The longest overdue; of one account, and to one host, no more than its share."""
        now, order = self._database.now(), (TriggerEventRow.next_at, TriggerEventRow.seq)
        of_trigger = TriggerRow.id == TriggerEventRow.trigger
        ends = select(TriggerRow.account, TriggerRow.url).join(TriggerEventRow, of_trigger)
        under_way = TriggerEventRow.delivery == Delivery.WAITING, TriggerEventRow.leased_until > now
        busy = [(account, endpoints.host_of(url)) for account, url in await session.execute(ends.where(*under_way))]
        accounts = Share(AT_ONCE, [account for account, _ in busy])
        hosts = Share(AT_ONCE_PER_HOST, [host for _, host in busy])
        rank = func.row_number().over(partition_by=TriggerRow.account, order_by=order)
        ranked = ends.add_columns(rank.label("rank"), *order).where(*_due(now)).subquery()
        overdue = (
            select(ranked.c.seq, ranked.c.account, ranked.c.url)
            .where(ranked.c.rank <= CANDIDATES)
            .order_by(ranked.c.next_at, ranked.c.seq)
            .limit(CANDIDATES_MOST)
        )
        chosen: list[int] = []
        for seq, account, url in await session.execute(overdue):
            host = endpoints.host_of(url)
            if len(chosen) < most and accounts.has_room(account) and hosts.has_room(host):
                accounts.take(account)
                hosts.take(host)
                chosen.append(seq)
        pairs = select(TriggerEventRow, TriggerRow).join(TriggerRow, of_trigger).order_by(*order)
        rows = await session.execute(pairs.where(TriggerEventRow.seq.in_(chosen)))
        return [(event, row) for event, row in rows]

    async def _taken(self, session: AsyncSession, event: TriggerEventRow, row: TriggerRow) -> Parcel | None:
        at = self._database.now()
        try:
            signing = endpoints.signing_secrets(self._database, row, at)
        except (UnknownMasterKey, DoesNotOpen) as error:
            log.error("signing secret does not open", trigger=row.id, reason=str(error))
            await triggers.disable(session, row, SECRET_LOST, by=_BY, at=at)
            return None
        event.fence += 1
        event.leased_until = at + LEASE_SECONDS
        return Parcel(
            lease=Lease(event.id, event.fence),
            trigger=event.trigger,
            url=row.url or "",
            secrets=signing,
            body=event.body.encode(),
            attempts=event.attempts,
            since=event.since,
        )

    async def _ended(self, lease: Lease, delivery: Delivery, why: str | None) -> None:
        async with writing(self._database) as session:
            row = await _own(session, lease)
            row.attempts += 1
            row.delivery, row.last_failure, row.ended_at = delivery, why, self._database.now()
            row.leased_until = 0


def _due(now: int) -> tuple[ColumnElement[bool], ...]:
    """Of each trigger only the first that is neither done nor dead."""
    earlier = aliased(TriggerEventRow)
    first = ~exists().where(
        earlier.trigger == TriggerEventRow.trigger,
        earlier.delivery == Delivery.WAITING,
        earlier.seq < TriggerEventRow.seq,
    )
    waits = TriggerEventRow.delivery == Delivery.WAITING, TriggerEventRow.next_at <= now
    return (*waits, TriggerEventRow.leased_until <= now, TriggerRow.enabled.is_(True), first)


async def dead_letters(
    database: Database,
    accounts: Accounts,
    trigger: str,
    *,
    of: type[TriggerRow] = TriggerRow,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[TriggerEventRecord]:
    """The events that were given up, oldest first; `of` triggers or alert subscriptions.

    Raises NotFound, Invalid `cursor`.
    """
    async with database.reading() as session:
        owner = await find_row(session, of, accounts, trigger)
        dead = TriggerEventRow.trigger == owner.id, TriggerEventRow.delivery == Delivery.DEAD
        keys = [TriggerEventRow.seq]
        statement = select(TriggerEventRow).where(*dead)
        return await read_page(session, statement, keys, events.record, cursor=cursor, limit=limit)


async def replay(
    database: Database, accounts: Accounts, trigger: str, event: str, *, of: type[TriggerRow] = TriggerRow, by: Actor
) -> TriggerEventRecord:
    """Have an event that was given up sent again, under its old id and before all that waits behind it.

    `of`: whose, triggers' or alert subscriptions'. Raises NotFound, Conflict `not_dead`.
    """
    async with database.writing() as session:
        row = await find_row(session, TriggerEventRow, accounts, event)
        if row.trigger != trigger or not is_id(trigger, of.prefix):
            raise NotFound(TriggerEventRow.noun, event)
        if row.delivery != Delivery.DEAD:
            raise Conflict("not_dead", "this event was not given up: it was delivered, or waits for delivery")
        at = database.now()
        row.delivery, row.attempts, row.ended_at = Delivery.WAITING, 0, None
        row.since = row.next_at = at
        await audit.note(session, by, "trigger_event.replay", row.id, at=at, account=row.account, trigger=trigger)
        return events.record(row)


async def _own(session: AsyncSession, lease: Lease) -> TriggerEventRow:
    row = await session.scalar(select(TriggerEventRow).where(TriggerEventRow.id == lease.subject))
    if row is None or row.fence != lease.fence or row.delivery != Delivery.WAITING:
        raise LeaseLostError
    return row

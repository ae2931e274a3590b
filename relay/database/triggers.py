"""Triggers: what is watched of a store, how often, and where its events go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import audit, endpoints
from relay.database.connection_form import UNCHANGED, Unchanged
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid
from relay.database.names import find_row
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, NewTrigger, Page, TriggerProgress, TriggerRecord, any_state
from relay.database.tables import ConnectionRow, TriggerEventRow, TriggerRow
from relay.trigger_records import PACES, Delivery, Fault, TriggerKind

INTERVAL_MOST = 7 * 86400
"""Seconds. `PACES` has what is usual, and the least."""
CEILING = 200
CEILING_MOST = 500
"""Items of one event: some 200 KB."""
TRIGGERS_MOST = 20
"""Of one connection: each asks the store for the same again."""


@dataclass(frozen=True, slots=True)
class TriggerForm:
    """Without `url` the events are pulled. `time_zone` is an IANA name, for shops that do not tell.

    Without `interval` it is looked at as often as is usual for the kind.
    """

    kind: TriggerKind
    interval: int | None = None
    ceiling: int = CEILING
    time_zone: str | None = None
    url: str | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class TriggerPatch:
    interval: int | Literal[Unchanged.UNCHANGED] = UNCHANGED
    ceiling: int | Literal[Unchanged.UNCHANGED] = UNCHANGED
    time_zone: str | Literal[Unchanged.UNCHANGED] | None = UNCHANGED
    url: str | Literal[Unchanged.UNCHANGED] = UNCHANGED
    enabled: bool | Literal[Unchanged.UNCHANGED] = UNCHANGED


async def create(
    database: Database, accounts: Accounts, connection: str, form: TriggerForm, *, by: Actor
) -> NewTrigger:
    """Watch a connection's store from now on. Raises NotFound, Invalid, Conflict `too_many_triggers`."""
    interval = PACES[form.kind].interval if form.interval is None else form.interval
    _check(form.kind, interval, form.ceiling, form.time_zone, form.url)
    async with database.writing() as session:
        found = await find_row(session, ConnectionRow, accounts, connection)
        theirs = TriggerRow.connection == found.id
        if (await session.scalar(select(func.count()).select_from(TriggerRow).where(theirs)) or 0) >= TRIGGERS_MOST:
            raise Conflict("too_many_triggers", f"a connection has at most {TRIGGERS_MOST} triggers: delete one first")
        at = database.now()
        row = TriggerRow(
            id=new_id(TriggerRow.prefix),
            account=found.account,
            connection=found.id,
            kind=form.kind.value,
            interval=interval,
            ceiling=form.ceiling,
            time_zone=form.time_zone,
            url=form.url,
            enabled=form.enabled,
            state={},
            next_run_at=at,
            leased_until=0,
            fence=0,
            failures=0,
            created_at=at,
            updated_at=at,
        )
        secret = endpoints.give_secret(database, row) if form.url is not None else None
        session.add(row)
        await session.flush()
        record = _record(row, Counter())
        await _noted(session, by, "trigger.create", row, at, kind=row.kind, url=row.url)
        return NewTrigger(record, secret)


async def find(database: Database, accounts: Accounts, trigger: str) -> TriggerRecord:
    """Raises NotFound."""
    async with database.reading() as session:
        row = await find_row(session, TriggerRow, accounts, trigger)
        return _record(row, (await counted(session, [row]))[row.id])


async def page(
    database: Database, accounts: Accounts, connection: str, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[TriggerRecord]:
    """One connection's triggers, oldest first. Raises NotFound."""
    async with database.reading() as session:
        owner = await find_row(session, ConnectionRow, accounts, connection)
        mine = TriggerRow.account == owner.account, TriggerRow.connection == owner.id
        keys = [TriggerRow.created_at, TriggerRow.id]
        part = await read_page(session, select(TriggerRow).where(*mine), keys, _as_it_is, cursor=cursor, limit=limit)
        counts = await counted(session, part.items)
        return Page(tuple(_record(row, counts[row.id]) for row in part.items), part.next)


async def change(
    database: Database,
    accounts: Accounts,
    trigger: str,
    patch: TriggerPatch,
    *,
    by: Actor,
    expect: Callable[[TriggerRecord], None] = any_state,
) -> TriggerRecord:
    """Change what the patch names. Enabled again, a trigger goes on where it stopped.

    Raises NotFound, Invalid, Conflict `secret_lost`.
    """
    async with database.writing() as session:
        row = await find_row(session, TriggerRow, accounts, trigger)
        expect(_record(row, Counter()))
        given = endpoints.given(
            row, vars(patch), pulled="the events of this trigger are pulled: make another one to have them sent"
        )
        at, before = database.now(), (row.enabled, row.url)
        for name, value in given.items():
            setattr(row, name, value)
        if row.enabled and before != (row.enabled, row.url):
            await endpoints.begin_again(session, row, at)
        _check(TriggerKind(row.kind), row.interval, row.ceiling, row.time_zone, row.url)
        if given.get("enabled"):
            row.disabled_because = None
            row.next_run_at = at
        row.next_run_at = min(row.next_run_at, at + row.interval)
        row.updated_at = at
        await _noted(session, by, "trigger.update", row, at, changed=", ".join(sorted(given)))
        return _record(row, (await counted(session, [row]))[row.id])


async def delete(
    database: Database,
    accounts: Accounts,
    trigger: str,
    *,
    by: Actor,
    expect: Callable[[TriggerRecord], None] = any_state,
) -> None:
    """With its events, also those that wait for delivery. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, TriggerRow, accounts, trigger)
        expect(_record(row, Counter()))
        await _noted(session, by, "trigger.delete", row, database.now(), kind=row.kind)
        await session.execute(delete_rows(TriggerRow).where(TriggerRow.id == row.id))


async def rotate_secret(database: Database, accounts: Accounts, trigger: str, *, by: Actor) -> NewTrigger:
    """Make another secret. For a day both sign, so that the receiver can change over without a gap.

    Raises NotFound, Conflict `nothing_signed`.
    """
    async with database.writing() as session:
        row, at = await find_row(session, TriggerRow, accounts, trigger), database.now()
        secret = endpoints.renew_secret(database, row, at)
        await _noted(session, by, "trigger.rotate_secret", row, at)
        return NewTrigger(_record(row, (await counted(session, [row]))[row.id]), secret)


async def run_soon(database: Database, accounts: Accounts, trigger: str, *, by: Actor) -> TriggerRecord:
    """Have the store looked at now, not when it is due. Raises NotFound, Conflict `trigger_disabled`."""
    async with database.writing() as session:
        row = await find_row(session, TriggerRow, accounts, trigger)
        if not row.enabled:
            raise Conflict("trigger_disabled", "the trigger is disabled: enable it first")
        at = row.next_run_at = database.now()
        await _noted(session, by, "trigger.run", row, at)
        return _record(row, (await counted(session, [row]))[row.id])


async def disable(session: AsyncSession, row: TriggerRow, because: str, *, by: Actor, at: int) -> None:
    """In a transaction that is open: the relay itself stops the trigger, until somebody enables it."""
    row.enabled, row.disabled_because = False, because
    await _noted(session, by, "trigger.disable", row, at, because=because)


def _check(kind: TriggerKind, interval: int, ceiling: int, time_zone: str | None, url: str | None) -> None:
    least = PACES[kind].least
    if not least <= interval <= INTERVAL_MOST:
        raise Invalid("interval", f"between {least} and {INTERVAL_MOST} seconds")
    if not 1 <= ceiling <= CEILING_MOST:
        raise Invalid("ceiling", f"between 1 and {CEILING_MOST} items in one event")
    endpoints.check(url)
    if time_zone is not None and not _is_zone(time_zone):
        raise Invalid("time_zone", "name it as the IANA does: Europe/Paris")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _as_it_is(row: TriggerRow) -> TriggerRow:
    return row


async def counted(session: AsyncSession, rows: Sequence[TriggerRow]) -> dict[str, Counter[str]]:
    """Events by trigger and what became of them."""
    counts: dict[str, Counter[str]] = {row.id: Counter() for row in rows}
    wanted = TriggerEventRow.trigger.in_(counts), TriggerEventRow.delivery.in_([Delivery.WAITING, Delivery.DEAD])
    grouping = TriggerEventRow.trigger, TriggerEventRow.delivery
    for trigger, delivery, number in await session.execute(
        select(*grouping, func.count()).where(*wanted).group_by(*grouping)
    ):
        counts[trigger][delivery] = number
    return counts


async def _noted(
    session: AsyncSession, by: Actor, action: str, row: TriggerRow, at: int, **details: str | None
) -> None:
    await audit.note(session, by, action, row.id, at=at, account=row.account, connection=row.connection, **details)


def _record(row: TriggerRow, counts: Counter[str]) -> TriggerRecord:
    progress = TriggerProgress(
        next_run_at=row.next_run_at,
        last_run_at=row.last_run_at,
        failures=row.failures,
        fault=Fault(**row.fault) if row.fault else None,
        disabled_because=row.disabled_because,
        waiting=counts[Delivery.WAITING],
        dead=counts[Delivery.DEAD],
    )
    return TriggerRecord(
        id=row.id,
        account=row.account,
        connection=row.connection or "",
        kind=TriggerKind(row.kind),
        interval=row.interval,
        ceiling=row.ceiling,
        time_zone=row.time_zone,
        url=row.url,
        enabled=row.enabled,
        former_secret_until=row.former_secret_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
        progress=progress,
    )

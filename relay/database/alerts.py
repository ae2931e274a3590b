"""Subscriptions to alerts: triggers that watch no store, with kinds of alerts instead of orders or products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.alert_records import AlertKind
from relay.database import audit, deliveries, endpoints, events
from relay.database.connection_form import UNCHANGED, Unchanged
from relay.database.engine import Database
from relay.database.errors import Conflict
from relay.database.names import find_row, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import (
    Accounts,
    Actor,
    AlertProgress,
    AlertRecord,
    NewAlert,
    Page,
    TriggerEventRecord,
    any_state,
)
from relay.database.tables import AlertRow
from relay.database.triggers import counted
from relay.trigger_records import Delivery

KIND = "alerts"
"""Of the triggers that are such subscriptions."""
ALERTS_MOST = 20
"""Of one account: each gets every alert."""
_NEVER = 2**53
"""When it is due for a look at a store; nodes of the version before know no other sign."""


@dataclass(frozen=True, slots=True)
class AlertForm:
    """Without `kinds` all alerts are meant; without `url` they are pulled."""

    kinds: tuple[AlertKind, ...] | None = None
    url: str | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class AlertPatch:
    kinds: tuple[AlertKind, ...] | Literal[Unchanged.UNCHANGED] | None = UNCHANGED
    url: str | Literal[Unchanged.UNCHANGED] = UNCHANGED
    enabled: bool | Literal[Unchanged.UNCHANGED] = UNCHANGED


async def create(database: Database, account: str, form: AlertForm, *, by: Actor) -> NewAlert:
    """Tell of what goes wrong from now on. Raises Invalid, Conflict `too_many_alerts`."""
    endpoints.check(form.url)
    async with database.writing() as session:
        theirs = AlertRow.account == account, AlertRow.kind == KIND
        if (await session.scalar(select(func.count()).select_from(AlertRow).where(*theirs)) or 0) >= ALERTS_MOST:
            raise Conflict("too_many_alerts", f"an account has at most {ALERTS_MOST} subscriptions: delete one first")
        at = database.now()
        row = AlertRow(
            id=new_id(AlertRow.prefix),
            account=account,
            kind=KIND,
            alert_kinds=_stored(form.kinds),
            interval=0,
            ceiling=1,
            url=form.url,
            enabled=form.enabled,
            state={},
            next_run_at=_NEVER,
            leased_until=0,
            fence=0,
            failures=0,
            created_at=at,
            updated_at=at,
        )
        secret = endpoints.give_secret(database, row) if form.url is not None else None
        session.add(row)
        await session.flush()
        await _noted(session, by, "alert.create", row, at, url=row.url)
        return NewAlert(_record(row, Counter()), secret)


async def find(database: Database, accounts: Accounts, alert: str) -> AlertRecord:
    """Raises NotFound."""
    async with database.reading() as session:
        return await _now(session, await find_row(session, AlertRow, accounts, alert))


async def page(
    database: Database, accounts: Accounts, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[AlertRecord]:
    """Oldest first. Raises Invalid `cursor`."""
    statement = within(select(AlertRow).where(AlertRow.kind == KIND), AlertRow, accounts)
    keys = [AlertRow.created_at, AlertRow.id]
    async with database.reading() as session:
        part = await read_page(session, statement, keys, lambda row: row, cursor=cursor, limit=limit)
        counts = await counted(session, part.items)
        return Page(tuple(_record(row, counts[row.id]) for row in part.items), part.next)


async def change(
    database: Database,
    accounts: Accounts,
    alert: str,
    patch: AlertPatch,
    *,
    by: Actor,
    expect: Callable[[AlertRecord], None] = any_state,
) -> AlertRecord:
    """Change what the patch names. Enabled again, what waits is sent.

    Raises NotFound, Invalid, Conflict `secret_lost`.
    """
    async with database.writing() as session:
        row = await find_row(session, AlertRow, accounts, alert)
        expect(_record(row, Counter()))
        given = endpoints.given(
            row, vars(patch), pulled="these alerts are pulled: make another subscription to have them sent"
        )
        before = row.enabled, row.url
        row.url, row.enabled = given.get("url", row.url), given.get("enabled", row.enabled)
        endpoints.check(row.url)
        row.updated_at = database.now()
        if row.enabled and before != (row.enabled, row.url):
            await endpoints.begin_again(session, row, row.updated_at)
        if "kinds" in given:
            row.alert_kinds = _stored(given["kinds"])
        if given.get("enabled"):
            row.disabled_because = None
        await _noted(session, by, "alert.update", row, row.updated_at, changed=", ".join(sorted(given)))
        return await _now(session, row)


async def delete(
    database: Database,
    accounts: Accounts,
    alert: str,
    *,
    by: Actor,
    expect: Callable[[AlertRecord], None] = any_state,
) -> None:
    """With its events, also those that wait for delivery. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, AlertRow, accounts, alert)
        expect(_record(row, Counter()))
        await _noted(session, by, "alert.delete", row, database.now())
        await session.execute(delete_rows(AlertRow).where(AlertRow.id == row.id))


async def rotate_secret(database: Database, accounts: Accounts, alert: str, *, by: Actor) -> NewAlert:
    """Make another secret. For a day both sign. Raises NotFound, Conflict `nothing_signed`."""
    async with database.writing() as session:
        row, at = await find_row(session, AlertRow, accounts, alert), database.now()
        secret = endpoints.renew_secret(database, row, at)
        await _noted(session, by, "alert.rotate_secret", row, at)
        return NewAlert(await _now(session, row), secret)


async def told(
    database: Database, accounts: Accounts, alert: str, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[TriggerEventRecord]:
    """The alerts of a week, oldest first; see `events.page`. Raises NotFound, Invalid `cursor`."""
    return await events.page(database, accounts, alert, of=AlertRow, cursor=cursor, limit=limit)


async def given_up(
    database: Database, accounts: Accounts, alert: str, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[TriggerEventRecord]:
    """The alerts that were given up, oldest first. Raises NotFound, Invalid `cursor`."""
    return await deliveries.dead_letters(database, accounts, alert, of=AlertRow, cursor=cursor, limit=limit)


async def replay(database: Database, accounts: Accounts, alert: str, event: str, *, by: Actor) -> TriggerEventRecord:
    """Have an alert that was given up sent again. Raises NotFound, Conflict `not_dead`."""
    return await deliveries.replay(database, accounts, alert, event, of=AlertRow, by=by)


def _stored(kinds: Sequence[AlertKind] | None) -> list[str] | None:
    return None if kinds is None else sorted({kind.value for kind in kinds})


async def _now(session: AsyncSession, row: AlertRow) -> AlertRecord:
    return _record(row, (await counted(session, [row]))[row.id])


async def _noted(session: AsyncSession, by: Actor, action: str, row: AlertRow, at: int, **details: str | None) -> None:
    await audit.note(session, by, action, row.id, at=at, account=row.account, **details)


def _record(row: AlertRow, counts: Counter[str]) -> AlertRecord:
    return AlertRecord(
        id=row.id,
        account=row.account,
        kinds=None if row.alert_kinds is None else tuple(AlertKind(kind) for kind in row.alert_kinds),
        url=row.url,
        enabled=row.enabled,
        former_secret_until=row.former_secret_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
        progress=AlertProgress(row.disabled_because, counts[Delivery.WAITING], counts[Delivery.DEAD]),
    )

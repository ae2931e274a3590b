"""Instances: the installed agent processes that have enrolled, and the places that they hold."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database import audit, changes
from relay.database.engine import Database
from relay.database.errors import Conflict, NotFound
from relay.database.names import find_row, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, InstanceRecord, Page
from relay.database.tables import AgentRow, InstanceRow

CLONE_EVENT_SECONDS = 3600
"""Clones that go on replacing each other are reported once an hour."""
AT_ONCE = 500
"""Ids in one statement: below every database's limit on parameters, and done in milliseconds."""
AGENTS_SEEN_MOST = 10_000
"""Agents that are told to a relay which starts; it remembers no more."""


async def find(database: Database, accounts: Accounts, instance: str) -> InstanceRecord:
    """Raises NotFound."""
    async with database.reading() as session:
        return record(await find_row(session, InstanceRow, accounts, instance))


async def page(
    database: Database,
    accounts: Accounts,
    agent: str | None = None,
    *,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[InstanceRecord]:
    """All instances or one agent's, revoked ones included, in the order of their enrolment."""
    statement = within(select(InstanceRow), InstanceRow, accounts)
    if agent is not None:
        statement = statement.where(InstanceRow.agent == agent.replace("\x00", ""))
    async with database.reading() as session:
        keys = [InstanceRow.enrolled_at, InstanceRow.id]
        return await read_page(session, statement, keys, record, cursor=cursor, limit=limit)


async def release(database: Database, accounts: Accounts, agent: str, instance: str, *, by: Actor) -> None:
    """Free the instance's place and cut its tunnels; it may enrol again, with a token, if there is a place.

    Raises NotFound, Conflict `instance_revoked` (which holds no place, and stays known so that it stays out).
    """
    async with database.writing() as session:
        row = await _find(session, accounts, agent, instance)
        if row.revoked_at is not None:
            raise Conflict("instance_revoked", f"{row.id} is revoked and holds no place: there is nothing to release")
        await remove(session, row, by=by, at=database.now(), action="instance.release")


async def revoke(database: Database, accounts: Accounts, agent: str, instance: str, *, by: Actor) -> InstanceRecord:
    """Shut the instance's key out for good, cut its tunnels and free its place. Raises NotFound."""
    async with database.writing() as session:
        row = await _find(session, accounts, agent, instance)
        at = database.now()
        row.revoked_at = row.revoked_at or at
        revoked = record(row)
        await _noted_end(session, by, "instance.revoke", revoked, at)
        return revoked


async def seen(database: Database, online: Collection[str], at: int) -> None:
    """Remember that these instances are online. Unknown ids are passed over; no time is put back."""
    rest = list(online)
    while rest:
        part, rest = rest[:AT_ONCE], rest[AT_ONCE:]
        async with database.writing() as session:
            theirs = InstanceRow.id.in_(part), InstanceRow.last_seen_at < at
            await session.execute(update(InstanceRow).where(*theirs).values(last_seen_at=at))


async def report_clone(database: Database, agent: str, instance: str) -> None:
    """Put on record that two processes use the instance's key at once."""
    async with database.writing() as session:
        now = database.now()
        last = await audit.last_at(session, "instance.clone", instance)
        account = await session.scalar(select(AgentRow.account).where(AgentRow.id == agent))
        if account and (last is None or now - last >= CLONE_EVENT_SECONDS):
            by = Actor("relay", "tunnels")
            await audit.note(session, by, "instance.clone", instance, at=now, account=account, agent=agent)


async def agents_seen(database: Database, since: int) -> list[str]:
    """The agents of which an instance was online at that time (unix seconds) or later, the last seen ones last."""
    latest = func.max(InstanceRow.last_seen_at)
    statement = (
        select(InstanceRow.agent)
        .join(AgentRow, AgentRow.id == InstanceRow.agent)
        .where(InstanceRow.last_seen_at >= since, InstanceRow.revoked_at.is_(None), AgentRow.revoked_at.is_(None))
        .group_by(InstanceRow.agent)
        .order_by(latest.desc())
        .limit(AGENTS_SEEN_MOST)
    )
    async with database.reading() as session:
        return [*reversed((await session.scalars(statement)).all())]


async def remove(session: AsyncSession, row: InstanceRow, *, by: Actor, at: int, action: str) -> None:
    """Take the instance off its place in a transaction that is open."""
    await session.execute(delete(InstanceRow).where(InstanceRow.id == row.id))
    await _noted_end(session, by, action, record(row), at)


async def _find(session: AsyncSession, accounts: Accounts, agent: str, instance: str) -> InstanceRow:
    row = await find_row(session, InstanceRow, accounts, instance)
    if row.agent != agent:
        raise NotFound(InstanceRow.noun, instance)
    return row


async def _noted_end(session: AsyncSession, by: Actor, action: str, about: InstanceRecord, at: int) -> None:
    await changes.append(session, "instance", about.id, at=at, revoked=True)
    details = {"agent": about.agent, "host_name": about.host_name}
    await audit.note(session, by, action, about.id, at=at, account=about.account, **details)


def record(row: InstanceRow) -> InstanceRecord:
    return InstanceRecord(
        id=row.id,
        account=row.account,
        agent=row.agent,
        token=row.token,
        public_key=row.public_key,
        host_name=row.host_name,
        version=row.version,
        stores=tuple(row.stores),
        enrolled_at=row.enrolled_at,
        last_seen_at=row.last_seen_at,
        revoked_at=row.revoked_at,
    )

"""Agents: the entries of a connector's *Agent* list, each with its places and its first access token."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete as delete_rows
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import agent_tokens, audit, changes
from relay.database.agent_search import EVERYTHING, Search, narrow
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid
from relay.database.names import check_free, checked_expiry, checked_name, find_named, find_row, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, AgentRecord, NewAgent, Page, any_state
from relay.database.tables import AgentRow, ConnectionRow

PLACES_MOST = 64
"""Replicas of one agent: far more than any shop runs, few enough to look through at each enrolment."""


async def create(
    database: Database, account: str, name: str, *, by: Actor, places: int = 1, token_expires_at: int | None = None
) -> NewAgent:
    """Make an agent with its first access token. Raises Invalid, NameTaken, NotFound (the account)."""
    at = database.now()
    record = AgentRecord(new_id(AgentRow.prefix), account, checked_name(name), _checked_places(places), at)
    expires_at = checked_expiry(token_expires_at, at)
    async with database.writing() as session:
        await check_free(session, AgentRow, account, record.name)
        await session.execute(
            insert(AgentRow).values(
                id=record.id, account=account, name=record.name, places=record.places, created_at=at, revoked_at=None
            )
        )
        token = await agent_tokens.add(session, account, record.id, by=by, at=at, expires_at=expires_at)
        await _noted(session, by, "agent.create", record, at)
    return NewAgent(record, token.token, token.text)


async def find(database: Database, accounts: Accounts, id_or_name: str) -> AgentRecord:
    """By id, or by name within the account. Raises NotFound."""
    async with database.reading() as session:
        return _record(await find_named(session, AgentRow, accounts, id_or_name))


async def page(
    database: Database,
    accounts: Accounts,
    *,
    cursor: str | None = None,
    limit: int = LIMIT,
    search: Search = EVERYTHING,
) -> Page[AgentRecord]:
    """By name. Raises Invalid `cursor`, `limit`."""
    async with database.reading() as session:
        statement = narrow(session, within(select(AgentRow), AgentRow, accounts), search)
        keys = [AgentRow.name, AgentRow.id]
        return await read_page(session, statement, keys, _record, cursor=cursor, limit=limit)


async def update(
    database: Database,
    accounts: Accounts,
    agent: str,
    *,
    by: Actor,
    name: str | None = None,
    places: int | None = None,
    expect: Callable[[AgentRecord], None] = any_state,
) -> AgentRecord:
    """Change what is given. Fewer places than instances turn nobody out; they only let nobody else in.

    Raises NotFound, Invalid, NameTaken.
    """
    wanted = None if name is None else checked_name(name)
    seats = None if places is None else _checked_places(places)
    async with database.writing() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        expect(_record(row))
        if wanted is not None and wanted != row.name:
            await check_free(session, AgentRow, row.account, wanted)
            row.name = wanted
        if seats is not None:
            row.places = seats
        record = _record(row)
        await _noted(session, by, "agent.update", record, database.now())
        return record


async def revoke(database: Database, accounts: Accounts, agent: str, *, by: Actor) -> AgentRecord:
    """End all use of the agent for good: its live tunnels are cut, nothing of it enrols again. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        at = database.now()
        row.revoked_at = row.revoked_at or at
        record = _record(row)
        await _noted(session, by, "agent.revoke", record, at, revoked=True)
        return record


async def delete(
    database: Database,
    accounts: Accounts,
    agent: str,
    *,
    by: Actor,
    expect: Callable[[AgentRecord], None] = any_state,
) -> None:
    """Delete the agent with its tokens and instances, and cut its tunnels.

    Raises NotFound, Conflict `agent_in_use` while connections use it.
    """
    async with database.writing() as session:
        row = await find_row(session, AgentRow, accounts, agent)
        expect(_record(row))
        users = select(ConnectionRow.name).where(ConnectionRow.account == row.account, ConnectionRow.agent == row.id)
        names = (await session.scalars(users.order_by(ConnectionRow.name).limit(3))).all()
        if names:
            raise Conflict("agent_in_use", f"connections use the agent {row.name!r}: {', '.join(names)}")
        record = _record(row)
        await session.execute(delete_rows(AgentRow).where(AgentRow.id == row.id))
        await _noted(session, by, "agent.delete", record, database.now(), revoked=True)


def _checked_places(places: int) -> int:
    if not 1 <= places <= PLACES_MOST:
        raise Invalid("places", f"an agent has 1 to {PLACES_MOST} places")
    return places


async def _noted(
    session: AsyncSession, by: Actor, action: str, record: AgentRecord, at: int, *, revoked: bool = False
) -> None:
    await changes.append(session, "agent", record.id, at=at, revoked=revoked)
    details = {"name": record.name, "places": record.places}
    await audit.note(session, by, action, record.id, at=at, account=record.account, **details)


def _record(row: AgentRow) -> AgentRecord:
    return AgentRecord(row.id, row.account, row.name, row.places, row.created_at, row.revoked_at)

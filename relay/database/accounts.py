"""Accounts: the customers of the relay, each seeing only what is its own."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete as delete_rows
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import audit, changes
from relay.database.engine import Database
from relay.database.errors import Conflict, NameTaken, NotFound
from relay.database.names import checked_name, is_id
from relay.database.paging import LIMIT, read_page
from relay.database.records import AccountRecord, Actor, Page, any_state
from relay.database.tables import AccountRow, AgentRow, AlertConditionRow, AlertRow, ApiTokenRow, ConnectionRow

DEFAULT = "default"
"""The account that `init` makes and that commands use unless told otherwise."""
NOUN, PREFIX = "account", "acc"


async def create(database: Database, name: str, *, by: Actor) -> AccountRecord:
    """Raises Invalid `name`, NameTaken."""
    async with database.writing() as session:
        return await add(session, name, by=by, at=database.now())


async def add(session: AsyncSession, name: str, *, by: Actor, at: int) -> AccountRecord:
    """As `create`, in a transaction that is open."""
    record = AccountRecord(new_id(PREFIX), checked_name(name), at)
    await _check_free(session, record.name)
    await session.execute(insert(AccountRow).values(id=record.id, name=record.name, created_at=at))
    await _noted(session, by, "account.create", record, at)
    return record


async def find(database: Database, id_or_name: str) -> AccountRecord:
    """Raises NotFound."""
    async with database.reading() as session:
        return _record(await _find(session, id_or_name))


async def page(database: Database, *, cursor: str | None = None, limit: int = LIMIT) -> Page[AccountRecord]:
    """By name."""
    async with database.reading() as session:
        keys = [AccountRow.name, AccountRow.id]
        return await read_page(session, select(AccountRow), keys, _record, cursor=cursor, limit=limit)


async def rename(
    database: Database, account: str, name: str, *, by: Actor, expect: Callable[[AccountRecord], None] = any_state
) -> AccountRecord:
    """Raises NotFound, Invalid `name`, NameTaken, Conflict `account_default`."""
    wanted = checked_name(name)
    async with database.writing() as session:
        row = await _find(session, account)
        expect(_record(row))
        _check_not_default(row)
        if wanted != row.name:
            await _check_free(session, wanted)
            row.name = wanted
        await _noted(session, by, "account.rename", _record(row), database.now())
        return _record(row)


async def delete(
    database: Database, account: str, *, by: Actor, expect: Callable[[AccountRecord], None] = any_state
) -> None:
    """Delete an account that has no agents and connections, with its API tokens and subscriptions to alerts.

    Raises NotFound, Conflict `account_default` or `account_in_use`.
    """
    async with database.writing() as session:
        row = await _find(session, account)
        expect(_record(row))
        _check_not_default(row)
        for owned in (AgentRow, ConnectionRow):
            if await session.scalar(select(owned.id).where(owned.account == row.id).limit(1)):
                raise Conflict("account_in_use", f"{row.name!r} still has agents or connections: delete these first")
        at = database.now()
        for token in await session.scalars(select(ApiTokenRow.id).where(ApiTokenRow.account == row.id)):
            await changes.append(session, "api_token", token, at=at, revoked=True)
        for ended in (ApiTokenRow, AlertRow, AlertConditionRow):
            await session.execute(delete_rows(ended).where(ended.account == row.id))
        await session.execute(delete_rows(AccountRow).where(AccountRow.id == row.id))
        await _noted(session, by, "account.delete", _record(row), at, revoked=True)


async def _find(session: AsyncSession, id_or_name: str) -> AccountRow:
    column = AccountRow.id if is_id(id_or_name, PREFIX) else AccountRow.name
    row = None
    if id_or_name.isprintable():
        row = await session.scalar(select(AccountRow).where(column == id_or_name))
    if row is None:
        raise NotFound(NOUN, id_or_name)
    return row


async def _check_free(session: AsyncSession, name: str) -> None:
    if await session.scalar(select(AccountRow.id).where(AccountRow.name == name)):
        raise NameTaken(NOUN, name)


def _check_not_default(row: AccountRow) -> None:
    if row.name == DEFAULT:
        raise Conflict("account_default", f"the account {DEFAULT!r} stays: commands use it unless told otherwise")


async def _noted(
    session: AsyncSession, by: Actor, action: str, record: AccountRecord, at: int, *, revoked: bool = False
) -> None:
    await changes.append(session, "account", record.id, at=at, revoked=revoked)
    await audit.note(session, by, action, record.id, at=at, account=record.id, name=record.name)


def _record(row: AccountRow) -> AccountRecord:
    return AccountRecord(row.id, row.name, row.created_at)

"""API tokens: who may use the relay's own surface, kept as SHA-256 alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import delete as delete_rows
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import audit, changes
from relay.database.credentials import digest, new_api_token
from relay.database.engine import Database
from relay.database.errors import Invalid
from relay.database.names import checked_expiry, checked_name, find_row, within
from relay.database.paging import LIMIT, read_page
from relay.database.records import Accounts, Actor, ApiTokenRecord, NewApiToken, Page, any_state
from relay.database.tables import ApiTokenRow
from relay.records import Caller, Scope


async def create(
    database: Database,
    account: str,
    name: str,
    scopes: Iterable[Scope],
    *,
    by: Actor,
    expires_at: int | None = None,
) -> NewApiToken:
    """Make a token with the highest of the scopes, which includes the others. Names need not differ.

    Raises Invalid; Conflict if there is no such account.
    """
    at = database.now()
    scope = _highest(scopes)
    checked_expiry(expires_at, at)
    record = ApiTokenRecord(new_id(ApiTokenRow.prefix), account, checked_name(name), scope, at, expires_at)
    text = new_api_token()
    async with database.writing() as session:
        await session.execute(
            insert(ApiTokenRow).values(
                id=record.id,
                account=account,
                name=record.name,
                scope=scope.value,
                digest=digest(text.get_secret_value()),
                created_at=at,
                expires_at=expires_at,
                revoked_at=None,
            )
        )
        await _noted(session, by, "api_token.create", record, at)
    return NewApiToken(record, text)


async def find(database: Database, accounts: Accounts, token: str) -> ApiTokenRecord:
    """Raises NotFound."""
    async with database.reading() as session:
        return _record(await find_row(session, ApiTokenRow, accounts, token))


async def caller(database: Database, sha256: str) -> Caller | None:
    """Who shows the token of this digest (hex); None for one that is unknown, revoked or expired."""
    async with database.reading() as session:
        row = await session.scalar(select(ApiTokenRow).where(ApiTokenRow.digest == sha256))
    if row is None or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= database.now():
        return None
    return Caller(row.account, row.id, Scope(row.scope), row.expires_at)


async def page(
    database: Database, accounts: Accounts, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[ApiTokenRecord]:
    """Revoked ones included, oldest first."""
    statement = within(select(ApiTokenRow), ApiTokenRow, accounts)
    async with database.reading() as session:
        keys = [ApiTokenRow.created_at, ApiTokenRow.id]
        return await read_page(session, statement, keys, _record, cursor=cursor, limit=limit)


async def rename(
    database: Database,
    accounts: Accounts,
    token: str,
    name: str,
    *,
    by: Actor,
    expect: Callable[[ApiTokenRecord], None] = any_state,
) -> ApiTokenRecord:
    """Raises NotFound, Invalid `name`."""
    wanted = checked_name(name)
    async with database.writing() as session:
        row = await find_row(session, ApiTokenRow, accounts, token)
        expect(_record(row))
        row.name = wanted
        record = _record(row)
        await _noted(session, by, "api_token.rename", record, database.now())
        return record


async def revoke(database: Database, accounts: Accounts, token: str, *, by: Actor) -> ApiTokenRecord:
    """End the token at once; it stays in the list. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, ApiTokenRow, accounts, token)
        at = database.now()
        row.revoked_at = row.revoked_at or at
        record = _record(row)
        await _noted(session, by, "api_token.revoke", record, at, revoked=True)
        return record


async def delete(
    database: Database,
    accounts: Accounts,
    token: str,
    *,
    by: Actor,
    expect: Callable[[ApiTokenRecord], None] = any_state,
) -> None:
    """End the token at once and forget it. Raises NotFound."""
    async with database.writing() as session:
        record = _record(await find_row(session, ApiTokenRow, accounts, token))
        expect(record)
        await session.execute(delete_rows(ApiTokenRow).where(ApiTokenRow.id == record.id))
        await _noted(session, by, "api_token.delete", record, database.now(), revoked=True)


def _highest(scopes: Iterable[Scope]) -> Scope:
    wanted = set(scopes)
    if not wanted:
        raise Invalid("scope", f"a token needs a scope: {', '.join(Scope)}")
    return max(wanted, key=list(Scope).index)


async def _noted(
    session: AsyncSession, by: Actor, action: str, record: ApiTokenRecord, at: int, *, revoked: bool = False
) -> None:
    await changes.append(session, "api_token", record.id, at=at, revoked=revoked)
    details = {"name": record.name, "scope": record.scope.value, "expires_at": record.expires_at}
    await audit.note(session, by, action, record.id, at=at, account=record.account, **details)


def _record(row: ApiTokenRow) -> ApiTokenRecord:
    return ApiTokenRecord(
        row.id,
        row.account,
        row.name,
        Scope(row.scope),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )

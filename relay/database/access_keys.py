"""Access keys of connections: 32 characters for stock clients, kept as SHA-256, at most two valid at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from agent.wire.token import new_id
from relay.database import audit, changes
from relay.database.credentials import digest, new_access_key
from relay.database.engine import Database
from relay.database.errors import Conflict, NotFound
from relay.database.names import find_row
from relay.database.records import AccessKeyRecord, Accounts, Actor, NewAccessKey
from relay.database.tables import AccessKeyRow, ConnectionRow

VALID_MOST = 2
"""One in use and one to rotate to."""


@dataclass(frozen=True, slots=True)
class AddedKey:
    row: AccessKeyRow
    text: SecretStr = field(repr=False)


async def rotate(database: Database, accounts: Accounts, connection: str, *, by: Actor) -> NewAccessKey:
    """Make a second key beside the one in use, which works on until it is revoked.

    Raises NotFound, Conflict `two_keys_valid`.
    """
    async with database.writing() as session:
        row = await find_row(session, ConnectionRow, accounts, connection)
        valid = [key.id for key in await read_valid(session, [row.id])]
        if len(valid) >= VALID_MOST:
            raise Conflict(
                "two_keys_valid", f"two access keys are valid already ({', '.join(valid)}): revoke one first"
            )
        key = await add(session, row.account, row.id, by=by, at=database.now())
        return NewAccessKey(record(key.row), key.text)


async def revoke(database: Database, accounts: Accounts, connection: str, key: str, *, by: Actor) -> AccessKeyRecord:
    """End the key at once. Raises NotFound."""
    async with database.writing() as session:
        row = await find_row(session, AccessKeyRow, accounts, key)
        if row.connection != connection:
            raise NotFound(AccessKeyRow.noun, key)
        at = database.now()
        row.revoked_at = row.revoked_at or at
        await _noted(session, by, "access_key.revoke", row, at)
        return record(row)


async def add(session: AsyncSession, account: str, connection: str, *, by: Actor, at: int) -> AddedKey:
    """Make a key in a transaction that is open."""
    text = new_access_key()
    row = AccessKeyRow(
        id=new_id(AccessKeyRow.prefix),
        account=account,
        connection=connection,
        digest=digest(text.get_secret_value()),
        created_at=at,
        revoked_at=None,
        last_used_at=None,
    )
    session.add(row)
    await session.flush()
    await _noted(session, by, "access_key.create", row, at)
    return AddedKey(row, text)


async def read_valid(session: AsyncSession, connections: Sequence[str]) -> Sequence[AccessKeyRow]:
    """The valid keys of these connections, oldest first."""
    valid = AccessKeyRow.connection.in_(connections), AccessKeyRow.revoked_at.is_(None)
    statement = select(AccessKeyRow).where(*valid).order_by(AccessKeyRow.created_at, AccessKeyRow.id)
    return (await session.scalars(statement)).all()


def record(row: AccessKeyRow) -> AccessKeyRecord:
    return AccessKeyRecord(row.id, row.account, row.connection, row.created_at, row.revoked_at, row.last_used_at)


async def _noted(session: AsyncSession, by: Actor, action: str, row: AccessKeyRow, at: int) -> None:
    """Nodes look the whole connection up again: they hold its keys with it."""
    await changes.append(session, "connection", row.connection, at=at)
    await audit.note(session, by, action, row.id, at=at, account=row.account, connection=row.connection)

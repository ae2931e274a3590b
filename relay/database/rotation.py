"""Master keys renewed: everything sealed with an older key is sealed again, row by row, in short transactions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import not_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from relay.database import audit, authorities, connections, endpoints
from relay.database.engine import Database
from relay.database.records import Actor
from relay.database.secrets import VERSION, sealed_with
from relay.database.tables import AuthorityRow, ConnectionRow, TriggerRow

BATCH = 50
"""Rows per transaction: a few milliseconds, so that nobody waits for long behind it."""


@dataclass(frozen=True, slots=True)
class Rotated:
    key: str
    """The id of the key that now seals everything."""
    sealed: int
    """Secrets sealed again in this run."""
    older: tuple[str, ...]
    """Keys still in the file, which nothing needs but backups."""


async def rotate(database: Database, *, by: Actor) -> Rotated:
    """Make a new master key, unless one waits that does not yet seal everything; then seal everything with it.

    Stopped at any point it leaves every secret readable, and goes on where it was when run again.
    Raises UnknownMasterKey, DoesNotOpen, Conflict `keys_elsewhere`.
    """
    current = database.keys.read().current.id
    if set(await count(database)) <= {current}:
        current = database.keys.add_key().id
        await _noted(database, by, "keys.add", current)
    done = 0
    while batch := await _seal_batch(database):
        done += batch
    await _noted(database, by, "keys.rotate", current, sealed=done)
    return Rotated(current, done, tuple(key.id for key in database.keys.keyring.keys[1:]))


async def count(database: Database) -> Counter[str]:
    """How many secrets each master key seals, by its id."""
    async with database.reading() as session:
        sealed = [*await session.scalars(select(ConnectionRow.key_sealed))]
        sealed += await session.scalars(select(AuthorityRow.private_sealed))
        for column in (TriggerRow.secret_sealed, TriggerRow.former_secret_sealed):
            sealed += [each for each in await session.scalars(select(column)) if each is not None]
    return Counter(sealed_with(each) for each in sealed)


async def _seal_batch(database: Database) -> int:
    """Seal up to BATCH secrets again; how many there were."""
    keys = database.keys
    current = keys.keyring.current.id
    async with database.writing() as session:
        authority_rows = await _stale(session, select(AuthorityRow), AuthorityRow.private_sealed, current)
        for authority in authority_rows:
            bound = authorities.place(authority.id, authority.kind, authority.public_key)
            secret = keys.open(authority.private_sealed, bound)
            authority.private_sealed = keys.seal(secret.get_secret_value(), bound)
        connection_rows = await _stale(session, select(ConnectionRow), ConnectionRow.key_sealed, current)
        for connection in connection_rows:
            bound = connections.place(connection)
            secret = keys.open(connection.key_sealed, bound)
            connection.key_sealed = keys.seal(secret.get_secret_value(), bound)
        signing = await _seal_signing(database, session, current)
        return len(authority_rows) + len(connection_rows) + signing


async def _seal_signing(database: Database, session: AsyncSession, current: str) -> int:
    """The secrets of triggers, those in use and the former ones."""
    keys, done = database.keys, 0
    for name in ("secret_sealed", "former_secret_sealed"):
        for row in await _stale(session, select(TriggerRow), getattr(TriggerRow, name), current):
            bound = endpoints.place(row, name)
            setattr(row, name, keys.seal(keys.open(getattr(row, name), bound).get_secret_value(), bound))
            done += 1
    return done


async def _stale(session: AsyncSession, statement: Any, column: InstrumentedAttribute[Any], current: str) -> list[Any]:
    sealed_so = column.startswith(f"{VERSION}.{current}.", autoescape=True)
    return list(await session.scalars(statement.where(not_(sealed_so)).limit(BATCH)))


async def _noted(database: Database, by: Actor, action: str, key: str, **details: Any) -> None:
    async with database.writing() as session:
        await audit.note(session, by, action, key, at=database.now(), account=None, **details)

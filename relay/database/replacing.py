"""What is left after the master keys were lost for good: a new key, new key pairs of the relay's own, and a list."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database import audit, authorities, connections, endpoints
from relay.database.engine import Database
from relay.database.errors import Conflict
from relay.database.records import Actor
from relay.database.secrets import DoesNotOpen, Place, UnknownMasterKey
from relay.database.tables import AuthorityRow, ConnectionRow, TriggerRow


@dataclass(frozen=True, slots=True)
class Replaced:
    key: str
    """The id of the master key that seals from now on."""
    authorities: tuple[str, ...]
    """The kinds of the relay's own key pairs that were made anew."""
    connections: tuple[str, ...]
    """Ids of those whose store's key must be given again."""


async def replace_lost(database: Database, *, by: Actor) -> Replaced:
    """Give up what no key of the file opens, and make a key file if there is none.

    Connections stay, marked as having a key that does not work. Raises Conflict `nothing_lost` if everything opens,
    DatabaseUnusable.
    """
    async with database.writing() as session:
        at = database.now()
        database.keys.create()
        kinds = await _replace_authorities(database, session, by, at)
        lost = [row.id for row in await session.scalars(select(ConnectionRow)) if _is_lost(database, row)]
        unsigned = [row.id for row in await session.scalars(select(TriggerRow)) if _has_lost(database, row)]
        if not kinds and not lost and not unsigned:
            raise Conflict("nothing_lost", f"every secret opens with the keys of {database.keys.path}: nothing is lost")
        for connection in lost:
            theirs = ConnectionRow.id == connection
            await session.execute(update(ConnectionRow).where(theirs).values(key_works=False, key_checked_at=at))
        await endpoints.disable_lost(session, unsigned)
        key = database.keys.keyring.current.id
        details = {"authorities": list(kinds), "connections": lost, "triggers": unsigned}
        await audit.note(session, by, "keys.replace_lost", key, at=at, account=None, **details)
    return Replaced(key, kinds, tuple(lost))


async def _replace_authorities(database: Database, session: AsyncSession, by: Actor, at: int) -> tuple[str, ...]:
    """The kinds of which there was a pair that does not open."""
    kinds = set()
    for row in (await session.scalars(select(AuthorityRow))).all():
        if not _opens(database, row.private_sealed, authorities.place(row.id, row.kind, row.public_key)):
            kinds.add(row.kind)
            await session.execute(delete(AuthorityRow).where(AuthorityRow.id == row.id))
    for kind in await authorities.missing(session):
        await authorities.add(session, kind, database.keys, by=by, at=at)
    return tuple(sorted(kinds))


def _is_lost(database: Database, row: ConnectionRow) -> bool:
    return not _opens(database, row.key_sealed, connections.place(row))


def _has_lost(database: Database, row: TriggerRow) -> bool:
    sealed = (("secret_sealed", row.secret_sealed), ("former_secret_sealed", row.former_secret_sealed))
    return not all(_opens(database, text, endpoints.place(row, name)) for name, text in sealed if text is not None)


def _opens(database: Database, sealed: str, place: Place) -> bool:
    try:
        database.keys.open(sealed, place)
    except (UnknownMasterKey, DoesNotOpen):
        return False
    return True

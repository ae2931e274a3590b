"""What a relay needs before its first request: master keys, its own key pairs, the account `default`."""

from __future__ import annotations

from sqlalchemy import select

from relay.database import accounts, authorities
from relay.database.engine import Database
from relay.database.errors import DatabaseUnusable
from relay.database.records import Actor
from relay.database.tables import AccountRow


async def prepare(database: Database, *, by: Actor) -> None:
    """Make what is missing, check that what is there opens. Harmless to repeat, from several nodes at once.

    Raises DatabaseUnusable, UnknownMasterKey, DoesNotOpen, DatabaseUnavailable.
    """
    async with database.writing() as session:
        at = database.now()
        missing = await authorities.missing(session)
        if len(missing) == len(authorities.Kind):
            database.keys.create()
        elif not database.keys.exists:
            raise DatabaseUnusable(
                f"this database is sealed with master keys that are not here: put them back at {database.keys.path}, "
                "or, if they are lost for good, run postern-relay keys replace-lost"
            )
        for kind in missing:
            await authorities.add(session, kind, database.keys, by=by, at=at)
        if not await session.scalar(select(AccountRow.id).where(AccountRow.name == accounts.DEFAULT)):
            await accounts.add(session, accounts.DEFAULT, by=by, at=at)
    await authorities.load(database)

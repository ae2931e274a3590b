"""When API tokens and access keys were last used: gathered in memory by those who accept them, written now and then."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import update

from relay.database.engine import Database
from relay.database.tables import AccessKeyRow, ApiTokenRow

DIGESTS_AT_ONCE = 500
"""In one statement: below every database's limit on parameters."""


async def note(database: Database, digests: Collection[str], at: int) -> None:
    """Remember that the tokens and keys with these digests (SHA-256, hex) were used. Unknown ones are passed over.

    Raises DatabaseUnavailable.
    """
    rest = list(digests)
    while rest:
        part, rest = rest[:DIGESTS_AT_ONCE], rest[DIGESTS_AT_ONCE:]
        async with database.writing() as session:
            for row in (AccessKeyRow, ApiTokenRow):
                await session.execute(update(row).where(row.digest.in_(part)).values(last_used_at=at))

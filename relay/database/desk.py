"""Transactions of those who keep working while the database is away: one word for that, which other rooms know."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.engine import Database
from relay.database.errors import Conflict, DatabaseUnavailable
from relay.trigger_records import DeskAwayError, LeaseLostError


@contextlib.asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncSession]:
    """Raises DeskAwayError."""
    try:
        async with database.reading() as session:
            yield session
    except DatabaseUnavailable as error:
        raise DeskAwayError(str(error)) from error


@contextlib.asynccontextmanager
async def writing(database: Database) -> AsyncIterator[AsyncSession]:
    """Raises DeskAwayError; LeaseLostError where what it worked on went away under it."""
    try:
        async with database.writing() as session:
            yield session
    except DatabaseUnavailable as error:
        raise DeskAwayError(str(error)) from error
    except Conflict as error:
        raise LeaseLostError from error

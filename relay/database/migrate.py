"""How the tables come to this version's shape: Alembic's steps, run by whoever comes first, in one transaction."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

    from relay.database.engine import Database

HEAD = "0008"
"""The newest step under migrations/versions. A database with a higher number was made by a newer relay and is taken as
it is: steps first only add, and take away a version later, so that nodes of two versions run side by side."""
MIGRATION_SECONDS = 120.0


async def migrate_to_head(database: Database) -> None:
    """Bring the tables up to HEAD; one query where they are. Raises DatabaseUnavailable, DatabaseUnusable."""
    async with database.reading() as session:
        at = await (await session.connection()).run_sync(_revision)
    if at >= HEAD:
        return
    async with database.writing(seconds=MIGRATION_SECONDS) as session:
        await (await session.connection()).run_sync(_upgrade)


def _revision(connection: Connection) -> str:
    """Empty before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and most commands find nothing to do

    if _revision(connection) >= HEAD:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

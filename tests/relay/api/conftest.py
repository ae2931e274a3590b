"""A relay's typed surface over a real database in a temporary directory."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import httpx
import pytest

from agent.wire.enrolment import Endpoint
from relay.api.parts import Parts
from relay.api.surface import build
from relay.database import accounts, authorities, tokens
from relay.database.directory import Directory
from relay.database.engine import Database, open_database
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from relay.records import Scope
from relay.tunnels.authority import Authority
from relay.tunnels.registry import Registry
from tests.relay.api.scene import BY, URL, Clock, Relay


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a prepared database and its master keys, to be copied: migrating takes most of a second."""
    directory = tmp_path_factory.mktemp("prepared")

    async def make() -> None:
        database = await _open(directory, time.time)
        await prepare(database, by=BY)
        await database.close()

    asyncio.run(make())
    return directory


@pytest.fixture
async def relay(tmp_path: Path, prepared: Path) -> AsyncIterator[Relay]:
    """Two accounts; in the first a token of each scope, in the second one that may manage (`other`)."""
    clock = Clock()
    database = await _open(Path(shutil.copytree(prepared, tmp_path / "state")), clock)
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


async def _open(directory: Path, clock: Callable[[], float]) -> Database:
    keys = KeyFile(directory / "keys" / "master.keys")
    return await open_database(f"sqlite:///{directory / 'relay.db'}", keys=keys, clock=clock)


async def _parts(database: Database, directory: Directory, readiness: dict[str, str], clock: Clock) -> Parts:
    pair = await authorities.load(database)

    async def ready() -> Mapping[str, str]:
        return readiness

    return Parts(
        database=database,
        directory=directory,
        registry=Registry(),
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

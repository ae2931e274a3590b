"""A relay's typed surface over a real database in a temporary directory, with agents that are only said to be there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.wire.destination import Destination
from agent.wire.enrolment import Endpoint
from relay.api.parts import Parts
from relay.api.surface import Surface, build
from relay.database import accounts, authorities, tokens
from relay.database.directory import Directory
from relay.database.engine import Database, open_database
from relay.database.errors import DatabaseUnavailable
from relay.database.records import Actor
from relay.database.secrets import KeyFile
from relay.database.setup import prepare
from relay.records import Scope
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

URL = "https://relay.example.com"
STORE_KEY = "CANARYKEYCANARYKEYCANARYKEY12345"
BY = Actor("cli:test")


class Clock:
    """The relay's time, moved by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class SaidTunnel(Tunnel):
    """A tunnel without SSH: there because the test says so."""

    def __init__(self, identity: Identity, *, remote: str = "203.0.113.7", stores: tuple[str, ...] = ()) -> None:
        self.identity = identity
        self.remote = remote
        self.generation = 7
        self.since = time.time() - 60
        self.published = {Destination.of(store, 80) for store in stores}
        self.replaced = False
        self.gone = False

    @property
    def lost(self) -> bool:
        return self.gone

    @property
    def channels(self) -> int:
        return 3

    def cut(self) -> None:
        self.gone = True


@dataclass
class Relay:
    """The surface and what stands behind it. `call` speaks with the token of a scope, or of another account."""

    client: httpx.AsyncClient
    surface: Surface
    parts: Parts
    database: Database
    clock: Clock
    account: str
    other: str
    tokens: dict[str, str]
    readiness: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: str | None = "manage",
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if as_ is not None:
            sent["Authorization"] = f"Bearer {self.tokens[as_]}"
        if body is not None:
            rest["json"] = body
        return await self.client.request(method, path, headers=sent, **rest)

    async def made(self, path: str, body: Any, *, as_: str = "manage") -> dict[str, Any]:
        answer = await self.call("POST", path, body, as_=as_)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def agent(self, name: str = "Lyon", *, as_: str = "manage") -> dict[str, Any]:
        return await self.made("/v1/agents", {"name": name}, as_=as_)

    async def connection(self, agent: str, name: str = "Shop", *, as_: str = "manage") -> dict[str, Any]:
        form = {"name": name, "mode": "on-premise", "agent": agent, "store_url": "http://shop.lan", "api_key": STORE_KEY}
        return await self.made("/v1/connections", form, as_=as_)

    def break_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on no transaction succeeds, as when PostgreSQL is away."""

        @contextlib.asynccontextmanager
        async def away() -> AsyncIterator[None]:
            raise DatabaseUnavailable("the database does not answer: connection refused")
            yield

        monkeypatch.setattr(self.database, "reading", away)
        monkeypatch.setattr(self.database, "writing", away)

    def tunnel(self, agent: str, instance: str = "ins_aaaaaaaaaaaaaaaa", *, stores: tuple[str, ...] = ()) -> SaidTunnel:
        tunnel = SaidTunnel(Identity(agent, instance, "atk_aaaaaaaaaaaaaaaa", 1, 2**31), stores=stores)
        self.parts.registry.add(tunnel)
        return tunnel


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """Two accounts; in the first a token of each scope, in the second one that may manage (`other`)."""
    clock = Clock()
    keys = KeyFile(tmp_path / "keys" / "master.keys")
    database = await open_database(f"sqlite:///{tmp_path / 'relay.db'}", keys=keys, clock=clock)
    await prepare(database, by=BY)
    directory = Directory(database)
    await directory.start()
    watching = asyncio.create_task(directory.watch())
    account = (await accounts.find(database, "default")).id
    other = (await accounts.create(database, "other", by=BY)).id
    texts = {scope.value: await _token(database, account, scope) for scope in Scope}
    texts["other"] = await _token(database, other, Scope.MANAGE)
    readiness = {"database": "ok", "ssh": "ok"}

    async def ready() -> Mapping[str, str]:
        return readiness

    pair = await authorities.load(database)
    parts = Parts(
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
    surface = build(parts)
    transport = httpx.ASGITransport(app=surface, raise_app_exceptions=False, client=("198.51.100.9", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield Relay(client, surface, parts, database, clock, account, other, texts, readiness)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    await database.close()


async def _token(database: Database, account: str, scope: Scope) -> str:
    new = await tokens.create(database, account, f"for {scope}", [scope], by=BY)
    return new.text.get_secret_value()

"""Who is on stage in these tests: a relay's surface with two accounts, and agents that are only said to be there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agent.wire.destination import Destination
from relay.api.parts import Parts
from relay.api.surface import Surface
from relay.database import accounts
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.records import Actor
from relay.tunnels.authority import Identity
from relay.tunnels.tunnel import Claim, Tunnel

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
        self.transport = "tcp"
        self.claim = Claim(0, "5e1f" * 4, 1)
        self.disputed = False
        self.forgettable = False
        self.gone = False
        self.silent = False
        self._retired = None
        self._ending = ""
        self._was_cut = False

    @property
    def lost(self) -> bool:
        return self.gone

    @property
    def channels(self) -> int:
        return 3

    @property
    def round_trip(self) -> float | None:
        return 0.0123

    @property
    def doubtful(self) -> bool:
        return self.silent

    def part(self, _reason: str) -> None:
        self.gone = True


class Away:
    """A transaction on a database that does not answer."""

    async def __aenter__(self) -> None:
        raise DatabaseUnavailable("the database does not answer: connection refused")

    async def __aexit__(self, *_: object) -> None:
        """Never reached."""


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
        form = {
            "name": name,
            "mode": "on-premise",
            "agent": agent,
            "store_url": "http://shop.lan",
            "api_key": STORE_KEY,
        }
        return await self.made("/v1/connections", form, as_=as_)

    async def changes_followed(self) -> None:
        """Wait until the node has acted on what was changed so far."""
        followed = asyncio.Event()
        self.parts.directory.subscribe(lambda _batch: followed.set())
        await accounts.create(self.database, f"marker {time.monotonic_ns()}", by=BY)
        self.parts.directory.wake()
        async with asyncio.timeout(5):
            await followed.wait()

    def break_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on no transaction succeeds, as when PostgreSQL is away."""

        monkeypatch.setattr(self.database, "reading", Away)
        monkeypatch.setattr(self.database, "writing", Away)

    def tunnel(self, agent: str, instance: str = "ins_aaaaaaaaaaaaaaaa", *, stores: tuple[str, ...] = ()) -> SaidTunnel:
        tunnel = SaidTunnel(Identity(agent, instance, "atk_aaaaaaaaaaaaaaaa", 1, 2**31), stores=stores)
        self.parts.registry.add(tunnel)
        return tunnel

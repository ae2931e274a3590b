"""Names while the name server is away: what was known last is used, what a server says is believed."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from agent import resolver as module
from agent.resolver import REMEMBERED, Address, Resolver

HERE: list[Address] = [(socket.AF_INET, ("10.0.0.1", 80))]


class NameServer:
    """Answers lookups as it is told: with an address, with an error, or never."""

    def __init__(self) -> None:
        self.answer: str | OSError | None = "10.0.0.1"

    async def __call__(self, _host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.answer, port))]


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    server = NameServer()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", server)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.02)
    return server


@pytest.mark.parametrize("away", [None, socket.gaierror(socket.EAI_AGAIN, "try again")], ids=["silent", "failing"])
async def test_without_a_name_server_the_last_address_is_used(server: NameServer, away: OSError | None) -> None:
    """As soon as it answers again, its answer counts."""
    resolver = Resolver()
    assert await resolver.resolve("relay.test", 80) == HERE
    server.answer = away
    assert await resolver.resolve("relay.test", 80, 5) == HERE
    for lookup in list(resolver._lookups.values()):
        lookup.cancel()
        await asyncio.gather(lookup, return_exceptions=True)
    server.answer = "10.0.0.2"
    assert await resolver.resolve("relay.test", 80) == [(socket.AF_INET, ("10.0.0.2", 80))]


async def test_a_name_that_is_no_more_is_not_remembered_against_its_server(server: NameServer) -> None:
    """The server was there and said no."""
    resolver = Resolver()
    await resolver.resolve("relay.test", 80)
    server.answer = socket.gaierror(socket.EAI_NONAME, "unknown")
    with pytest.raises(socket.gaierror):
        await resolver.resolve("relay.test", 80)


async def test_an_unknown_name_waits_for_its_server(server: NameServer) -> None:
    """Nothing is known of it, so the whole deadline is given."""
    server.answer = None
    with pytest.raises(TimeoutError):
        await Resolver().resolve("relay.test", 80, 0.05)


async def test_what_is_remembered_is_bounded(server: NameServer) -> None:
    """The oldest name is forgotten first."""
    resolver = Resolver()
    for number in range(REMEMBERED + 1):
        await resolver.resolve(f"n{number}.test", 80)
    server.answer = socket.gaierror(socket.EAI_AGAIN, "try again")
    assert await resolver.resolve(f"n{REMEMBERED}.test", 80) == HERE
    with pytest.raises(socket.gaierror):
        await resolver.resolve("n0.test", 80)

"""What several of the agent's tests need: a relay, an identity, programs that end with their test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.identity import Identity
from tests.agent.fake_relay import FakeRelay, fake_relay

PROGRAM = Path(sys.executable).with_name("postern-agent")


@pytest.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with fake_relay() as running:
        yield running


@pytest.fixture
def identity(tmp_path: Path) -> Iterator[Identity]:
    opened = Identity.open(tmp_path / "state")
    yield opened
    opened.unlock()


@pytest.fixture
def token_file(tmp_path: Path, relay: FakeRelay) -> Path:
    path = tmp_path / "token"
    path.write_text(relay.token.reveal() + "\n")
    path.chmod(0o600)
    return path


@dataclass
class Finished:
    status: int
    out: str
    err: str


@dataclass
class Running:
    """A `postern-agent` that runs; its log is read line by line."""

    process: asyncio.subprocess.Process

    async def says(self, event: str) -> dict[str, Any]:
        """The next line of its log with this event."""
        assert self.process.stderr
        async with asyncio.timeout(20):
            while line := await self.process.stderr.readline():
                entry: dict[str, Any] = json.loads(line)
                if entry["event"] == event:
                    return entry
        raise AssertionError(f"it ended without saying {event!r}")

    async def ends(self, seconds: float = 15) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()


class Agent:
    """Starts the real program with a clean environment."""

    def __init__(self, tmp_path: Path) -> None:
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, *arguments: object, **environment: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *map(str, arguments),
            env=self.environment | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._running.append(process)
        return Running(process)

    async def finish(self, *arguments: object, **environment: str) -> Finished:
        """Run to the end."""
        running = await self.start(*arguments, **environment)
        async with asyncio.timeout(40):
            out, err = await running.process.communicate()
        return Finished(running.process.returncode or 0, out.decode(), err.decode())

    async def end_all(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    programs = Agent(tmp_path)
    yield programs
    await programs.end_all()


@dataclass
class Shop:
    """A TCP server that stands in for a store."""

    port: int
    connections: list[asyncio.StreamWriter]
    closed: list[asyncio.StreamWriter]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
OpenShop = Callable[[Handler], Any]


@pytest.fixture
async def open_shop() -> AsyncIterator[OpenShop]:
    """Starts a server with a handler; every connection is closed when the test ends."""
    servers: list[asyncio.Server] = []
    shops: list[Shop] = []

    async def start(handler: Handler) -> Shop:
        shop = Shop(0, [], [])

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            shop.connections.append(writer)
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                shop.closed.append(writer)
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        shop.port = server.sockets[0].getsockname()[1]
        servers.append(server)
        shops.append(shop)
        return shop

    yield start
    for server in servers:
        server.close()
    for shop in shops:
        for writer in shop.connections:
            writer.transport.abort()


async def eventually(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true within some seconds."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while not true():
        if loop.time() > ends:
            return False
        await asyncio.sleep(0.01)
    return True

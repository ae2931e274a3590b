"""The door before the handshake: who is turned away and with what words, who waits, and who is called first."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import asyncssh
import pytest

from agent.wire.ssh import FIRST_VERSION, SECOND_VERSION, SERVER
from relay.tunnels import door
from relay.tunnels.admission import Admission
from relay.tunnels.door import Doorkeeper

SECONDS = 5.0


class Gate:
    """A budget that lets in as many as the test says."""

    def __init__(self) -> None:
        self.open = 0
        self.ended: list[float] = []
        self.pause = 0.01

    def take(self) -> bool:
        self.open -= 1
        return self.open >= 0

    def end(self, began: float) -> None:
        self.ended.append(began)


class Login(asyncssh.SSHServer):
    """Notes in which order connections came to their handshake."""

    def __init__(self, came: list[str]) -> None:
        self._came = came

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._came.append(conn.get_extra_info("postern_remote"))
        self._ended: Callable[[], None] = conn.get_extra_info("postern_ended")

    def connection_lost(self, _exc: Exception | None) -> None:
        self._ended()


@dataclass
class Entrance:
    port: int
    admission: Admission
    keeper: Doorkeeper
    gate: Gate
    came: list[str]
    visitors: list[Visitor] = field(default_factory=list)

    async def knock(self, says: bytes = b"", address: str = "127.0.0.1") -> Visitor:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        writer.write(says)
        self.visitors.append(Visitor(reader, writer))  # whom nobody holds is closed
        return self.visitors[-1]

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not true():  # noqa: ASYNC110 - what is looked at tells nobody of its changes
                await asyncio.sleep(0.005)

    @property
    def waiting(self) -> int:
        return sum(len(each) for rank in self.keeper.line._ranks.values() for each in rank.values())


@dataclass
class Visitor:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hears(self) -> bytes:
        """One line; empty if the connection ends instead."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.readline()
            except ConnectionError:
                return b""


@pytest.fixture
async def entrance() -> AsyncIterator[Entrance]:
    admission = Admission(time.monotonic, places=4, each=3)
    keeper, gate, came = Doorkeeper(admission), Gate(), list[str]()
    keeper._budget = gate  # type: ignore[assignment]  # stands where the real one does
    keys = [asyncssh.generate_private_key("ssh-ed25519")]

    class Front:
        async def create_server(self, factory: door.Factory, _host: str, _port: int) -> asyncssh.SSHListener:
            loop = asyncio.get_running_loop()
            self.server = await loop.create_server(keeper.doors(factory), "127.0.0.1", 0)
            return asyncssh.SSHListener()

    front = Front()
    await asyncssh.listen(tunnel=front, server_factory=lambda: Login(came), server_host_keys=keys, **SERVER)
    sock: socket.socket = front.server.sockets[0]
    yield Entrance(sock.getsockname()[1], admission, keeper, gate, came)
    front.server.close()


def named(version: str) -> bytes:
    return f"SSH-2.0-{version}\r\n".encode()


async def test_first_tunnels_are_called_before_second_ones(entrance: Entrance) -> None:
    """Whoever says that another tunnel of its stands waits behind those who have none, whenever they came."""
    for address, version in (("127.0.0.2", SECOND_VERSION), ("127.0.0.3", FIRST_VERSION)):
        await entrance.knock(named(version), address)
        await entrance.until(lambda address=address: entrance.admission._pending[address])  # type: ignore[misc]  # bound now
    await entrance.until(lambda: entrance.waiting == 2)
    assert entrance.came == []
    for number, address in enumerate(("127.0.0.3", "127.0.0.2"), 1):
        entrance.gate.open = 1
        await entrance.until(lambda number=number: len(entrance.came) == number)  # type: ignore[misc]  # bound now
        assert entrance.came[-1] == address


async def test_who_was_outrun_by_its_own_other_dial_steps_back(entrance: Entrance) -> None:
    """Two dials at once, both as first ones: when one stands, the other goes behind the first ones of others."""
    await entrance.knock(named(FIRST_VERSION), "127.0.0.2")
    await entrance.until(lambda: entrance.waiting == 1)
    await entrance.knock(named(FIRST_VERSION), "127.0.0.3")
    await entrance.until(lambda: entrance.waiting == 2)
    entrance.admission.prove("127.0.0.2")
    entrance.gate.open = 1
    await entrance.until(lambda: entrance.came)
    assert entrance.came == ["127.0.0.3"]


async def test_who_leaves_the_line_gives_its_place_back(entrance: Entrance) -> None:
    """It is never called, and costs no handshake."""
    visitor = await entrance.knock(named(FIRST_VERSION))
    await entrance.until(lambda: entrance.waiting == 1)
    visitor.writer.close()
    await entrance.until(lambda: entrance.waiting == 0)
    assert entrance.admission.pending == 0
    entrance.gate.open = 1
    await asyncio.sleep(0.05)
    assert entrance.came == []


async def test_places_come_back_after_handshakes(entrance: Entrance) -> None:
    """However a handshake ends, its place is free and the budget hears of it once."""
    entrance.gate.open = 3
    visitors = [await entrance.knock(says) for says in (named("x"), named("x") + b"\0" * 100, b"GET / HTTP/1.1\r\n")]
    await entrance.until(lambda: len(entrance.came) == 3)
    for visitor in visitors:
        visitor.writer.close()
    await entrance.until(lambda: len(entrance.gate.ended) == 3)
    assert entrance.admission.pending == 0


async def test_too_many_are_told_so_before_any_cryptography(entrance: Entrance) -> None:
    """A plain line, and the end: RFC 4253 allows lines before the server's name."""
    for _ in range(3):
        await entrance.knock(named("x"))
    await entrance.until(lambda: entrance.waiting == 3)
    visitor = await entrance.knock(named("x"))
    assert (
        await visitor.hears()
        == b"postern: too many connections from this address wait to log in; try again in a moment\r\n"
    )
    assert await visitor.hears() == b""
    assert entrance.admission.pending == 3


async def test_who_failed_too_often_hears_nothing(entrance: Entrance) -> None:
    """The connection is reset, which costs least."""
    for _ in range(20):
        entrance.admission.fail("127.0.0.1")
    assert await (await entrance.knock(named("x"))).hears() == b""
    assert (await (await entrance.knock(named("x"), "127.0.0.2")).hears()).startswith(b"SSH-2.0-")


async def test_a_client_that_waits_for_the_servers_name_gets_it(entrance: Entrance) -> None:
    """A little later than others: `ssh-keyscan` is one."""
    entrance.gate.open = 1
    visitor = await entrance.knock()
    assert await visitor.hears() == named(SERVER["server_version"])


async def test_a_client_that_talks_on_is_cut_off(entrance: Entrance) -> None:
    """Nobody fills memory while it waits."""
    visitor = await entrance.knock(named("x") + b"\0" * 2 * door.SAID_BYTES)
    assert (await visitor.hears()) in {b"", named(SERVER["server_version"])}
    assert await visitor.hears() == b""
    await entrance.until(lambda: entrance.admission.pending == 0)


async def test_who_waits_too_long_is_sent_away(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no handshake begins whose client is about to give up."""
    monkeypatch.setattr(door, "WAIT_SECONDS", 0.1)
    visitor = await entrance.knock(named(FIRST_VERSION))
    await visitor.hears()
    assert await visitor.hears() == b""
    await entrance.until(lambda: entrance.admission.pending == 0)
    assert entrance.waiting == 0

"""Two ends of a tunnel on loopback, each lean or as asyncssh comes, with something between them that may meddle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncssh

from agent.wire.carrier import Carrier, Dialled
from agent.wire.channel import Channel
from agent.wire.limits import PACKET_BYTES, WINDOW_BYTES
from agent.wire.ssh import ALGORITHMS

NAME, PORT = "shop.lan", 80


class Gathering:
    """A receiver that keeps what comes and remembers how it ended; `then` is called with every piece."""

    def __init__(self, then: Callable[[bytes], None] | None = None) -> None:
        self.data = bytearray()
        self.ended = asyncio.Event()
        self.lost = asyncio.Event()
        self.more = asyncio.Event()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._then = then

    @property
    def paused(self) -> bool:
        return not self.flowing.is_set()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.more.set()
        if self._then:
            self._then(data)

    def eof_received(self) -> None:
        self.ended.set()
        self.more.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost.set()
        self.ended.set()
        self.more.set()

    def pause_writing(self) -> None:
        self.flowing.clear()

    def resume_writing(self) -> None:
        self.flowing.set()

    async def gather(self, size: int) -> bytes:
        while len(self.data) < size and not self.lost.is_set():
            self.more.clear()
            await self.more.wait()
        return bytes(self.data)


class Echoing(Channel):
    """The agent's end: sends back what it gets, and the end of it."""

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        super().connection_made(chan)
        receiver = Gathering(self.write)
        receiver.eof_received = self.write_eof  # type: ignore[method-assign]
        receiver.pause_writing = self.pause_reading  # type: ignore[method-assign]
        receiver.resume_writing = self.resume_reading  # type: ignore[method-assign]
        self.attach(receiver)


class PlainEchoing(asyncssh.SSHTCPSession[bytes]):
    """The same on asyncssh alone."""

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._chan = chan

    def data_received(self, data: bytes, _datatype: int | None = None) -> None:
        self._chan.write(data)

    def eof_received(self) -> bool:
        return False


@dataclass
class Pair:
    """`relay` and `agent` are the two SSH connections; `open` makes a channel whose data comes back."""

    relay: Any
    agent: Any

    async def open(self) -> Channel:
        _, channel = await self.relay.create_connection(
            Channel, NAME, PORT, "con", 0, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES
        )
        assert isinstance(channel, Channel)
        return channel

    async def exchange(self, data: bytes, *, piece: int = 50_000) -> bytes:
        """Send in pieces, heeding pressure, and gather what comes back."""
        channel, back = await self.open(), Gathering()
        channel.attach(back)
        for start in range(0, len(data), piece):
            await back.flowing.wait()
            channel.write(data[start : start + piece])
            await asyncio.sleep(0)
        channel.write_eof()
        got = await back.gather(len(data))
        channel.abort()
        return got


class _Server(asyncssh.SSHServer):
    def __init__(self, made: Callable[[asyncssh.SSHServerConnection], None]) -> None:
        self._made = made

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._made(conn)

    def begin_auth(self, _username: str) -> bool:
        return False

    def server_requested(self, _host: str, _port: int) -> asyncssh.SSHListener:
        return asyncssh.SSHListener()


class _Acceptor:
    """Takes connections for asyncssh, through a Carrier if `lean`."""

    def __init__(self, *, lean: bool) -> None:
        self._lean = lean

    async def create_server(self, factory: Callable[..., Any], _host: str, _port: int) -> asyncssh.SSHListener:
        def protocol() -> asyncio.Protocol:
            ssh = factory("", 0)
            return Carrier(ssh) if self._lean else ssh

        self.server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        return asyncssh.SSHListener()

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])


@asynccontextmanager
async def tunnel(
    *,
    lean_agent: bool = True,
    through: Callable[[int], Any] | None = None,
    relay_options: dict[str, Any] | None = None,
    agent_options: dict[str, Any] | None = None,
) -> AsyncIterator[Pair]:
    """A pair, ready to open channels. `through` takes the relay's port and yields another that leads there."""
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    acceptor = _Acceptor(lean=True)
    options = ALGORITHMS | {"server_host_keys": [host_key], "config": None} | (relay_options or {})
    await asyncssh.listen(tunnel=acceptor, server_factory=lambda: _Server(made.set_result), **options)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(acceptor.server.close)
        port = await stack.enter_async_context(through(acceptor.port)) if through else acceptor.port
        agent = await _dial(port, lean=lean_agent, options=agent_options or {})
        stack.callback(agent.abort)
        factory = Echoing if lean_agent else PlainEchoing
        await agent.create_server(lambda *_: factory(), NAME, PORT, window=WINDOW_BYTES, max_pktsize=PACKET_BYTES)
        relay = await made
        stack.callback(relay.abort)
        yield Pair(relay, agent)


async def _dial(port: int, *, lean: bool, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    common = ALGORITHMS | {
        "config": None,
        "known_hosts": None,
        "agent_path": None,
        "username": "x",
        "client_keys": None,
    }
    if not lean:
        return await asyncssh.connect("127.0.0.1", port, **(common | options))

    async def start(carrier: Carrier) -> Any:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: carrier, "127.0.0.1", port)
        return transport

    return await asyncssh.connect("relay", 1, tunnel=Dialled(start), **(common | options))

"""SSH over the WebSocket: the same login as over TCP, every byte, bounded memory, clean ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

import asyncssh
import pytest

from agent.wire.carrier import Carrier
from agent.wire.channel import Channel
from agent.wire.destination import Destination
from agent.wire.limits import TRANSPORT_HIGH_WATER_BYTES, WINDOW_BYTES
from agent.wire.websocket import WebSocket
from relay.tunnels.tunnel import Tunnel
from tests.relay.tunnels.websocket.scene import Scene

SHOP = Destination("shop.test", 80)
BULK = 64 * 1024 * 1024
PART = os.urandom(256 * 1024)


class Collector:
    """Takes what a channel brings; waits when told to."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.digest = hashlib.sha256()
        self.size = 0
        self.ended = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        channel.attach(self)

    def data_received(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)

    def eof_received(self) -> None:
        self.ended.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.ended.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def send(self, total: int) -> str:
        """So many bytes and an end; their SHA-256."""
        sent, digest = 0, hashlib.sha256()
        while sent < total:
            await self.writable.wait()
            self.channel.write(PART)
            digest.update(PART)
            sent += len(PART)
        self.channel.write_eof()
        return digest.hexdigest()


async def publish(connection: asyncssh.SSHClientConnection, handler: Any, tunnel: Tunnel, scene: Scene) -> None:
    await connection.start_server(
        lambda _host, _port: handler, SHOP.host, SHOP.port, encoding=None, window=WINDOW_BYTES
    )
    assert await scene.eventually(lambda: SHOP in tunnel.published)


async def echo(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@pytest.mark.timeout(180)
async def test_64_mib_pass_in_both_directions(scene: Scene) -> None:
    """At once, and byte for byte; the tunnel says what carries it and whose it is."""
    async with scene.agent() as (connection, tunnel):
        assert (tunnel.transport, tunnel.remote) == ("websocket", "127.0.0.1")
        await publish(connection, echo, tunnel, scene)
        taken = Collector(await tunnel.open(SHOP, "con_test"))
        sent = await taken.send(BULK)
        async with asyncio.timeout(120):
            await taken.ended.wait()
        assert (taken.size, taken.digest.hexdigest()) == (BULK, sent)


async def test_a_reader_that_stands_still_bounds_what_is_held(scene: Scene) -> None:
    """Twenty channels to an agent that takes nothing from its socket: one high-water mark is unsent, then all wait."""
    async with scene.agent() as (connection, tunnel):
        await publish(connection, echo, tunnel, scene)
        channels = [Collector(await tunnel.open(SHOP, f"con_{number}")) for number in range(20)]
        theirs: Any = connection.get_extra_info("carrier")
        below = theirs.ssh._transport._below
        assert isinstance(below, WebSocket)
        below.pause_reading()
        sending = [asyncio.ensure_future(channel.send(BULK)) for channel in channels]
        assert await scene.eventually(lambda: not any(channel.writable.is_set() for channel in channels))
        ours: Any = Carrier.of(tunnel._ssh)
        unsent = ours.ssh._transport._below.get_write_buffer_size()
        assert ours.full
        # each writer may have had one part on its way when the mark was reached
        assert unsent <= TRANSPORT_HIGH_WATER_BYTES + len(channels) * len(PART)
        await asyncio.sleep(0.3)
        assert ours.ssh._transport._below.get_write_buffer_size() <= unsent
        for each in sending:
            each.cancel()
        below.resume_reading()
        assert await scene.eventually(lambda: all(channel.writable.is_set() for channel in channels)), "it goes on"


async def test_both_ends_learn_of_a_clean_end(scene: Scene) -> None:
    """An agent that leaves is gone from the registry at once, and its connection is closed by the handshake."""
    async with scene.agent() as (connection, tunnel):
        connection.close()
        async with asyncio.timeout(5):
            await connection.wait_closed()
        assert await scene.eventually(lambda: tunnel not in set(scene.registry), 2)


async def test_a_cut_tunnel_ends_at_the_agent(scene: Scene) -> None:
    """What the relay cuts, the agent hears of within 3 s."""
    async with scene.agent() as (connection, tunnel):
        tunnel._ssh.abort()
        async with asyncio.timeout(3):
            await connection.wait_closed()
        assert tunnel not in set(scene.registry)


async def test_a_dead_line_ends_the_tunnel(scene: Scene) -> None:
    """A reset below the WebSocket reaches SSH on both ends."""
    async with scene.agent() as (connection, tunnel):
        theirs: Any = connection.get_extra_info("carrier")
        theirs.ssh._transport._below._below.abort()
        async with asyncio.timeout(3):
            await connection.wait_closed()
        assert await scene.eventually(lambda: tunnel not in set(scene.registry), 2)

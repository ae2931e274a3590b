"""The PROXY header in front of a connection: who may send one, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from typing import cast

import pytest

from relay.listening import preface
from relay.listening.caller import Trusted
from relay.listening.preface import REMOTE, Prefaces
from relay.listening.waiting import Waiting
from relay.tunnels.door import address_of
from tests.relay.listening.test_proxy_protocol import BAD, GOOD, four, v1

HEADER, CALLER = v1("198.51.100.7"), "198.51.100.7"
HERE, ELSEWHERE = Trusted([ipaddress.ip_network("127.0.0.0/8")]), Trusted([ipaddress.ip_network("10.0.0.0/8")])


class Inner(asyncio.Protocol):
    """Notes what reaches it, greets like an SSH server, and echoes."""

    def __init__(self, met: list[Inner]) -> None:
        met.append(self)
        self.got = b""
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.remote = address_of(transport)
        self.transport.write(b"hello ")

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.ended = True


class Listener:
    def __init__(self, trusted: Trusted) -> None:
        self.met: list[Inner] = []
        self.waiting = Waiting()
        self.prefaces = Prefaces(trusted, self.waiting)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Listener]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self.prefaces.before(lambda: Inner(self.met)), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        async with asyncio.timeout(5):
            await self.waiting.emptied()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(5):
                yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """All until the end; a reset is one too."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            got += data
    return got


@pytest.mark.parametrize("cut", [False, True], ids=["at once", "in pieces"])
async def test_a_trusted_proxy_speaks_for_its_client(cut: bool) -> None:
    """The protocol gets the client's address and the bytes behind the header, as if the client had connected."""
    for data, remote in GOOD:
        async with Listener(HERE).running() as listener, listener.client() as (reader, writer):
            for piece in [bytes([byte]) for byte in data] if cut else [data + b"bytes"]:
                writer.write(piece)
                if cut:
                    await writer.drain()
                    await asyncio.sleep(0)
            if cut:
                writer.write(b"bytes")
            assert await reader.readexactly(11) == b"hello bytes"
            assert [(inner.got, inner.remote) for inner in listener.met] == [(b"bytes", remote or "127.0.0.1")]


async def test_nobody_else_may() -> None:
    """From a stranger the header is just what the connection's protocol gets; nothing is waited for."""
    async with Listener(ELSEWHERE).running() as listener, listener.client() as (reader, writer):
        writer.write(HEADER)
        assert await reader.readexactly(6 + len(HEADER)) == b"hello " + HEADER
        assert [(inner.got, inner.remote) for inner in listener.met] == [(HEADER, "127.0.0.1")]
        async with listener.client() as (first_word, _):
            assert await first_word.readexactly(6) == b"hello "


async def test_without_trusted_proxies_nothing_stands_between() -> None:
    """The listener's own protocols are made directly."""
    inner = asyncio.Protocol
    assert Prefaces(Trusted(), Waiting()).before(inner) is inner


async def test_a_trusted_proxy_need_not_send_one() -> None:
    """Its first byte tells."""
    async with Listener(HERE).running() as listener, listener.client() as (reader, writer):
        writer.write(b"PROGRESS")
        assert await reader.readexactly(14) == b"hello PROGRESS"
        assert listener.met[0].remote == "127.0.0.1"
        assert listener.met[0].transport.get_extra_info(REMOTE) is None


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
async def test_a_bad_header_ends_the_connection(data: bytes) -> None:
    """Nothing behind it is served, and nothing is answered."""
    async with Listener(HERE).running() as listener, listener.client() as (reader, writer):
        writer.write(data)
        assert await end_of(reader) == b""
        assert listener.met == []
        assert listener.prefaces.refused == 1


async def test_silence_is_no_header_and_half_a_header_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing may wait for our first word; who has begun must go on."""
    monkeypatch.setattr(preface, "PATIENCE_SECONDS", 0.2)
    async with Listener(HERE).running() as listener, listener.client() as (reader, writer):
        assert await reader.readexactly(6) == b"hello "
        writer.write(HEADER)
        assert await reader.readexactly(len(HEADER)) == HEADER, "too late: it is the protocol's now"
        async with listener.client() as (late, half):
            half.write(HEADER[:20])
            assert await end_of(late) == b""
        assert len(listener.met) == 1


async def test_who_leaves_before_a_header_is_forgotten() -> None:
    """No protocol is made for it."""
    async with Listener(HERE).running() as listener:
        async with listener.client() as (_, writer):
            writer.write(HEADER[:5])
            await writer.drain()
            while not listener.waiting:  # noqa: ASYNC110 - what is waited for is inside the code under test
                await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            await listener.waiting.emptied()
        assert listener.met == []


async def test_bytes_pass_both_ways_behind_a_header() -> None:
    """A megabyte, echoed, with the flow control of the connection's own transport."""
    body = bytes(range(256)) * 4096
    async with Listener(HERE).running() as listener, listener.client() as (reader, writer):
        writer.write(four(CALLER) + body)
        assert await reader.readexactly(6 + len(body)) == b"hello " + body
        assert listener.met[0].remote == CALLER
        listener.met[0].transport.close()
        assert await end_of(reader) == b""
        assert listener.met[0].ended

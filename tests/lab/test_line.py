"""What the hop does to what goes through it."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from tests.lab.delayproxy import Control
from tests.lab.line import Proxy

HOST = "127.0.0.1"
WAIT_S = 5.0


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while received := await reader.read(1 << 16):
                writer.write(received)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@contextlib.asynccontextmanager
async def hop(**troubles: float) -> AsyncIterator[Proxy]:
    async with echo() as port:
        proxy = Proxy((HOST, 0), (HOST, port), **troubles)
        proxy.listen()
        yield proxy
        proxy.close()


async def call(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*proxy.listen_at)


async def swap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: bytes = b"hello") -> bytes:
    writer.write(what)
    async with asyncio.timeout(WAIT_S):
        return await reader.readexactly(len(what))


async def test_delay_is_added_to_each_way() -> None:
    """A round trip through 20 ms each way takes 40 ms, and an open one more."""
    async with hop(delay_ms=20) as proxy:
        before = time.monotonic()
        reader, writer = await call(proxy)
        await swap(reader, writer)
        opened = time.monotonic()
        await swap(reader, writer)
        assert opened - before >= 0.080
        assert 0.040 <= time.monotonic() - opened < 1
        writer.close()


async def test_bytes_pass_whole_and_in_order() -> None:
    """4 MiB come back as they were sent, through delay and jitter."""
    sent = bytes(range(256)) * 16384
    async with hop(delay_ms=2, jitter_ms=5) as proxy:
        reader, writer = await call(proxy)
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(WAIT_S):
            assert await reader.read(-1) == sent
        assert proxy.stats()["queued"] == 0
        writer.close()


async def test_rate_limits() -> None:
    """250 kB at 8 Mbit/s take a quarter of a second each way, at least."""
    async with hop(rate_mbit=8) as proxy:
        reader, writer = await call(proxy)
        before = time.monotonic()
        await swap(reader, writer, bytes(250_000))
        assert time.monotonic() - before >= 0.25
        writer.close()


async def test_a_black_hole_swallows_and_then_cuts() -> None:
    """Nothing comes through, not even an end; after resume what lost bytes is reset."""
    async with hop() as proxy:
        reader, writer = await call(proxy)
        await swap(reader, writer)
        proxy.blackhole()
        writer.write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        proxy.resume()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), WAIT_S)
        assert proxy.swallowed == len(b"lost")


async def test_an_old_connection_may_be_dead_while_new_ones_work() -> None:
    """As when a router has forgotten one mapping."""
    async with hop() as proxy:
        reader, writer = await call(proxy)
        await swap(reader, writer)
        proxy.blackhole_old()
        writer.write(b"lost")
        newer = await call(proxy)
        assert await swap(*newer) == b"hello"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()
        newer[1].close()


async def test_a_stall_loses_nothing() -> None:
    """What was held comes after resume."""
    async with hop() as proxy:
        reader, writer = await call(proxy)
        await swap(reader, writer)
        proxy.stall()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.2)
        proxy.resume()
        assert await asyncio.wait_for(reader.readexactly(4), WAIT_S) == b"held"
        writer.close()


@pytest.mark.parametrize(("command", "error"), [("cut", ConnectionResetError), ("cut-soft", None)])
async def test_a_cut_is_a_reset_or_an_end(command: str, error: type[Exception] | None) -> None:
    """RST and FIN are what a peer sees of `cut` and `cut-soft`."""
    async with hop() as proxy:
        reader, writer = await call(proxy)
        await swap(reader, writer)
        assert "error" not in Control(proxy).obey(command)
        with pytest.raises(error) if error else contextlib.nullcontext():
            assert await asyncio.wait_for(reader.read(1), WAIT_S) == b""
        assert proxy.stats()["connections"] == 0
        writer.close()


async def test_refused_and_accepted_again() -> None:
    """A closed listener refuses; the same address accepts again."""
    async with hop() as proxy:
        Control(proxy).obey("refuse")
        with pytest.raises(ConnectionRefusedError):
            await call(proxy)
        Control(proxy).obey("accept")
        reader, writer = await call(proxy)
        assert await swap(reader, writer) == b"hello"
        writer.close()


async def test_a_wrong_command_changes_nothing() -> None:
    """It is answered with what is wrong."""
    async with hop(delay_ms=1) as proxy:
        control = Control(proxy)
        assert control.obey("delay 7")["delay_ms"] == 7
        assert "error" in control.obey("delay soon")
        assert "error" in control.obey("explode")
        assert "error" in control.obey("cut 1")
        assert control.obey("")["delay_ms"] == 7


def test_the_command_line_tells_where_it_listens() -> None:
    """Its first line names both ports; the control port answers; SIGTERM ends it with 0."""
    command = ["--listen", f"{HOST}:0", "--to", f"{HOST}:1", "--control", f"{HOST}:0", "--delay-ms", "3"]
    with subprocess.Popen([sys.executable, "-m", "tests.lab.delayproxy", *command], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            host, _, port = told["control"].rpartition(":")
            with socket.create_connection((host, int(port)), timeout=WAIT_S) as control:
                control.sendall(b"stats\n")
                assert json.loads(control.recv(4096))["delay_ms"] == 3
            process.terminate()
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()

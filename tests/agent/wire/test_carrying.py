"""The lean ways of sending and receiving, and the carrier's pressure: what asyncssh would have done, only cheaper."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.wire.carrier import Carrier
from agent.wire.channel import Channel
from agent.wire.limits import BULK_WINDOW_BYTES, BULK_WINDOWS_PER_TUNNEL, TRANSPORT_HIGH_WATER_BYTES, WINDOW_BYTES
from agent.wire.sending import JOINED_PACKETS, LeanSending
from tests.agent.wire.pair import Gathering, tunnel

NOT_AEAD = {"encryption_algs": ["aes128-ctr"], "mac_algs": ["hmac-sha2-256-etm@openssh.com"]}


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - test data


@pytest.mark.parametrize("lean_agent", [True, False], ids=["lean", "as asyncssh comes"])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 2048, 128 * 1024, WINDOW_BYTES + 1, 5_000_000])
async def test_bytes_pass_unchanged_both_ways(size: int, *, lean_agent: bool) -> None:
    """Whatever the size and whoever the peer, what was sent comes back."""
    async with tunnel(lean_agent=lean_agent) as pair:
        assert hashlib.sha256(await pair.exchange(noise(size))).digest() == hashlib.sha256(noise(size)).digest()


async def test_many_channels_at_once_do_not_mix() -> None:
    """Thirty channels in parallel each get their own bytes."""
    async with tunnel() as pair:
        sent = [noise(40_000, seed) for seed in range(30)]
        assert await asyncio.gather(*(pair.exchange(data, piece=777) for data in sent)) == sent


@pytest.mark.parametrize("side", ["relay_options", "agent_options"])
async def test_rekeying_under_load_loses_nothing(side: str) -> None:
    """Keys change every 200 kB, begun by either side, in the middle of transfers."""
    often: dict[str, Any] = {side: {"rekey_bytes": 200_000}}
    async with tunnel(**often) as pair:
        sent = [noise(1_500_000, seed) for seed in range(3)]
        assert await asyncio.gather(*(pair.exchange(data) for data in sent)) == sent


async def test_rekeying_by_time_loses_nothing() -> None:
    """Keys change by the clock as well."""
    async with tunnel(relay_options={"rekey_seconds": 1}) as pair:
        before = pair.relay._send_encryption
        deadline = asyncio.get_running_loop().time() + 20
        while pair.relay._send_encryption is before:
            assert asyncio.get_running_loop().time() < deadline
            assert await pair.exchange(noise(100_000)) == noise(100_000)


async def test_ignore_packets_are_spared_under_aead_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a cipher that is no AEAD one, nothing is sent by the lean way, and MSG_IGNORE stays."""
    lean: list[int] = []
    send = LeanSending._send_data

    def counted(self: LeanSending, payload: bytes, cipher: Any) -> None:
        lean.append(len(payload))
        send(self, payload, cipher)

    monkeypatch.setattr(LeanSending, "_send_data", counted)
    async with tunnel(relay_options=NOT_AEAD, agent_options=NOT_AEAD) as pair:
        assert await pair.exchange(noise(5000)) == noise(5000)
    assert lean == []
    async with tunnel() as pair:
        assert await pair.exchange(noise(5000)) == noise(5000)
    assert lean


async def test_the_packets_of_a_turn_leave_in_few_writes() -> None:
    """Packets of many channels, written in one turn, leave in writes of a few: none alone, not all together."""
    async with tunnel() as pair:
        channels = [await pair.open() for _ in range(10)]
        below = pair.relay._transport._below
        writes: list[int] = []

        class Counting:
            def write(self, data: bytes) -> None:
                writes.append(len(data))
                below.write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(below, name)

        pair.relay._transport._below = Counting()
        for channel in channels:
            channel.write(b"x" * 100)
        await asyncio.sleep(0)
        assert len(writes) == -(-10 // JOINED_PACKETS)


def flipping(offset: int) -> Callable[[int], Any]:
    """A hop that turns one bit over, `offset` bytes after it was told to begin."""

    @asynccontextmanager
    async def through(port: int) -> AsyncIterator[int]:
        loop = asyncio.get_running_loop()
        hop.left = None

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, meddle: bool) -> None:
            while data := await reader.read(65536):
                if meddle and hop.left is not None and 0 <= hop.left < len(data):
                    data = data[: hop.left] + bytes([data[hop.left] ^ 1]) + data[hop.left + 1 :]
                    hop.left = -1
                elif meddle and hop.left is not None and hop.left >= 0:
                    hop.left -= len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onwards, back = await asyncio.open_connection("127.0.0.1", port)
            tasks = (
                loop.create_task(pump(reader, back, meddle=True)),
                loop.create_task(pump(onwards, writer, meddle=False)),
            )
            await asyncio.gather(*tasks, return_exceptions=True)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    class Hop:
        left: int | None = None

        def begin(self) -> None:
            self.left = offset

    hop = Hop()
    through.begin = hop.begin  # type: ignore[attr-defined]
    return through


@pytest.mark.parametrize("offset", [*range(40), 100, 333, 1000, 2000])
async def test_a_flipped_bit_is_an_end_never_data(offset: int) -> None:
    """One bit turned over anywhere on the line ends the tunnel; no wrong byte is delivered."""
    through = flipping(offset)
    async with tunnel(through=through) as pair:
        channel, back = await pair.open(), Gathering()
        channel.attach(back)
        through.begin()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while not back.lost.is_set():  # a flipped length waits for as many bytes
                if not back.paused and not channel.is_closing():
                    channel.write(noise(3000))
                await asyncio.sleep(0)
        repeated = noise(3000) * (len(back.data) // 3000 + 1)
        assert repeated.startswith(bytes(back.data))


@asynccontextmanager
async def stalled(port: int) -> AsyncIterator[int]:
    """A hop whose way to the agent can be stopped."""
    flowing.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stops: bool) -> None:
        while data := await reader.read(65536):
            if stops:
                await flowing.wait()
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onwards, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back, stops=False), pump(onwards, writer, stops=True), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=65536)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


flowing = asyncio.Event()


async def test_a_line_that_stands_still_pauses_every_writer() -> None:
    """Fifty writers that heed the pause queue no more than the transport's mark and a piece each."""
    async with tunnel(through=stalled) as pair:
        channels = [(await pair.open(), Gathering()) for _ in range(50)]
        for channel, receiver in channels:
            channel.attach(receiver)
        flowing.clear()
        for _ in range(400):
            for channel, receiver in channels:
                if not receiver.paused:
                    channel.write(noise(16_000))
            await asyncio.sleep(0)
        assert all(receiver.paused for _, receiver in channels)
        below = pair.relay._transport._below
        assert below.get_write_buffer_size() <= TRANSPORT_HIGH_WATER_BYTES + 50 * 16_100
        flowing.set()
        await asyncio.wait_for(asyncio.gather(*(receiver.flowing.wait() for _, receiver in channels)), 30)


async def test_a_receiver_that_fails_loses_its_channel_only() -> None:
    """asyncssh would end the whole tunnel."""

    def fail(_data: bytes) -> None:
        raise RuntimeError("a receiver's own fault")

    async with tunnel() as pair:
        failing, back = await pair.open(), Gathering(fail)
        failing.attach(back)
        failing.write(b"x")
        await asyncio.wait_for(back.lost.wait(), 10)
        assert await pair.exchange(b"the neighbour goes on") == b"the neighbour goes on"


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - asyncssh tells nobody of it
            await asyncio.sleep(0)


async def test_what_is_written_after_the_end_goes_nowhere() -> None:
    """The other side has closed while a paused reader still has to take what came before: nothing of that is lost."""
    async with tunnel() as pair:
        channel = await pair.open()
        back = Gathering(lambda _data: channel.pause_reading())
        channel.attach(back)
        channel.write(b"first")
        await back.gather(5)
        channel.write(b"second")
        await until(lambda: channel._chan._recv_buf)
        pair.agent._channels[next(iter(pair.agent._channels))].close()
        await until(channel.is_closing)
        channel.write(b"too late")
        channel.resume_reading()
        assert await asyncio.wait_for(back.gather(11), 10) == b"firstsecond"


def bulk_of(channel: Channel) -> bool:
    return channel._window.bulk


async def test_bulk_is_given_a_longer_window_and_gives_it_back() -> None:
    """A channel that carries much without a pause may have more in flight; a reader that pauses may not."""
    async with tunnel() as pair:
        carrier = Carrier.of(pair.relay)
        channel, back = await pair.open(), Gathering()
        channel.attach(back)
        sent = 0
        while sent < 4 * WINDOW_BYTES:
            if not back.paused:
                channel.write(noise(50_000))
                sent += 50_000
            await asyncio.sleep(0)
        await back.gather(sent)
        assert bulk_of(channel)
        assert carrier.bulk_windows == BULK_WINDOWS_PER_TUNNEL - 1
        channel.pause_reading()
        assert not bulk_of(channel)
        channel.abort()
        await asyncio.wait_for(back.lost.wait(), 10)
        assert carrier.bulk_windows == BULK_WINDOWS_PER_TUNNEL


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_reader_that_pauses_again_and_again_holds_one_window(*, bulk: bool) -> None:
    """However often the reader pauses and goes on, what waits for it never exceeds the window (asyncssh's own grants
    let a new one in each time)."""
    async with tunnel() as pair:
        channel = await pair.open()
        pause = channel._chan.pause_reading if bulk else channel.pause_reading  # the latter gives bulk back
        back = Gathering(lambda _data: pause())
        channel.attach(back)
        channel._window.bulk = bulk
        most = 0
        for _ in range(400):
            while not back.paused and len(channel._chan._send_buf) < 8:
                channel.write(noise(100_000))
            await asyncio.sleep(0.002)
            most = max(most, sum(len(data) for data, _ in channel._chan._recv_buf))
            channel.resume_reading()
        assert len(back.data) > 2 * WINDOW_BYTES
        assert most <= (BULK_WINDOW_BYTES if bulk else WINDOW_BYTES)


async def test_a_lost_tunnel_tells_every_channel() -> None:
    """The end of the connection reaches all channels, and the carrier knows of it before they do."""
    async with tunnel() as pair:
        carrier = Carrier.of(pair.relay)
        channels = [(await pair.open(), Gathering()) for _ in range(5)]
        for channel, receiver in channels:
            channel.attach(receiver)
        pair.agent.abort()
        await asyncio.wait_for(asyncio.gather(*(receiver.lost.wait() for _, receiver in channels)), 10)
        assert carrier.lost
        assert carrier.channels == 0

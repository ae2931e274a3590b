"""Channels to stores, over a real pair of SSH connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncssh
import pytest

from agent import dialling
from agent import forward as forward_module
from agent import forwarder as forwarder_module
from agent.enrolment import Enrolment
from agent.forward import Forward
from agent.forwarder import DialError, dial
from agent.https import Link
from agent.identity import Identity
from agent.racing import Won
from agent.resolver import Address, Resolver
from agent.transports import TcpDialer
from agent.tunnel import Tunnel
from agent.wire.channel import Channel
from agent.wire.destination import Store
from agent.wire.limits import PACKET_BYTES, WINDOW_BYTES
from agent.wire.originator import Originator
from agent.wire.refusal import ChannelRefusal
from tests.agent import fake_relay
from tests.agent.conftest import OpenShop, eventually
from tests.agent.fake_relay import FakeRelay

WIDE: dict[str, Any] = {"window": WINDOW_BYTES, "max_pktsize": PACKET_BYTES}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Pair:
    """Both ends of one tunnel."""

    def __init__(self, agent: Tunnel, relay: fake_relay.Tunnel) -> None:
        self.agent = agent
        self.relay = relay

    async def refused(self, host: str, port: int = 80) -> int:
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await self.relay.open(host, port)
        return int(caught.value.code)


OpenPair = Callable[..., Any]


@pytest.fixture
async def pair(relay: FakeRelay, identity: Identity) -> AsyncIterator[OpenPair]:
    """Opens a tunnel that publishes the stores."""
    opened: list[Tunnel] = []

    async def open_pair(*stores: str, resolver: Resolver | None = None) -> Pair:
        published = tuple(Store.parse(store) for store in stores)
        enrolment = Enrolment(relay.url, identity, lambda: relay.token, Link(relay.url, None))
        admission = await enrolment.enrol(published)
        resolver = resolver or Resolver()
        endpoint = admission.endpoints[0]
        won = Won(await TcpDialer(resolver).dial(endpoint), endpoint)
        tunnel = await Tunnel.open(admission, won, resolver)
        opened.append(tunnel)
        return Pair(tunnel, await relay.tunnel(stores=len(stores)))

    yield open_pair
    for tunnel in opened:
        await tunnel.close()


class Names(Resolver):
    """A resolver that answers from a table; what is not in it does not exist, None never answers."""

    def __init__(self, **table: str | None) -> None:
        super().__init__()
        self.table = table

    async def resolve(self, host: str, port: int, seconds: float = 5) -> list[Address]:
        name = host.replace(".", "_").replace("-", "_")
        if name not in self.table:
            return await super().resolve(host, port, seconds)
        found = self.table[name]
        if found is None:
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in found.split()]


async def test_bytes_travel_both_ways_unchanged(pair: OpenPair, open_shop: OpenShop) -> None:
    """Several megabytes of anything come back as they went, in many channels at once."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")

    async def once(size: int) -> None:
        sent = os.urandom(size)
        reader, writer = await tunnel.relay.open("shop.lan", 80, **WIDE)
        sending = asyncio.ensure_future(_send(writer, sent))
        received = await reader.read(-1)
        await sending
        assert received == sent

    await asyncio.gather(*(once(size) for size in (1, 70_000, 3_000_000, 5_000_000)))
    assert await eventually(lambda: tunnel.agent.channels == 0)


async def _send(writer: asyncssh.SSHWriter[bytes], data: bytes) -> None:
    for i in range(0, len(data), 65536):
        writer.write(data[i : i + 65536])
        await writer.drain()
    writer.write_eof()


async def test_the_relay_may_end_first_and_still_hear_the_answer(pair: OpenPair, open_shop: OpenShop) -> None:
    """Half-close towards the store: it answers after the end of the request, and its own end arrives."""

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read(-1)
        writer.write(b"heard " + request)
        await writer.drain()

    shop = await open_shop(answer_at_the_end)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    reader, writer = await tunnel.relay.open("shop.lan", 80)
    writer.write(b"everything")
    writer.write_eof()
    assert await reader.read(-1) == b"heard everything"


async def test_the_store_may_end_first_and_still_hear_the_request(pair: OpenPair, open_shop: OpenShop) -> None:
    """Half-close towards the relay: its end of file arrives, and what is sent afterwards still reaches the store."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def end_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"goodbye")
        writer.write_eof()
        heard.set_result(await reader.read(-1))

    shop = await open_shop(end_early)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    reader, writer = await tunnel.relay.open("shop.lan", 80)
    assert await reader.read(-1) == b"goodbye"
    writer.write(b"but I was")
    writer.write(b" not done")
    writer.write_eof()
    assert await asyncio.wait_for(heard, 5) == b"but I was not done"
    assert await eventually(lambda: tunnel.agent.channels == 0)


SMALL = 64 * 1024
"""A window that the tests below fill."""


async def test_a_store_that_speaks_and_leaves_is_heard_to_the_end_however_late(
    pair: OpenPair, open_shop: OpenShop
) -> None:
    """The relay reads only after the store is gone: more than its window arrives, then end of file and close."""

    async def shout(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(SMALL + 20_000))
        await writer.drain()

    shop = await open_shop(shout)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    session = await Listener.open(tunnel, paused=True)
    session.chan.write_eof()
    forward = next(iter(tunnel.agent._forwarder._forwards))
    assert await eventually(forward.store.is_closing)
    session.chan.resume_reading()
    await asyncio.wait_for(session.lost.wait(), 5)
    assert session.received == SMALL + 20_000
    assert session.eof
    assert session.error is None
    assert await eventually(lambda: tunnel.agent.channels == 0)


class Listener(asyncssh.SSHTCPSession[bytes]):
    """The relay's end of a channel, as it happens."""

    def __init__(self) -> None:
        self.received = 0
        self.paused = False
        self.eof = False
        self.error: Exception | None = None
        self.lost = asyncio.Event()

    @classmethod
    async def open(cls, pair: Pair, *, paused: bool = False) -> Listener:
        listener = cls()
        listener.paused = paused
        await pair.relay.ssh.create_connection(
            lambda: listener, "shop.lan", 80, "con_x", 1, encoding=None, window=SMALL, max_pktsize=SMALL
        )
        return listener

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self.chan = chan
        if self.paused:
            chan.pause_reading()

    def data_received(self, data: bytes, _datatype: int | None) -> None:
        self.received += len(data)

    def eof_received(self) -> bool:
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()


async def test_a_reset_by_the_store_ends_the_channel_without_an_end_of_file(
    pair: OpenPair, open_shop: OpenShop
) -> None:
    """What it had sent still arrives, but an answer without a length is not taken for complete."""
    size = SMALL + 20_000

    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(size))
        await writer.drain()
        assert await eventually(lambda: any(one.moved == size for one in tunnel.agent._forwarder._forwards))
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    shop = await open_shop(reset)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    session = await Listener.open(tunnel, paused=True)
    assert await eventually(lambda: len(shop.closed) == 1)
    forward = next(iter(tunnel.agent._forwarder._forwards))
    assert await eventually(forward.store.is_closing)
    session.chan.resume_reading()
    await asyncio.wait_for(session.lost.wait(), 5)
    assert session.received == size
    assert not session.eof


async def test_a_channel_that_the_relay_closes_closes_the_stores_connection(
    pair: OpenPair, open_shop: OpenShop
) -> None:
    """Nothing stays open on the LAN for a caller who went away."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    _, writer = await tunnel.relay.open("shop.lan", 80)
    writer.write(b"x")
    assert await eventually(lambda: len(shop.connections) == 1)
    writer.close()
    assert await eventually(lambda: len(shop.closed) == 1)
    assert await eventually(lambda: tunnel.agent.channels == 0)


async def test_a_lost_tunnel_takes_every_connection_to_the_stores_with_it(
    pair: OpenPair, open_shop: OpenShop, silent_port: int
) -> None:
    """Also those that were just being dialled."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}", f"http://slow.lan=127.0.0.1:{silent_port}")
    for _ in range(5):
        await tunnel.relay.open("shop.lan", 80)
    opening = asyncio.ensure_future(tunnel.relay.open("slow.lan", 80))
    assert await eventually(lambda: tunnel.agent.channels == 6)
    tunnel.relay.ssh.abort()
    assert await eventually(lambda: len(shop.closed) == 5)
    assert await eventually(lambda: tunnel.agent.channels == 0)
    with pytest.raises((asyncssh.Error, OSError)):
        await opening


async def test_each_failure_of_the_dial_has_its_code(pair: OpenPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay hears a number of ours for each reason, and the tunnel outlives them all."""
    tunnel = await pair(
        f"http://refused.lan=127.0.0.1:{unused_port()}",
        "http://unknown.lan",
        "http://silent.lan",
        "http://far.lan=10.0.0.1:80",
        "http://odd.lan=10.0.0.2:80",
        "http://hungry.lan=10.0.0.3:80",
        resolver=Names(unknown_lan="", silent_lan=None),
    )
    monkeypatch.setattr(forwarder_module.dial, "__defaults__", (0.2,))
    connect = dialling._connect

    async def fail(where: Address) -> socket.socket:
        numbers = {"10.0.0.1": errno.EHOSTUNREACH, "10.0.0.2": errno.EDOM, "10.0.0.3": errno.EMFILE}
        if number := numbers.get(where[1][0]):
            raise OSError(number, os.strerror(number))
        return await connect(where)

    monkeypatch.setattr(dialling, "_connect", fail)
    assert await tunnel.refused("refused.lan") == ChannelRefusal.STORE_REFUSED
    assert await tunnel.refused("unknown.lan") == ChannelRefusal.STORE_DNS
    assert await tunnel.refused("silent.lan") == ChannelRefusal.STORE_DNS
    assert await tunnel.refused("far.lan") == ChannelRefusal.STORE_UNREACHABLE
    assert await tunnel.refused("odd.lan") == ChannelRefusal.AGENT_FAULT
    assert await tunnel.refused("hungry.lan") == ChannelRefusal.AGENT_BUSY
    assert tunnel.agent.standing
    assert tunnel.agent.channels == 0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A listener whose queue is full: it never completes another connection."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    yield full.getsockname()[1]
    for sock in (*fillers, full):
        sock.close()


async def test_a_store_that_does_not_answer_is_given_up_in_time(silent_port: int) -> None:
    """That is a timeout, at the deadline."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(DialError, match=r"did not answer within 0\.3 s") as caught:
        await dial(Store.parse(f"http://shop.lan=127.0.0.1:{silent_port}"), Resolver(), 0.3)
    assert caught.value.refusal is ChannelRefusal.STORE_TIMEOUT
    assert asyncio.get_running_loop().time() - began < 2


async def test_nothing_but_the_published_names_can_be_opened(pair: OpenPair, open_shop: OpenShop) -> None:
    """Not the address behind a name, not another port, not the upper-case spelling: SSH itself refuses."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    for host, port in (("127.0.0.1", shop.port), ("shop.lan", 81), ("SHOP.LAN", 80), ("", 0), ("x" * 300, 80)):
        assert await tunnel.refused(host, port) == asyncssh.OPEN_CONNECT_FAILED
    assert shop.connections == []


@pytest.mark.parametrize(
    "found",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
async def test_a_name_that_leads_to_this_machine_is_not_dialled(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers for the LAN's names cannot turn the agent on its own machine or a metadata service."""
    dialled: list[object] = []

    async def count(planned: object, _seconds: float) -> socket.socket:
        dialled.append(planned)
        raise OSError

    monkeypatch.setattr(forwarder_module, "connect", count)
    with pytest.raises(DialError, match="leads to") as caught:
        await dial(Store.parse("http://shop.lan"), Names(shop_lan=found))
    assert caught.value.refusal is ChannelRefusal.STORE_UNREACHABLE
    assert dialled == []


async def test_of_several_addresses_only_the_harmless_ones_are_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad address among good ones is left out."""
    dialled: list[str] = []

    async def note(planned: list[Any], _seconds: float) -> socket.socket:
        dialled.extend(attempt.address[1][0] for attempt in planned)
        raise OSError

    monkeypatch.setattr(forwarder_module, "connect", note)
    with pytest.raises(DialError):
        await dial(Store.parse("http://shop.lan"), Names(shop_lan="10.0.0.1 127.0.0.1 fd00::1"))
    assert dialled == ["10.0.0.1", "fd00::1"]


@pytest.mark.parametrize("store", ["http://localhost:{}", "http://127.0.0.1:{}", "http://shop.lan=127.0.0.1:{}"])
async def test_this_machine_is_dialled_where_it_is_written_out(open_shop: OpenShop, store: str) -> None:
    """A shop beside the agent is reached, as the merchant's own file says."""
    shop = await open_shop(echo)
    with await dial(Store.parse(store.format(shop.port)), Resolver()) as reached:
        assert reached.getpeername()[1] == shop.port


async def test_above_the_cap_channels_are_refused_as_busy(pair: OpenPair, open_shop: OpenShop) -> None:
    """And taken again as soon as one is closed."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    tunnel.agent._forwarder._limit = 3
    opened = [await tunnel.relay.open("shop.lan", 80) for _ in range(3)]
    assert await tunnel.refused("shop.lan") == ChannelRefusal.AGENT_BUSY
    opened[0][1].close()
    assert await eventually(lambda: tunnel.agent.channels == 2)
    await tunnel.relay.open("shop.lan", 80)


async def test_a_leaving_tunnel_takes_no_more_but_finishes_what_runs(pair: OpenPair, open_shop: OpenShop) -> None:
    """New channels are refused with a code of their own; `done` waits for the running one."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    reader, writer = await tunnel.relay.open("shop.lan", 80)
    tunnel.agent.leave("as the test wants")
    assert await tunnel.refused("shop.lan") == ChannelRefusal.AGENT_LEAVING
    done = asyncio.ensure_future(tunnel.agent.done())
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"
    assert not done.done()
    writer.write_eof()
    await asyncio.wait_for(done, 5)


async def test_a_slow_reader_at_the_relay_slows_the_store_down(pair: OpenPair, open_shop: OpenShop) -> None:
    """A download that nobody reads stops after some megabytes of buffers, and goes on when it is read."""
    sent = 0
    total = 64 * 1024 * 1024

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    shop = await open_shop(pour)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    reader, _ = await tunnel.relay.open("shop.lan", 80, **WIDE)
    await _standstill(lambda: sent)
    assert sent < 16 * 1024 * 1024
    while data := await reader.read(1 << 20):
        total -= len(data)
        if total < 48 * 1024 * 1024:
            break
    assert await eventually(lambda: sent > 16 * 1024 * 1024)


async def test_a_slow_reader_at_the_store_slows_the_relay_down(pair: OpenPair, open_shop: OpenShop) -> None:
    """An upload that the store does not read fills its window and no more."""
    go_on = asyncio.Event()
    heard = 0

    async def dawdle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await go_on.wait()
        while data := await reader.read(65536):
            heard += len(data)

    shop = await open_shop(dawdle)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    _, writer = await tunnel.relay.open("shop.lan", 80)
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        writer.write_eof()

    pouring = asyncio.ensure_future(pour())
    await _standstill(lambda: sent)
    assert sent < 16 * 1024 * 1024
    go_on.set()
    await asyncio.wait_for(pouring, 20)
    assert await eventually(lambda: heard == 64 * 1024 * 1024, 20)


async def _standstill(value: Callable[[], int]) -> None:
    """Wait until it has moved, and then not moved for a while."""
    assert await eventually(lambda: value() > 0)
    before = -1
    while before != value():
        before = value()
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("where", ["_open", "_forward", "join", "connection_made"])
async def test_an_exception_in_a_factory_or_session_does_not_kill_the_tunnel(
    pair: OpenPair, open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The channel is refused as a fault of the agent, or closed; its neighbour does not notice."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    reader, writer = await tunnel.relay.open("shop.lan", 80)

    def fail(*_args: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as broken:
        if where == "_open":
            broken.setattr(tunnel.agent._forwarder, "_open", fail)
        elif where == "_forward":
            broken.setattr(forwarder_module, "_forward", fail)
        elif where == "join":
            broken.setattr(Forward, "join", fail)
        else:
            broken.setattr(Channel, "connection_made", fail)
        if where in {"_open", "_forward"}:
            assert await tunnel.refused("shop.lan") == ChannelRefusal.AGENT_FAULT
        else:
            fresh, _ = await tunnel.relay.open("shop.lan", 80)
            assert await asyncio.wait_for(fresh.read(-1), 5) == b""
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"
    assert await eventually(lambda: len(shop.closed) == len(shop.connections) - 1)
    assert await eventually(lambda: tunnel.agent.channels == 1)


@pytest.mark.parametrize("callback", ["data_received", "eof_received", "pause_writing"])
async def test_an_exception_in_a_callback_costs_one_channel(
    pair: OpenPair, open_shop: OpenShop, monkeypatch: pytest.MonkeyPatch, callback: str
) -> None:
    """What the relay sends into a broken receiver closes that channel, and no other."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    calm_reader, calm_writer = await tunnel.relay.open("shop.lan", 80)
    reader, writer = await tunnel.relay.open("shop.lan", 80)

    def fail(*_args: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as broken:
        broken.setattr(forward_module.FromRelay, callback, fail)
        if callback == "pause_writing":
            for forward in tunnel.agent._forwarder._forwards:
                if forward.moved == 0:
                    forward.channel.pause_writing()
                    break
        else:
            writer.write(b"x")
            writer.write_eof()
        if callback != "pause_writing":
            assert b"x".startswith(await asyncio.wait_for(reader.read(-1), 5))
        assert await eventually(lambda: tunnel.agent.channels == 1)
    assert tunnel.agent.standing
    for one_reader, one_writer in ((calm_reader, calm_writer), (reader, writer)):
        if not one_writer.is_closing():
            one_writer.write(b"still here")
            assert await one_reader.readexactly(10) == b"still here"


@pytest.mark.parametrize("seconds", [0, 0.001, 0.003, 0.01, 0.03])
async def test_an_open_that_the_relay_gives_up_leaves_nothing(
    pair: OpenPair, open_shop: OpenShop, seconds: float
) -> None:
    """At whatever moment the relay stops waiting: when it closes the late channel, the store's connection goes too."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")

    async def guarded() -> None:
        opening = asyncio.ensure_future(tunnel.relay.open("shop.lan", 80))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(opening), seconds)
        _, writer = await opening
        writer.close()

    await asyncio.gather(*(guarded() for _ in range(20)))
    assert await eventually(lambda: tunnel.agent.channels == 0)
    assert await eventually(lambda: len(shop.closed) == len(shop.connections))


async def test_a_channel_without_a_byte_is_swept_and_a_busy_one_is_not(pair: OpenPair, open_shop: OpenShop) -> None:
    """After a whole interval of silence the connection to the store is given back."""
    shop = await open_shop(echo)
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{shop.port}")
    idle, _ = await tunnel.relay.open("shop.lan", 80)
    reader, writer = await tunnel.relay.open("shop.lan", 80)
    tunnel.agent._forwarder.sweep()
    writer.write(b"busy")
    assert await reader.readexactly(4) == b"busy"
    tunnel.agent._forwarder.sweep()
    assert await asyncio.wait_for(idle.read(-1), 5) == b""
    assert await eventually(lambda: tunnel.agent.channels == 1)


async def test_the_stores_socket_is_watched_by_the_kernel(pair: OpenPair, open_shop: OpenShop) -> None:
    """Keepalive and a limit on unacknowledged data: a store whose machine vanished is noticed."""
    shop = await open_shop(echo)
    sock = await dial(Store.parse(f"http://127.0.0.1:{shop.port}"), Resolver())
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
    sock.close()


async def test_the_log_says_on_whose_behalf_a_store_was_dialled(
    pair: OpenPair, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection and the request, as the relay named them; a relay that names no request is understood."""
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{unused_port()}", f"http://two.lan=127.0.0.1:{unused_port()}")
    for host, originator in (("shop.lan", str(Originator("con_1", "req_2"))), ("two.lan", "con_3")):
        with pytest.raises(asyncssh.ChannelOpenError):
            await tunnel.relay.open(host, 80, originator)
    first, second = capsys.readouterr().out.splitlines()
    assert "con_1" in first
    assert "req_2" in first
    assert "con_3" in second
    assert "request" not in second


async def test_a_hostile_originator_reaches_the_log_cut_and_escaped(
    pair: OpenPair, capsys: pytest.CaptureFixture[str]
) -> None:
    """The relay chooses that text; it forges no line and floods no disk."""
    tunnel = await pair(f"http://shop.lan=127.0.0.1:{unused_port()}")
    with pytest.raises(asyncssh.ChannelOpenError):
        await tunnel.relay.open("shop.lan", 80, "con_1\n\x1b[2Jforged " + "x" * 100_000)
    said = capsys.readouterr().out
    assert "con_1" in said
    assert said.count("\n") == 1
    assert len(said) < 1000
    assert "\x1b" not in said

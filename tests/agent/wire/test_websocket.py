"""The WebSocket as a transport: what is written below, what waits, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side

from agent.wire import websocket
from agent.wire.websocket import MESSAGE_BYTES, SLICE_BYTES, WebSocket


class Below(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 443)})
        self.written = bytearray()
        self.heard: list[str] = []
        self.limits: tuple[Any, Any] = (None, None)

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.heard.append("close")

    def abort(self) -> None:
        self.heard.append("abort")

    def is_closing(self) -> bool:
        return bool(self.heard)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def frames(self) -> list[tuple[int, bytes]]:
        """What was written, as (opcode, payload); masks taken off."""
        found, data = [], bytes(self.written)
        while data:
            length, start = data[1] & 127, 2
            if length == 126:
                length, start = int.from_bytes(data[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(data[2:10], "big"), 10
            mask = b""
            if data[1] & 128:
                mask, start = data[start : start + 4], start + 4
            payload = data[start : start + length]
            if mask:
                payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
            found.append((data[0] & 15, payload))
            data = data[start + length :]
        return found


class Above(asyncio.Protocol):
    """Keeps what is heard."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self, _exc: Exception | None) -> None:
        self.events.append("lost")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


Pair = tuple[WebSocket, Below, Above]


def made(side: Side) -> Pair:
    below, above = Below(), Above()
    made = WebSocket(Protocol(side, max_size=MESSAGE_BYTES), below, {"postern_remote": "198.51.100.7"})
    made.set_protocol(above)
    made.begin()
    return made, below, above


@pytest.fixture
async def relay() -> Pair:
    return made(Side.SERVER)


@pytest.fixture
async def agent() -> Pair:
    return made(Side.CLIENT)


def sent(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as an agent sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_long_writes_become_messages_of_the_longest_length(relay: Pair, agent: Pair) -> None:
    """Both ways, masked by the agent alone (RFC 6455 §5.1); nothing is lost between them."""
    data = bytes(range(256)) * 700  # 179,200
    for transport, below, _ in (relay, agent):
        transport.write(data)
        frames = below.frames()
        assert [len(payload) for _, payload in frames] == [65536, 65536, len(data) - 2 * 65536]
        assert b"".join(payload for _, payload in frames) == data
        assert {opcode for opcode, _ in frames} == {Opcode.BINARY}
    assert not relay[1].written[1] & 128
    assert agent[1].written[1] & 128


async def test_pressure_reaches_both_sides(relay: Pair) -> None:
    """The limits go down, what the transport below says comes up."""
    transport, below, above = relay
    transport.set_write_buffer_limits(high=1000, low=10)
    assert below.limits == (1000, 10)
    transport.pause_writing()
    transport.resume_writing()
    assert above.events == ["pause", "resume"]


async def test_of_pings_that_cannot_be_answered_the_last_is(relay: Pair) -> None:
    """A peer that does not read makes nothing grow (RFC 6455 §5.5.3)."""
    transport, below, _ = relay
    transport.pause_writing()
    for number in range(10):
        transport.data_received(sent(Opcode.PING, b"%d" % number))
    transport.data_received(sent(Opcode.BINARY, b"data"))
    assert below.written == b""
    transport.write(b"ours")
    assert below.frames() == [(Opcode.BINARY, b"ours")]
    transport.resume_writing()
    assert below.frames()[1:] == [(Opcode.PONG, b"9")]


async def test_what_is_parsed_at_once_is_bounded(relay: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of the kernel's may hold 40,000 pings: the connection is cut after the first part of them."""
    transport, below, above = relay
    pieces: list[int] = []
    real = transport._frames.receive_data

    def receive(data: bytes) -> None:
        pieces.append(len(data))
        real(data)

    monkeypatch.setattr(transport._frames, "receive_data", receive)
    transport.data_received(sent(Opcode.PING) * 40_000)
    assert max(pieces) == SLICE_BYTES
    assert [opcode for opcode, _ in below.frames()] == [Opcode.CLOSE], "not even the first are answered any more"
    assert int.from_bytes(below.frames()[0][1][:2], "big") == CloseCode.POLICY_VIOLATION
    assert above.events == ["eof"]


async def test_pings_at_leisure_are_answered_for_ever(relay: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is per second."""
    transport, below, _ = relay
    now = 100.0
    monkeypatch.setattr(transport._loop, "time", lambda: now)
    for _ in range(100):
        now += 0.1
        transport.data_received(sent(Opcode.PING))
    assert len(below.frames()) == 100


async def test_a_close_of_ours_waits_for_theirs_and_no_longer(relay: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written afterwards is not sent, what arrives is not heard; then the connection is cut."""
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.05)
    transport, below, above = relay
    transport.write(b"last")
    transport.close()
    transport.close()
    transport.write(b"more")
    transport.data_received(sent(Opcode.BINARY, b"late"))
    assert transport.is_closing()
    assert [opcode for opcode, _ in below.frames()] == [Opcode.BINARY, Opcode.CLOSE]
    assert (bytes(above.data), above.events, below.heard) == (b"", [], [])
    await asyncio.sleep(0.15)
    assert below.heard == ["abort"]


async def test_the_relay_closes_below_once_both_have_closed(relay: Pair) -> None:
    """Whoever began (RFC 6455 §7.1.1)."""
    transport, below, above = relay
    transport.close()
    transport.data_received(sent(Opcode.CLOSE, b"\x03\xe8"))
    assert below.heard == ["close"]
    transport.connection_lost(None)
    assert above.events == ["lost"]
    assert transport._deadline is not None
    assert transport._deadline.cancelled()


async def test_a_close_of_theirs_is_answered_and_told(relay: Pair, agent: Pair) -> None:
    """SSH hears an end; the agent leaves closing the connection to the relay, for a while."""
    for (transport, below, above), frame in (
        (relay, sent(Opcode.CLOSE, b"\x03\xe8bye")),
        (agent, Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=False)),
    ):
        transport.data_received(frame + sent(Opcode.BINARY, b"after the end"))
        assert below.frames() == [(Opcode.CLOSE, b"\x03\xe8bye")]
        assert (bytes(above.data), above.events) == (b"", ["eof"])
    assert relay[1].heard == ["close"]
    assert agent[1].heard == []
    assert agent[0]._deadline is not None


async def test_an_end_without_a_close_is_told(relay: Pair, agent: Pair) -> None:
    """Once."""
    for transport, _, above in (relay, agent):
        transport.eof_received()
        transport.data_received(b"after the end")
        transport.connection_lost(None)
        assert above.events == ["eof", "lost"]


async def test_the_transport_says_what_is_known_below(relay: Pair) -> None:
    """And before that, what it was told itself."""
    transport, _, _ = relay
    assert transport.get_extra_info("postern_remote") == "198.51.100.7"
    assert transport.get_extra_info("peername") == ("192.0.2.1", 443)
    assert transport.get_extra_info("socket", "none") == "none"
    assert not transport.can_write_eof()

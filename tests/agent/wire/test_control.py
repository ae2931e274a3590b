"""The control channel: what is understood, what is passed over, and what ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.wire.control import (
    BURST,
    FROM_AGENT,
    FROM_RELAY,
    LINE_BYTES,
    UNREAD_BYTES,
    AgentHello,
    Bye,
    ControlChannel,
    Drain,
    Kinds,
    Message,
    RelayHello,
    RetryAfter,
    Suspect,
    fitting,
)

HELLO = AgentHello(slot=1, process="0123456789abcdef", generation=7, version="1.0", stores=["http://shop.lan"])


class Chan:
    """An asyncssh channel that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.unread = 0
        self.how = ""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return bool(self.how)

    def close(self) -> None:
        self.how = "close"

    def abort(self) -> None:
        self.how = "abort"


class End:
    """One end of a tunnel, which keeps what it is told."""

    def __init__(self, kinds: Kinds = FROM_AGENT) -> None:
        self.now = 0.0
        self.chan = Chan()
        self.heard: list[Message] = []
        self.faults: list[str] = []
        self.begun = 0
        self.act: Callable[[], object] = lambda: None
        self.channel = ControlChannel(kinds, self, lambda: self.now)
        self.channel.connection_made(self.chan)
        self.channel.session_started()

    def control_begun(self, _control: ControlChannel) -> None:
        self.begun += 1

    def control_message(self, message: Message) -> None:
        self.heard.append(message)
        self.act()

    def control_ended(self, _control: ControlChannel, fault: str) -> None:
        self.faults.append(fault)

    def tell(self, *lines: object) -> None:
        for line in lines:
            data = line if isinstance(line, bytes) else json.dumps(line).encode()
            self.channel.data_received(data + b"\n")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (FROM_AGENT, HELLO),
        (FROM_AGENT, Suspect(slot=0, generation=3)),
        (FROM_AGENT, Bye(reason="the agent is shutting down")),
        (FROM_RELAY, RelayHello(node="n1")),
        (FROM_RELAY, Drain(seconds=30)),
        (FROM_RELAY, RetryAfter(seconds=60)),
    ],
)
def test_what_one_end_says_the_other_hears(kinds: Kinds, message: Message) -> None:
    """Byte by byte, too."""
    said = End()
    said.channel.send(message)
    heard = End(kinds)
    for byte in said.chan.written:
        heard.channel.data_received(bytes([byte]))
    assert heard.heard == [message]
    assert heard.begun == 1


def test_several_lines_at_once_come_one_by_one() -> None:
    """And half a line waits for its end."""
    end = End()
    end.channel.data_received(b'{"type":"suspect","slot":0,"generation":1}\n{"type":"bye","reason":"x"}\n{"type":')
    assert [type(message) for message in end.heard] == [Suspect, Bye]
    end.channel.data_received(b'"bye","reason":"y"}\n')
    assert end.heard[-1] == Bye(reason="y")


def test_what_is_not_known_is_passed_over() -> None:
    """Types and members of a newer version; a relay's word in an agent's mouth is not known either."""
    end = End()
    end.tell({"type": "sing", "song": [1, 2]}, {"type": "drain", "seconds": 3}, {"type": "bye", "reason": "x", "in": 5})
    assert end.heard == [Bye(reason="x")]
    assert not end.faults


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b'"hello"',
        b"{}",
        b'{"type": 5}',
        b'{"type": ["hello"]}',
        b"\xff\xfe",
        b"[" * 8000,
        b'{"type":"bye"}',
        b'{"type":"bye","reason":"' + b"x" * 256 + b'"}',
        b'{"type":"bye","reason":"a\\u001b[2J"}',
        b'{"type":"suspect","slot":8,"generation":1}',
        b'{"type":"suspect","slot":-1,"generation":1}',
        b'{"type":"suspect","slot":0,"generation":0}',
        b'{"type":"suspect","slot":0,"generation":' + b"9" * 5000 + b"}",
        HELLO.model_dump_json().replace("0123456789abcdef", "../../etc/passwd").encode(),
        HELLO.model_dump_json().replace('"http://shop.lan"', ",".join(['"http://a"'] * 65)).encode(),
    ],
    ids=lambda line: line[:24].decode("latin-1"),
)
def test_what_is_malformed_ends_the_channel_alone(line: bytes) -> None:
    """With a fault to be logged; nothing is raised, for that would end the tunnel, and nothing more is heard."""
    end = End()
    end.tell(line, {"type": "bye", "reason": "after"})
    assert end.chan.how == "abort"
    assert len(end.faults) == 1
    assert end.faults[0]
    assert end.heard == []


@pytest.mark.parametrize("seconds", ["1e999", "NaN", "-1", "3601", '"x"'])
def test_seconds_are_few_and_finite(seconds: str) -> None:
    """From a relay, too."""
    end = End(FROM_RELAY)
    end.tell(b'{"type":"retry_after","seconds":%s}' % seconds.encode())
    assert end.faults
    assert end.heard == []


@pytest.mark.parametrize("end_of_line", [b"", b"\n"])
def test_a_long_line_ends_the_channel(end_of_line: bytes) -> None:
    """Whether its end has come or not: nothing is kept beyond the bound."""
    end = End()
    long = b'{"type":"sing","song":"' + b"x" * (LINE_BYTES - 26) + b'"}'
    end.channel.data_received(long + b"\n")
    assert not end.faults
    end.channel.data_received(b"y" * LINE_BYTES + end_of_line)
    assert end.faults == [f"a line is longer than {LINE_BYTES} bytes"]
    end.channel.data_received(b"z" * 100)
    assert end.channel._rest == b""


def test_a_flood_ends_the_channel() -> None:
    """So many messages at once are taken, and a few per second for ever."""
    end = End()
    end.tell(*[{"type": "sing"}] * int(BURST))
    for _ in range(100):
        end.now += 0.5
        end.tell({"type": "sing"})
    assert not end.faults
    end.tell({"type": "sing"})
    assert end.faults == ["too many messages"]


def test_who_does_not_read_is_told_no_more() -> None:
    """What is unread is bounded."""
    end = End()
    end.chan.unread = UNREAD_BYTES
    end.channel.send(Bye(reason="x"))
    assert end.chan.written
    end.chan.unread += 1
    end.channel.send(Bye(reason="x"))
    assert (end.chan.how, end.faults) == ("abort", ["it does not read what it is told"])


def test_an_error_in_the_listener_stays_in_the_channel() -> None:
    """asyncssh would end the whole tunnel."""
    end = End()
    end.act = lambda: 1 // 0
    end.tell({"type": "bye", "reason": "x"})
    assert end.chan.how
    assert end.faults == [""]


def test_the_end_is_told_once() -> None:
    """Whoever ends it; after that nothing is sent."""
    end = End()
    end.channel.close()
    end.channel.connection_lost(None)
    assert end.faults == [""]
    end.channel.send(Bye(reason="x"))
    assert end.chan.written == b""


def test_a_hello_holds_as_many_stores_as_fit_a_line() -> None:
    """Published are all of them, whatever the hello says."""
    stores = [f"https://{n:03}.{'a' * 240}" for n in range(64)]
    kept: Any = fitting(stores)
    assert kept == stores[: len(kept)]
    hello = AgentHello(slot=7, process="f" * 16, generation=2**53 - 1, version="v" * 255, stores=kept)
    assert 10_000 < len(hello.model_dump_json()) < LINE_BYTES
    assert fitting(["http://shop.lan"]) == ["http://shop.lan"]

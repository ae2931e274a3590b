"""How one call is made on both roads, and what is compared of it."""

from __future__ import annotations

import base64
import contextlib
import difflib
import random
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

from tests.system.programs import HOST
from tests.system.road import Connection
from tests.transparency.decided import ANSWER, ANSWER_TO_HTTP_1_0, REQUEST, decided
from tests.transparency.playing import OK, Player, Script
from tests.transparency.wire import Framing, Message, Reader, receiving

SECONDS = 20.0  # for each wait


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body as it goes on the wire, with the header line that frames it."""

    line: bytes = b""
    framed: bytes = b""

    @classmethod
    def counted(cls, data: bytes) -> Self:
        return cls(b"Content-Length: %d" % len(data), data)

    @classmethod
    def chunked(cls, *pieces: bytes) -> Self:
        return cls(b"Transfer-Encoding: chunked", b"".join(map(chunk, pieces)) + b"0\r\n\r\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


NOTHING = Body()


@dataclass(frozen=True, slots=True)
class Call:
    """One request, less the three things in which the roads differ: Host, credential, and the target's prefix."""

    target: bytes = b"/api/products"
    method: bytes = b"GET"
    fields: Sequence[bytes] = ()  # header lines without CRLF
    body: Body = NOTHING
    version: bytes = b"1.1"
    cuts: Sequence[int] = ()  # where the bytes are cut before they are sent

    def head(self, road: Road) -> bytes:
        lines = [b"%s %s%s HTTP/%s" % (self.method, road.prefix, self.target, self.version)]
        lines += [b"Host: " + road.host]
        lines += [b"Authorization: Basic " + base64.b64encode(road.key + b":")] if road.key else []
        lines += [*self.fields, self.body.line] if self.body.line else self.fields
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def pieces(self, road: Road) -> list[bytes]:
        return pieces(self.head(road) + self.body.framed, self.cuts)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The data cut at these places, counted from its end: the roads' heads differ in length."""
    places = [0, *sorted({len(data) - cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


@dataclass(frozen=True, slots=True)
class Road:
    """Where a call is sent, and in whose name; without a `key` there is no Authorization."""

    port: int
    prefix: bytes
    host: bytes
    key: bytes


def direct(port: int, host: str, key: str) -> Road:
    return Road(port, b"", host.encode(), key.encode())


def relayed(connection: Connection) -> Road:
    return Road(
        connection.relay_port, b"/to/" + connection.id.encode(), b"relay.test:8443", connection.access_key.encode()
    )


class Caller:
    """One TCP connection to a store or the relay."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.sock = socket.create_connection((HOST, road.port), timeout=SECONDS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(receiving(self.sock))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, pieces: Iterable[bytes]) -> None:
        """Send, unless the other side has had enough: it may answer before all is sent."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.sock.sendall(piece)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """Break the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def ask(self, call: Call) -> Message:
        self.send(call.pieces(self.road))
        return self.reader.answer(to_head=call.method == b"HEAD")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a store saw on one road, and what it was that its caller saw."""

    seen: Sequence[Message]
    answers: Sequence[Message]


Story = Callable[[Caller], Sequence[Message]]


class Store(Protocol):
    """What remembers the requests that came to it."""

    def clear(self) -> None: ...

    def seen(self, count: int) -> Sequence[Message]:
        """So many requests at least, waited for."""


@dataclass(frozen=True)
class BothWays:
    """A store on the direct road, and one that cannot be told from it (or the same) behind relay and agent."""

    direct: Road
    relayed: Road
    direct_store: Store
    relayed_store: Store

    def tell(self, story: Story, seen: int = 1) -> tuple[Shown, Shown]:
        """The same story on both roads; `seen` requests of it come to the store."""
        return self._tell(self.direct, self.direct_store, story, seen), self._tell(
            self.relayed, self.relayed_store, story, seen
        )

    def _tell(self, road: Road, store: Store, story: Story, seen: int) -> Shown:
        store.clear()
        with Caller(road) as caller:
            answers = story(caller)
        return Shown(store.seen(seen), answers)


@dataclass(frozen=True)
class Played(BothWays):
    """With a store that plays scripts."""

    store: Player

    def ask(self, call: Call, script: Script = OK) -> tuple[Shown, Shown]:
        """The same call twice."""
        self.store.script = script
        return self.tell(lambda caller: [caller.ask(call)])

    def same(self, call: Call, script: Script = OK) -> Message:
        """The relayed answer. AssertionError unless the roads differ in nothing but what is decided."""
        directly, through = self.ask(call, script)
        compare(directly, through, version=call.version)
        return through.answers[0]

    def same_story(self, story: Story, script: Script = OK, *, seen: int = 1, version: bytes = b"1.1") -> Shown:
        """What is shown on the relayed road. AssertionError as above."""
        self.store.script = script
        directly, through = self.tell(story, seen)
        compare(directly, through, version=version)
        return through

    def refused(self, call: Call) -> Message:
        """The relay's own answer. AssertionError if the store hears of it."""
        self.store.clear()
        with Caller(self.relayed) as caller:
            answer = caller.ask(call)
        assert answer.values(b"postern-outcome") == [b"not_sent"], answer
        assert self.store.seen(0) == []
        return answer


def compare(
    directly: Shown, through: Shown, *, version: bytes = b"1.1", less: Callable[[Message], Message] = lambda one: one
) -> None:
    """AssertionError with a diff unless requests and answers are the same, but for what is decided.

    `less` takes out of answers what two stores never have in common.
    """
    decisions = ANSWER + (ANSWER_TO_HTTP_1_0 if version == b"1.0" else ())
    check([decided(one, REQUEST) for one in directly.seen], through.seen)
    expected = [less(decided(one, decisions)) for one in directly.answers]
    check(expected, [less(_without_connection(one)) for one in through.answers])


def check(expected: Sequence[Message], got: Sequence[Message]) -> None:
    wanted, found = ([line for one in messages for line in _told(one)] for messages in (expected, got))
    lines = difflib.unified_diff(wanted, found, "expected", "through the relay", lineterm="")
    assert wanted == found, "\n".join(lines)


def _told(message: Message) -> list[str]:
    """A message as lines that can be read and compared."""
    interim = [f"interim {line!r}" for one in message.interim for line in (one.line, *one.fields)]
    ending = f"{message.framing}, {'whole' if message.whole else 'cut'}, {len(message.framed)} bytes {message.framed!r}"
    return [*interim, *(repr(line) for line in (message.line, *message.fields)), ending]


def _without_connection(answer: Message) -> Message:
    """The relay's own Connection field is of its hop with the caller (RFC 9110 §7.6.1), and says one of two things."""
    options = answer.values(b"connection")
    assert options in ([], [b"close"], [b"keep-alive"]), options
    if answer.framing is Framing.UNTIL_CLOSE:
        assert options == [b"close"]
    return replace(answer, fields=tuple(line for line in answer.fields if not line.startswith(b"Connection:")))


def random_bytes(size: int) -> bytes:
    """The same ones each time."""
    return random.Random(size).randbytes(size)  # noqa: S311 - test data


def odd_chunks(data: bytes) -> list[bytes]:
    """The data cut at sizes from 1 byte up to 100 KB, the same each time."""
    source, at, found = random.Random(1), 0, []  # noqa: S311 - test data
    while at < len(data):
        size = int(10 ** source.uniform(0, 5))
        found.append(data[at : at + size])
        at += size
    return found

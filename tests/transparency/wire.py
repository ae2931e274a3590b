"""HTTP/1.1 messages as they stand on the wire, read without judging: every line and every byte of framing is kept."""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace

RECEIVE_BYTES = 1 << 16


class Framing(enum.StrEnum):
    """How a message says where its body ends."""

    NONE = enum.auto()
    COUNTED = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer. Of one that broke off in its head there is only `framed`, all that came."""

    line: bytes
    fields: tuple[bytes, ...] = ()  # lines without CRLF
    framing: Framing = Framing.NONE
    framed: bytes = field(default=b"", repr=False)  # the body as it stood on the wire
    whole: bool = True
    interim: tuple[Message, ...] = ()

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in map(split, self.fields) if key == name.lower()]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def body(self) -> bytes:
        """What the framing holds, as far as it came."""
        return b"".join(data for _, data in chunks(self.framed)) if self.framing is Framing.CHUNKED else self.framed

    @property
    def head(self) -> bytes:
        return b"\r\n".join([self.line, *self.fields])


def split(line: bytes) -> tuple[bytes, bytes]:
    """(name in lower case, value) of a header line."""
    name, _, value = line.partition(b":")
    return name.rstrip(b" \t").lower(), value.strip(b" \t")


def chunks(framed: bytes) -> list[tuple[bytes, bytes]]:
    """(size as it is spelled, data) of each chunk but the last, as far as they came."""
    found, at = [], 0
    while (end := framed.find(b"\r\n", at)) >= 0:
        spelled = framed[at:end].partition(b";")[0]
        size = int(spelled, 16)
        if not size:
            break
        found.append((spelled, framed[end + 2 : end + 2 + size]))
        at = end + 2 + size + 2
    return found


class CutError(Exception):
    """The connection ended before the message did; `got` is what came of the part that was read."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"cut after {got[-100:]!r}")
        self.got = got


class Reader:
    """Reads messages off a stream. `receive` gives the next bytes, none at the end, ConnectionError at a reset."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._held = b""
        self.ended = False
        self.was_reset = False

    def head(self) -> Message | None:
        """The next head, None where the stream ends instead. Raises CutError."""
        data = self._until(b"\r\n\r\n")
        if not data:
            return None
        line, *fields = data[:-4].split(b"\r\n")
        return Message(line, tuple(fields))

    def request_body(self, head: Message) -> Message:
        """The request with its body; not `whole` where the stream ended before it."""
        return self._with_body(head, Framing.NONE)

    def answer(self, *, to_head: bool = False) -> Message:
        """The next final answer with the interim ones before it; `to_head` for the answer to HEAD."""
        interim: list[Message] = []
        try:
            head = self.head()
            while head and head.status < 200:
                interim.append(head)
                head = self.head()
        except CutError as cut:
            return Message(b"", framed=cut.got, whole=False, interim=tuple(interim))
        if not head:
            return Message(b"", whole=False, interim=tuple(interim))
        head = replace(head, interim=tuple(interim))
        return head if to_head or head.status in {204, 304} else self._with_body(head, Framing.UNTIL_CLOSE)

    def some(self) -> bool:
        """Wait until there is something to read, without reading it; False at the end."""
        return bool(self._held) or self._more()

    def rest(self) -> bytes:
        """All that still comes."""
        while self._more():
            pass
        return self._take(len(self._held))

    def _with_body(self, head: Message, otherwise: Framing) -> Message:
        lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
        framing = Framing.CHUNKED if codings else Framing.COUNTED if lengths else otherwise
        try:
            if framing is Framing.CHUNKED:
                framed = self._chunked()
            elif framing is Framing.COUNTED:
                framed = self._exactly(int(lengths[0]))
            else:
                framed = self.rest() if framing is Framing.UNTIL_CLOSE else b""
        except CutError as cut:
            return replace(head, framing=framing, framed=cut.got, whole=False)
        return replace(head, framing=framing, framed=framed, whole=not self.was_reset)

    def _chunked(self) -> bytes:
        got = b""
        try:
            while True:
                line = self._line()
                got += line
                size = int(line.partition(b";")[0], 16)
                if not size:
                    return got + self._trailers()
                got += self._exactly(size + 2)
        except CutError as cut:
            raise CutError(got + cut.got) from None

    def _trailers(self) -> bytes:
        got = [self._line()]
        while got[-1] != b"\r\n":
            got.append(self._line())
        return b"".join(got)

    def _line(self) -> bytes:
        line = self._until(b"\r\n")
        if not line:
            raise CutError(b"")
        return line

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            if not self._more():
                if self._held:
                    raise CutError(self._take(len(self._held)))
                return b""
        return self._take(self._held.index(mark) + len(mark))

    def _exactly(self, size: int) -> bytes:
        pieces = [self._take(size)]
        missing = size - len(pieces[0])
        while missing:
            if not self._more():
                raise CutError(b"".join(pieces))
            pieces.append(self._take(missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _take(self, size: int) -> bytes:
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _more(self) -> bool:
        if self.ended:
            return False
        try:
            data = self._receive()
        except ConnectionError:
            data, self.was_reset = b"", True
        self._held += data
        self.ended = not data
        return bool(data)


def receiving(sock: socket.socket) -> Callable[[], bytes]:
    return lambda: sock.recv(RECEIVE_BYTES)

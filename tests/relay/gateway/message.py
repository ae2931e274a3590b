"""HTTP messages as the tests read them: a reader of its own, so that the code under test is not judged by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Source = Callable[[], Awaitable[bytes]]


class CutError(Exception):
    """The message ended in the middle; `partial` is what there was of it."""

    def __init__(self, partial: bytes) -> None:
        super().__init__(f"cut after {len(partial)} bytes: {partial[:200]!r}")
        self.partial = partial


@dataclass(frozen=True)
class Message:
    """A head as it stood on the wire, and the body with its framing taken off."""

    head: bytes
    body: bytes
    framed: bytes = field(repr=False)
    """The body as it stood on the wire."""

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: str) -> list[bytes]:
        """All values of the fields of this name, in their order."""
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]

    def value(self, name: str) -> bytes | None:
        """The value of the one field of this name."""
        values = self.values(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None


async def read_message(source: Source, held: bytearray, *, head_only: bool = False) -> Message | None:
    """The next message from `source`; `held` keeps what follows it. None: there was not a byte. Raises CutError."""
    while b"\r\n\r\n" not in held:
        data = await source()
        if not data and not held:
            return None
        if not data:
            raise CutError(bytes(held))
        held += data
    end = held.index(b"\r\n\r\n") + 4
    head = bytes(held[:end])
    del held[:end]
    bare = Message(head, b"", b"")
    answers = head.startswith(b"HTTP/")
    if head_only or (answers and (bare.status < 200 or bare.status in {204, 304})):
        return bare
    if bare.value("Transfer-Encoding"):
        body, framed = await _chunks(source, held)
        return Message(head, body, framed)
    length = bare.value("Content-Length")
    if length is not None:
        body = await _take(source, held, int(length))
        return Message(head, body, body)
    if answers:
        while data := await source():
            held += data
        body = bytes(held)
        held.clear()
        return Message(head, body, body)
    return bare


async def _chunks(source: Source, held: bytearray) -> tuple[bytes, bytes]:
    body, framed = bytearray(), bytearray()
    while True:
        line = await _line(source, held)
        size = int(line, 16)
        data = await _take(source, held, size)
        end = await _line(source, held)
        assert not end.strip(), f"{end!r} after a chunk"
        body += data
        framed += line + data + end
        if not size:
            return bytes(body), bytes(framed)


async def _line(source: Source, held: bytearray) -> bytes:
    while b"\r\n" not in held:
        data = await source()
        if not data:
            raise CutError(bytes(held))
        held += data
    end = held.index(b"\r\n") + 2
    line = bytes(held[:end])
    del held[:end]
    return line


async def _take(source: Source, held: bytearray, size: int) -> bytes:
    while len(held) < size:
        data = await source()
        if not data:
            raise CutError(bytes(held))
        held += data
    taken = bytes(held[:size])
    del held[:size]
    return taken

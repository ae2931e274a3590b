"""The shapes of a request as it came off the wire and of an answer before it goes on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Headers = list[tuple[str, str]]

REASONS = {
    100: "Continue", 200: "OK", 201: "Created", 204: "No Content", 301: "Moved Permanently", 302: "Found",
    304: "Not Modified", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 411: "Length Required", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 417: "Expectation Failed", 429: "Too Many Requests", 500: "Internal Server Error",
    501: "Not Implemented", 503: "Service Unavailable",
}  # fmt: skip

# Apache gives the connection up after these (ap_set_keepalive).
CLOSING = frozenset({400, 408, 411, 413, 414, 500, 501, 503})


@dataclass(slots=True)
class Seen:
    """What one request looked like; the body's figures are filled in when it has been read."""

    time: float  # unix seconds at the end of the head
    connection: int  # counts accepted connections from 1
    line: bytes  # without CRLF
    headers: list[tuple[bytes, bytes]]  # in wire order, names as spelled
    body_length: int = 0
    body_sha256: str = ""  # hex; empty until the body has been read
    status: int = 0  # of the answer; 0 until there is one

    @property
    def method(self) -> str:
        return self.line.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> bytes:
        parts = self.line.split(b" ")
        return parts[1] if len(parts) > 1 else b""

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, whatever its spelling."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def header(self, name: str) -> bytes | None:
        """The first value of a header."""
        found = self.all(name)
        return found[0] if found else None


@dataclass(slots=True)
class Request:
    """One request with its body, which is always read to its end before the answer is made."""

    method: str
    target: str  # latin-1 of the bytes on the wire
    version: Literal["1.0", "1.1"]
    headers: dict[str, str]  # names in lower case; the last of several wins, as in PHP
    seen: Seen
    body: bytes = b""  # empty where it was not kept (huge uploads)

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


@dataclass(slots=True)
class Answer:
    """One answer; the HTTP server adds Date, Server, framing and what Apache adds."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str | None = None  # None: the header is absent
    program: Headers = field(default_factory=list)  # what PHP sets, in its order
    server: Headers = field(default_factory=list)  # what comes after Vary: Location, Cache-Control, …
    cookie: bool = False  # PrestaShop's session cookie, on answers below 4,096 bytes
    framing: Literal["php", "length"] = "php"  # php: chunked, or Content-Length: 0 when there is no body
    reason: str = ""

    def header(self, name: str) -> str | None:
        found = [value for key, value in [*self.program, *self.server] if key.lower() == name.lower()]
        return found[0] if found else None


@dataclass(slots=True)
class RawAnswer:
    """Exact bytes for the wire, and what becomes of the connection after them."""

    data: bytes
    then: Literal["close", "keep", "hold", "reset"]

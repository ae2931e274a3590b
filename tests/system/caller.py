"""A caller that writes bytes and reads bytes: nothing between a test and the wire."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

SECONDS = 20.0  # for a whole exchange, unless a test says otherwise
Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class Answer:
    """One answer as it stood on the wire; `at` is the moment of its end (monotonic)."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    at: float = 0.0
    raw_head: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header whatever its spelling; AssertionError where it stands twice."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} stands {len(found)} times: {found}"
        return found[0] if found else None

    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    @property
    def verdict(self) -> tuple[int, str | None, str | None, str | None]:
        """(status, Postern-Error, Postern-Origin, Postern-Outcome)."""
        return self.status, self.header("Postern-Error"), self.header("Postern-Origin"), self.header("Postern-Outcome")

    @property
    def code(self) -> str | None:
        return self.header("Postern-Error")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314 - the stand-in's own answer, or the relay's

    @property
    def errors(self) -> list[tuple[int, str]]:
        """(code, message) in PrestaShop's own shape, from XML or JSON."""
        if (self.header("Content-Type") or "").startswith("application/json"):
            return [(one["code"], one["message"]) for one in self.json["errors"]]
        found = self.xml.findall("./errors/error")
        return [(int(one.findtext("code") or -1), one.findtext("message") or "") for one in found]

    @property
    def everything(self) -> bytes:
        return self.raw_head + self.body

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''} {self.body[:300]!r}"


class BrokenOffError(Exception):
    """The connection ended before a whole answer had come; `got` is what did."""

    def __init__(self, got: bytes, at: float) -> None:
        super().__init__(f"broken off after {len(got)} bytes: {got[-200:]!r}")
        self.got = got
        self.at = at


class Line:
    """One connection to the relay or a store; as many exchanges as the other side allows."""

    def __init__(self, port: int, host: str = "127.0.0.1", seconds: float = SECONDS) -> None:
        self.sock = socket.create_connection((host, port), timeout=seconds)
        self._file: BinaryIO = self.sock.makefile("rb")
        self._got = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, *, bodiless: bool = False) -> Answer:
        """Read one answer by its framing; `bodiless` for the answer to HEAD. Raises BrokenOffError."""
        self._got = b""
        try:
            interim = []
            answer = self._head()
            while answer.status < 200:
                interim.append((answer.status, answer.headers))
                answer = self._head()
            answer.interim = interim
            if not bodiless and answer.status not in {204, 304}:
                answer.body = self._body(answer)
        except (ConnectionError, EOFError):
            raise BrokenOffError(self._got, time.monotonic()) from None
        answer.at = time.monotonic()
        return answer

    def closed(self) -> bool:
        """Whether the other side has ended the connection, within the time that the line has."""
        try:
            return not self._file.read(1)
        except ConnectionError:
            return True

    def _head(self) -> Answer:
        lines = [self._line()]
        while lines[-1] != b"\r\n":
            lines.append(self._line())
        found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) ([^\r\n]*)\r\n", lines[0])
        assert found, f"no status line: {lines[0]!r}"
        pairs = [line[:-2].decode("latin-1").partition(":") for line in lines[1:-1]]
        headers = [(name, value.strip()) for name, _, value in pairs]
        return Answer(int(found[1]), found[2].decode("latin-1"), headers, raw_head=b"".join(lines))

    def _body(self, answer: Answer) -> bytes:
        if answer.header("Transfer-Encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = answer.header("Content-Length")
        return self._exactly(int(length)) if length is not None else self._keep(self._file.read())

    def _chunk(self) -> bytes:
        size = int(self._line().partition(b";")[0], 16)
        data = self._exactly(size)
        assert self._line() == b"\r\n"
        return data

    def _line(self) -> bytes:
        line = self._keep(self._file.readline(1 << 20))
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line

    def _exactly(self, size: int) -> bytes:
        data = self._keep(self._file.read(size))
        if len(data) < size:
            raise EOFError
        return data

    def _keep(self, data: bytes) -> bytes:
        self._got = (self._got + data)[-4096:]
        return data


def request(method: str, target: str, headers: Headers = (), body: bytes = b"", *, host: str = "relay.test") -> bytes:
    """A request's bytes, with Host and Content-Length where they are missing."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if "host" not in names:
        given.insert(0, ("Host", host))
    if body and not names & {"content-length", "transfer-encoding"}:
        given.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def ask(
    port: int, method: str, target: str, headers: Headers = (), body: bytes = b"", *, seconds: float = SECONDS
) -> Answer:
    """One exchange on a connection of its own."""
    with Line(port, seconds=seconds) as line:
        line.send(request(method, target, headers, body))
        return line.read(bodiless=method == "HEAD")


def ask_raw(port: int, data: bytes, *, seconds: float = SECONDS) -> Answer:
    with Line(port, seconds=seconds) as line:
        line.send(data)
        return line.read()


def basic(user: str, password: str = "") -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


JSON = ("Output-Format", "JSON")


def ask_json(port: int, method: str, target: str, token: str, body: Mapping[str, Any] | None = None) -> Answer:
    """A call of `/v1`."""
    headers = [bearer(token)]
    data = b"" if body is None else json.dumps(body).encode()
    if data:
        headers.append(("Content-Type", "application/json"))
    return ask(port, method, target, headers, data)

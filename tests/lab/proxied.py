"""Runs inside a machine: a server in the relay's place on 127.0.0.1:8080, and a client that reaches it through a proxy.

Prints one JSON object: what came through, and how. Needs nothing but Python; the proxy has TLS on 127.0.0.1:443.
"""

import hashlib
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

HOST = "relay.test"
DEADLINE_SECONDS = 10
PAUSE_SECONDS = 1.0
TARGETS = [
    "/to/con_1/api/products/1",
    "/to/con_1/api//products/?display=[id,name]&filter[name]=%5Ba%20b%5D%&sort=[id_ASC]&&x=a+b",
    "/to/con_1/api/a%2Fb%2fc/%7Etilde/~x;y=1?",
    "/to/con_1/api/%2e%2e%2fproducts/./x",
    "/to/con_1/api/caf%C3%A9/%E2%82%AC?q=%E9&r=%00",
    "/to/con_1/api/long?" + "x" * 12_000,
]
NAMES = ["X-Mixed-CASE", "x-lower", "With_Underscore", "X-Again", "X-Again"]
BODY_BYTES = 8 << 20
KEY, KEY_ACCEPTED = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 §1.3: proxies that know WebSocket look whether these are there."""


class Upstream:
    """Answers by path, and remembers every request with the connection on which it came."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, bytes]] = []
        self.first_body_at = 0.0
        self._listener = socket.create_server(("127.0.0.1", 8080), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self, what: str) -> int:
        return sum(what.encode() in head.split(b"\r\n", 1)[0] for _, head in self.heads)

    def _accept(self) -> None:
        number = 0
        while True:
            connection, _ = self._listener.accept()
            number += 1
            threading.Thread(target=self._talk, args=(connection, number), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        file = connection.makefile("rb")
        while head := _read_head(file):
            self.heads.append((number, head))
            target = head.split(b" ", 2)[1]
            if target == b"/v1/agent/tunnel":
                self._switch(connection, file, head)
                return
            if target.startswith(b"/die"):
                _read_body(file, head, None)
                connection.close()
                file.close()
                return
            body = _read_body(file, head, self._note_body)
            self._answer(connection, target, body)

    def _note_body(self) -> None:
        self.first_body_at = time.monotonic()

    def _answer(self, connection: socket.socket, target: bytes, body: bytes) -> None:
        if target == b"/slow":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            time.sleep(PAUSE_SECONDS)
            connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
            return
        told = hashlib.sha256(body).hexdigest().encode()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nServer: Apache/2.4 (shop)\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            b"X-Accel-Redirect: /elsewhere\r\nX-Accel-Limit-Rate: 1\r\nContent-Type: text/html\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(told), told)
        )

    def _switch(self, connection: socket.socket, file: Any, head: bytes) -> None:
        accepted = KEY_ACCEPTED if f"\r\nsec-websocket-key: {KEY}\r\n".encode() in _lower_names(head) else ""
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accepted.encode()
        )
        while data := file.read1(65536):
            connection.sendall(data)


def _lower_names(head: bytes) -> bytes:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return b"\r\n".join(name.lower() + colon + value for name, colon, value in lines)


def _read_head(file: Any) -> bytes:
    head = bytearray()
    while line := file.readline(65537):
        head += line
        if line == b"\r\n":
            return bytes(head)
    return b""


def _read_body(file: Any, head: bytes, noted: Callable[[], None] | None) -> bytes:
    lower, body = head.lower(), bytearray()
    if b"content-length:" in lower:
        left = int(lower.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        while left > len(body) and (more := file.read1(min(65536, left - len(body)))):
            if noted and not body:
                noted()
            body += more
    elif b"transfer-encoding:" in lower:
        while size := int(file.readline(), 16):
            if noted and not body:
                noted()
            body += file.read(size)
            file.readline()
        file.readline()
    return bytes(body)


def dial() -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=sys.argv[1])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", 443), DEADLINE_SECONDS), server_hostname=HOST)


def ask(method: str, target: str, body: bytes = b"", headers: list[tuple[str, str]] | None = None) -> Any:
    """One request on a connection of its own: status, headers, body. http.client would not send every target."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers or ()]
    lines += [f"Content-Length: {len(body)}"] if body else []
    with dial() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, answer.getheaders(), answer.read().decode()


def targets(upstream: Upstream) -> dict[str, Any]:
    for target in TARGETS:
        ask("GET", target)
    return {"targets": [head.split(b" ", 2)[1].decode("latin-1") for _, head in upstream.heads]}


def headers(upstream: Upstream) -> dict[str, Any]:
    forged = [("X-Forwarded-For", "203.0.113.66"), ("Forwarded", "for=203.0.113.66")]
    given = [*((name, str(n)) for n, name in enumerate(NAMES)), ("X-Long", "y" * 20_000), *forged]
    ask("GET", "/headers", headers=given)
    lines = upstream.heads[-1][1].decode("latin-1").split("\r\n")[1:-2]
    pairs = [line.split(": ", 1) for line in lines]
    return {
        "names": [name for name, _ in pairs],
        "again": [value for name, value in pairs if name.lower() == "x-again"],
        "host": [value for name, value in pairs if name.lower() == "host"],
        "caller": [(name.lower(), value) for name, value in pairs if "forwarded" in name.lower()],
        "long": [len(value) for name, value in pairs if name.lower() == "x-long"],
        "upstream connections": len({number for number, _ in upstream.heads}),
    }


def answers(_upstream: Upstream) -> dict[str, Any]:
    status, pairs, body = ask("GET", "/shop")
    names = ("Server", "Date")
    kept = {name: [value for key, value in pairs if key.lower() == name.lower()] for name in names}
    return {"answer": [status, kept, body == hashlib.sha256(b"").hexdigest()]}


def streams_down(_upstream: Upstream) -> dict[str, Any]:
    with dial() as connection:
        connection.sendall(f"GET /slow HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        began, received, first = time.monotonic(), b"", 0.0
        while more := connection.recv(65536):
            received += more
            if b"first" in received and not first:
                first = time.monotonic() - began
        return {"first chunk": first, "second chunk": time.monotonic() - began, "whole": b"second" in received}


def streams_up(upstream: Upstream) -> dict[str, Any]:
    with dial() as connection:
        head = f"PUT /up HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"01234")
        time.sleep(PAUSE_SECONDS)
        second_half_at = time.monotonic()
        connection.sendall(b"56789")
        while connection.recv(65536):
            pass
    return {"body arrived before it was whole": 0 < upstream.first_body_at < second_half_at}


def big(_upstream: Upstream) -> dict[str, Any]:
    body = bytes(range(256)) * (BODY_BYTES // 256)
    status, _, told = ask("POST", "/big", body)
    return {"big": [status, told == hashlib.sha256(body).hexdigest()]}


def never_twice(upstream: Upstream) -> dict[str, Any]:
    seen = {}
    for method in ("PUT", "POST", "DELETE"):
        ask("GET", "/warm")  # leaves a kept-alive connection to the upstream, on which the next request is likely sent
        status, _, _ = ask(method, f"/die/{method}", b"x" if method != "DELETE" else b"")
        seen[method] = [status, upstream.count(f"/die/{method}")]
    return {"died": seen}


def switches(upstream: Upstream) -> dict[str, Any]:
    with dial() as connection:
        connection.sendall(
            f"GET /v1/agent/tunnel HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
            "Sec-WebSocket-Protocol: postern.ssh.v1\r\nAuthorization: Bearer ticket\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        connection.sendall(b"\x00\xffping")
        echoed = received.split(b"\r\n\r\n", 1)[1]
        while len(echoed) < 6:
            echoed += connection.recv(65536)
    head = upstream.heads[-1][1].decode("latin-1").lower()
    passed = ["upgrade: websocket", "sec-websocket-protocol: postern.ssh.v1", "authorization: bearer ticket"]
    return {
        "switched": [received.split(b"\r\n", 1)[0].decode(), echoed == b"\x00\xffping", [p in head for p in passed]]
    }


def main() -> None:
    upstream = Upstream()
    told: dict[str, Any] = {}
    for part in (targets, headers, answers, streams_down, streams_up, big, never_twice, switches):
        told |= part(upstream)
    print(json.dumps(told))


if __name__ == "__main__":
    main()

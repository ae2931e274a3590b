"""The shortest road to the stand-in store: one TCP connection per request, bytes written and read by hand."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.store_conformance.asking import KEY_NAMES, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.store import Store

SECONDS = 30.0  # for a whole exchange
READ_BUFFER = 1 << 20  # bytes


@dataclass(slots=True)
class DirectShop:
    """Calls the store by its address, in the name of its domain."""

    store: Store
    direct: bool = True

    def key(self, name: str) -> str:
        return self.store.keys[KEY_NAMES[name]] if name in KEY_NAMES else name

    async def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        given = list(headers)
        names = {name.lower() for name, _ in given}
        if "host" not in names:
            given.insert(0, ("Host", self.store.knobs.domain))
        if body and not names & {"content-length", "transfer-encoding"}:
            given.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
        head = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"
        async with asyncio.timeout(SECONDS):
            return await exchange(self.store.host, self.store.port, head + body, bodiless=method == "HEAD")


async def exchange(host: str, port: int, data: bytes, *, bodiless: bool = False) -> Response:
    """Send bytes on a new connection, read one answer, close."""
    reader, writer = await asyncio.open_connection(host, port, limit=READ_BUFFER)
    try:
        writer.write(data)
        await writer.drain()
        return await read_response(reader, bodiless=bodiless)
    finally:
        writer.close()


async def read_response(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Response:
    """Read one answer by its framing; `bodiless` for the answer to HEAD."""
    sent = time.perf_counter()
    status = 100
    while 100 <= status < 200:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
        first = time.perf_counter()
        line, *fields = head.split("\r\n")
        _, code, reason = line.split(" ", 2)
        status = int(code)
    headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
    response = Response(status, reason, headers, b"")
    if not bodiless and status not in (204, 304):
        response.body = await _body(reader, response)
    response.first_byte, response.rest = first - sent, time.perf_counter() - first
    return response


async def _body(reader: asyncio.StreamReader, response: Response) -> bytes:
    if response.header("Transfer-Encoding") == "chunked":
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(pieces)
    length = response.header("Content-Length")
    return await reader.readexactly(int(length)) if length is not None else await reader.read()

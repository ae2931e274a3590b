"""A listener for probes and scrapers: GET and HEAD of a few pages over plain HTTP/1.1, one request per connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

HEAD_BYTES = 8 * 1024
HEAD_SECONDS = 5.0
"""For a whole head, from the connection's beginning on."""
ANSWER_SECONDS = 10.0
"""For a page to be made and taken: scrapers commonly give up after as long."""
CONNECTIONS = 32
"""At once; whoever comes beyond them is hung up on."""
TEXT = "text/plain; charset=utf-8"

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    content_type: str
    body: bytes


Render = Callable[[str], Awaitable[Page]]
"""Makes a page, given what the caller accepts (the values of `Accept`; empty: nothing said)."""


async def serve_pages(sock: socket.socket, pages: Mapping[str, Render]) -> asyncio.Server:
    """Answer on a bound socket; `pages` by path. Whoever is being answered when it closes may be cut off."""
    visitors = 0

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visitors
        visitors += 1
        try:
            if visitors <= CONNECTIONS:
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    await _answer(reader, writer, pages)
        finally:
            visitors -= 1
            writer.close()

    return await asyncio.start_server(visit, sock=sock, limit=HEAD_BYTES)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Mapping[str, Render]) -> None:
    async with asyncio.timeout(HEAD_SECONDS):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
    async with asyncio.timeout(ANSWER_SECONDS):
        method, page = await _page(head.decode("latin-1"), pages)
        writer.write(_message(page, head_only=method == "HEAD"))
        await writer.drain()


async def _page(head: str, pages: Mapping[str, Render]) -> tuple[str, Page]:
    line, *fields = head.split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", Page(400, TEXT, b"this is not a request of HTTP/1.1\n")
    method, target, _ = words
    render = pages.get(target.partition("?")[0])
    if render is None:
        return method, Page(404, TEXT, f"there are {', '.join(pages)}\n".encode())
    if method not in {"GET", "HEAD"}:
        return method, Page(405, TEXT, b"only GET and HEAD\n")
    accepted = (value for name, _, value in (field.partition(":") for field in fields) if name.lower() == "accept")
    try:
        return method, await render(",".join(accepted))
    except Exception:
        log.exception("a page could not be made", page=target.partition("?")[0])
        return method, Page(500, TEXT, b"the log says more\n")


def _message(page: Page, *, head_only: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status == 405:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only else head + page.body

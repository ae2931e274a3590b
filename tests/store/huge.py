"""Answers and uploads of any size in constant memory, at `/api/__huge`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from tests.store.messages import Answer
from tests.store.php import integer, query_variables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.store.messages import Request

PIECE = 1 << 16  # bytes per write
BLOCK = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(PIECE // 32))


def content(size: int) -> Iterator[bytes]:
    """The bytes of GET /api/__huge, in pieces: BLOCK over and over, cut at `size`."""
    while size > 0:
        yield BLOCK if size >= PIECE else BLOCK[:size]
        size -= PIECE


def sha256(size: int) -> str:
    """Hex SHA-256 of `content(size)`."""
    digest = hashlib.sha256()
    for piece in content(size):
        digest.update(piece)
    return digest.hexdigest()


def huge_answer(request: Request, size: int) -> Answer:
    """GET streams `size` bytes (or `?size=N`), chunked or with `?length=1` counted; POST and PUT tell what arrived."""
    if request.method in ("POST", "PUT"):
        told = {"length": request.seen.body_length, "sha256": request.seen.body_sha256}
        return Answer(200, json.dumps(told).encode(), "application/json")
    variables = query_variables(request.target.partition("?")[2])
    size = integer(variables.get("size", size))
    if variables.get("length"):
        server = [("Content-Length", str(size))]
        return Answer(200, _pieces(size), "application/octet-stream", server=server, framing="length")
    return Answer(200, _pieces(size), "application/octet-stream")


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for piece in content(size):
        yield piece

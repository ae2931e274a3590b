"""Lists as streams of lines: one item a line, read ahead, and an end that tells whether it is the whole."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from relay.api.answers import HEADERS

NDJSON = "application/x-ndjson"


class CutShortError(Exception):
    """The stream ends here although there would be more; `line` says so to whoever reads lines.

    `aborted`: the transfer is broken off as well, so that it cannot be taken for whole by whoever does not.
    """

    def __init__(self, line: dict[str, Any], *, aborted: bool) -> None:
        super().__init__("the stream is not whole")
        self.line = line
        self.aborted = aborted


class Lines(StreamingResponse):
    """NDJSON from pages of items. `close` is called at the end, however it comes."""

    media_type = NDJSON

    def __init__(
        self, pages: AsyncGenerator[list[dict[str, Any]]], close: Callable[[], object], **headers: str
    ) -> None:
        super().__init__((), headers={**HEADERS, **headers})
        self._pages = pages
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with aclosing(self._pages) as pages:
                async for items in pages:
                    await _body(send, b"".join(map(_line, items)))
        except CutShortError as end:
            await _body(send, _line(end.line))
            if end.aborted:
                return
        await _body(send, b"", more=False)


def wanted(request: Request) -> bool:
    """Whether the caller asked for lines."""
    accepted = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(each.partition(";")[0].strip() == NDJSON for each in accepted)


def _line(item: dict[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _body(send: Send, data: bytes, *, more: bool = True) -> Awaitable[None]:
    return send({"type": "http.response.body", "body": data, "more_body": more})

"""The control address: knobs and counts of a store that runs as another process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.store.knobs import KnobError
from tests.store.wire import HEAD_BUFFER, BadRequest, Head, read_body, read_head, seen_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.store.messages import Seen
    from tests.store.store import Store

BODY_LIMIT = 1 << 20  # bytes
IDLE_SECONDS = 30.0


class Control:
    """`GET /__store__/counts`, `/knobs`, `/requests`, `/mails`; `POST /__store__/knobs` with a JSON object of texts;
    `POST /__store__/drop_connections`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serve(cls, store: Store, host: str, port: int) -> AsyncIterator[Control]:
        control = cls(store)
        server = await asyncio.start_server(control._talk, host, port, limit=HEAD_BUFFER)
        control.url = f"http://{host}:{server.sockets[0].getsockname()[1]}/__store__"
        try:
            yield control
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await read_head(reader, IDLE_SECONDS)
            if head is not None:
                await self._serve(reader, writer, head)
        except (BadRequest, ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head) -> None:
        async def say_continue() -> None:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        body = await read_body(reader, head, seen_of(head, 0), keep=BODY_LIMIT, say_continue=say_continue)
        try:
            status, told = "200 OK", self._told(head, body)
        except (KnobError, KeyError, ValueError) as error:
            status, told = "400 Bad Request", {"error": str(error)}
        data = json.dumps(told).encode()
        writer.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (status.encode(), len(data), data)
        )
        await writer.drain()

    def _told(self, head: Head, body: bytes) -> object:
        store = self.store
        match head.method, head.target.removeprefix("/__store__/"):
            case "GET", "counts":
                return self._counts()
            case "GET", "knobs":
                return store.knobs.as_json()
            case "POST", "knobs":
                for name, value in json.loads(body).items():
                    store.knobs.set(name, str(value))
                return store.knobs.as_json()
            case "GET", "mails":
                return [dataclasses.asdict(mail) for mail in store.mails]
            case "GET", "requests":
                return [_described(seen) for seen in store.requests]
            case "POST", "drop_connections":
                store.drop_connections()
                return {}
            case _:
                raise KeyError(f"no such control: {head.method} {head.target}")

    def _counts(self) -> dict[str, int]:
        store = self.store
        return {
            "requests": store.requests_total,
            "looks": len(store.looks),
            "serving": store.serving,
            "serving_most": store.serving_most,
            "connections": store.connections,
            "connections_total": store.connections_total,
            "mails": len(store.mails),
            "body_bytes": store.server.body_bytes,
        }


def _described(seen: Seen) -> dict[str, object]:
    return {
        "time": seen.time,
        "connection": seen.connection,
        "line": seen.line.decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in seen.headers],
        "body_length": seen.body_length,
        "body_sha256": seen.body_sha256,
        "status": seen.status,
    }

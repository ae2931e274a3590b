"""An endpoint on this machine, which only tests may send to, and a parcel for it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from relay.gateway.targets import Address
from relay.trigger_records import Lease, Parcel
from relay.webhooks.sending import Guard

SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


async def here(_host: str, _port: int) -> list[Address]:
    """Every name leads to this machine."""
    return [LOOPBACK]


HERE = Guard(look_up=here, schemes=frozenset({"http", "https"}))


@dataclass
class Got:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Endpoint:
    """Answers with `status`, or with the next of `statuses`; `more` are further header lines."""

    status: int = 204
    statuses: list[int] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    delay: float = 0.0
    got: list[Got] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    _at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://hooks.example.com:{self.port}/in?a=b"

    async def wait_for(self, number: int, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.got) < number:  # noqa: ASYNC110 - counted by another task
                await asyncio.sleep(0.005)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._take(reader, writer)
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.got.append(Got(line, headers, body))
        status = self.statuses.pop(0) if self.statuses else self.status
        await asyncio.sleep(self.delay)
        self._at_once -= 1
        more = "".join(f"{each}\r\n" for each in self.more)
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{more}Connection: close\r\n\r\n".encode())
        await writer.drain()


@contextlib.asynccontextmanager
async def endpoint(tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    made = Endpoint()
    server = await asyncio.start_server(made._answer, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def parcel(url: str, *, event: str = "evt_aaaaaaaaaaaaaaaa", attempts: int = 0) -> Parcel:
    body = json.dumps({"id": event}).encode()
    return Parcel(Lease(event, 1), "trg_aaaaaaaaaaaaaaaa", url, (SECRET,), body, attempts, int(time.time()))

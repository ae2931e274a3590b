"""Somebody between agent and relay: an HTTP hop that keeps and changes what passes, an SSH server that pretends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from agent.wire import ssh
from agent.wire.enrolment import PATH
from tests.system.programs import HOST

SECONDS = 20.0


@dataclass
class Hop:
    """Passes requests on to the relay at `to_port`."""

    port: int = 0
    to_port: int = 0
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # by agent name: members of its enrolment's answer
    taken: list[bytes] = field(default_factory=list)  # enrolments as they passed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(await self._pass(await _message(reader)))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _pass(self, request: bytes) -> bytes:
        upstream, down = await asyncio.open_connection(HOST, self.to_port)
        try:
            down.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            answer = await upstream.read()
        finally:
            down.close()
        if not request.startswith(b"POST " + PATH.encode()):
            return answer
        self.taken.append(request)
        return self._changed(answer)

    def _changed(self, answer: bytes) -> bytes:
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            return answer
        told = json.loads(body)
        data = json.dumps(told | self.changes.get(told["agent_name"], {})).encode()
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        return b"\r\n".join([*kept, b"Content-Length: %d" % len(data)]) + b"\r\n\r\n" + data


@asynccontextmanager
async def hop() -> AsyncIterator[Hop]:
    one = Hop()
    server = await asyncio.start_server(one.serve, HOST, 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()


class Impostor(asyncssh.SSHServer):
    """Lets everybody in, and notes who came and what they would have published."""

    met: list[str]

    def begin_auth(self, username: str) -> bool:
        self.met.append(f"user {username}")
        return False

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        self.met.append(f"store {listen_host}:{listen_port}")
        return False


@asynccontextmanager
async def impostor(host_key: Any) -> AsyncIterator[tuple[int, list[str]]]:
    """An SSH server in the relay's place, with this host key or (key, certificate): its port, and what it was told."""
    met: list[str] = []
    kind = type("Met", (Impostor,), {"met": met})
    acceptor = await asyncssh.listen(HOST, 0, server_factory=kind, server_host_keys=[host_key], **ssh.SERVER)
    try:
        yield acceptor.get_port(), met
    finally:
        acceptor.close()
        await acceptor.wait_closed()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head + (await reader.readexactly(int(length[0])) if length else b"")

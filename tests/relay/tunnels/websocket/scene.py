"""A relay's HTTP listener with the tunnel's door, and agents that log in through it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import asyncssh
import websockets
from pydantic import SecretBytes, SecretStr

from agent.opening import Ways
from agent.proxy import Proxies
from agent.resolver import Resolver
from agent.transports import WebSocketDialer
from agent.wire import ssh
from agent.wire.enrolment import Endpoint
from agent.wire.websocket import PATH, SUBPROTOCOL
from relay.gateway.front import Front
from relay.gateway.hall import Hall
from relay.tunnels.admission import Admission
from relay.tunnels.authority import HOST_PRINCIPAL, Authority, Identity
from relay.tunnels.door import address_of
from relay.tunnels.registry import Registry
from relay.tunnels.server import Listening, listen
from relay.tunnels.tunnel import Tunnel
from relay.tunnels.websocket import TicketsUnavailableError, TunnelDoor

AGENT, INSTANCE, TOKEN = "agt_aaaaaaaaaaaaaaaa", "ins_aaaaaaaaaaaaaaaa", "atk_aaaaaaaaaaaaaaaa"
HOST = "127.0.0.1"
SECONDS = 20.0


@dataclass
class Scene:
    """What the tests hold. `ticket` is good; `away` makes look-ups fail, `slow` makes them hang."""

    admission: Admission
    registry: Registry
    authority: Authority
    door: TunnelDoor
    hall: Hall
    port: int
    ticket: str
    away: bool = False
    slow: bool = False
    lookups: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}{PATH}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(transport="websocket", node="n1", host=HOST, port=self.port, url=self.url)

    def dialer(self, ticket: str | None = None) -> WebSocketDialer:
        secret = SecretStr(self.ticket if ticket is None else ticket)
        return WebSocketDialer(Ways(Resolver(), Proxies()), ssl.create_default_context(), lambda: secret)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, Tunnel]]:
        """An agent's SSH connection over the WebSocket, and what the relay made of it."""
        before = set(self.registry)
        key = asyncssh.generate_private_key("ssh-ed25519")
        line = " ".join(key.export_public_key().decode().split()[:2])
        identity = Identity(AGENT, INSTANCE, TOKEN, 1, int(time.time()) + 3600)
        certificate = asyncssh.import_certificate(self.authority.certify_instance(line, identity))
        host_ca = asyncssh.import_public_key(self.authority.host_ca_line)
        connection = await asyncssh.connect(
            HOST,
            22,
            **ssh.CLIENT
            | {
                "tunnel": await self.dialer().dial(self.endpoint),
                "username": AGENT,
                "client_keys": [(key, certificate)],
                "known_hosts": lambda *_where: ([], [host_ca], []),
                "host_key_alias": HOST_PRINCIPAL,
            },
        )
        try:
            assert await self.eventually(lambda: bool(set(self.registry) - before))
            yield connection, next(iter(set(self.registry) - before))
        finally:
            connection.abort()
            await connection.wait_closed()

    def client(self, **more: Any) -> websockets.connect:
        """A stock client."""
        options: dict[str, Any] = {
            "additional_headers": {"Authorization": f"Bearer {self.ticket}"},
            "subprotocols": [SUBPROTOCOL],
            "compression": None,
            "proxy": None,
            "open_timeout": SECONDS,
        }
        return websockets.connect(self.url, **options | more)

    async def eventually(self, true: Callable[[], bool], seconds: float = SECONDS) -> bool:
        ends = time.monotonic() + seconds
        while not (now := true()):
            if time.monotonic() > ends:
                break
            await asyncio.sleep(0.01)
        return now

    async def admits(self, sha256: str) -> bool:
        self.lookups += 1
        if self.slow:
            await asyncio.Event().wait()
        if self.away:
            raise TicketsUnavailableError
        return sha256 == hashlib.sha256(self.ticket.encode()).hexdigest()


@asynccontextmanager
async def running() -> AsyncIterator[Scene]:
    loop = asyncio.get_running_loop()
    registry, admission, authority = Registry(), Admission(loop.time), _authority()
    listening = Listening(registry, admission, lambda _identity: False, lambda: True)
    sockets = [socket.create_server((HOST, 0)) for _ in range(2)]
    for sock in sockets:
        sock.setblocking(False)
    acceptor = await listen(listening, authority, sockets[0])
    gateway: Any = SimpleNamespace(clock=loop.time, draining=False, refuse=lambda *_: "req_0")

    async def admits(sha256: str) -> bool:
        return await scene.admits(sha256)

    door = TunnelDoor(admission, admits, acceptor.take)

    def knock(transport: asyncio.Transport, head: bytes, rest: bytes) -> None:
        door.knock(transport, address_of(transport), head, rest)

    hall = Hall(gateway, _no_app, connections=100, knock=knock)
    port = sockets[1].getsockname()[1]
    scene = Scene(admission, registry, authority, door, hall, port, secrets.token_urlsafe(32))
    loop.set_exception_handler(lambda _loop, context: scene.faults.append(context))
    async with AsyncExitStack() as stack:
        server = await loop.create_server(lambda: Front(hall), sock=sockets[1])
        stack.callback(acceptor.close)
        stack.callback(server.close)
        yield scene
        for tunnel in list(registry):
            tunnel._ssh.abort()


def _authority() -> Authority:
    def key() -> SecretBytes:
        return SecretBytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())

    return Authority(user_ca=key(), host_ca=key(), host_key=key())


def _no_app(_front: Front, transport: asyncio.Transport, _head: bytes) -> Any:
    transport.write(b"HTTP/1.1 418 The Other Room\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    transport.close()
    return SimpleNamespace(connection_lost=lambda _exc: None, feed=lambda _data: None)

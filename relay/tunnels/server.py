"""The agents' SSH listener: lets in who has a certificate, keeps the names they publish, and binds nothing for them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
import structlog

from agent.wire.destination import Destination, DestinationError
from agent.wire.limits import LOGIN_SECONDS
from agent.wire.ssh import SERVER
from relay.tunnels.admission import Admission
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.door import Doorkeeper
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

log = structlog.get_logger()

KEYS_PER_LOGIN = 3
"""Keys that one connection may offer; an agent has one."""
BACKLOG = 4096
"""Connections that the kernel may keep for us; it takes no more than net.core.somaxconn."""
RENEWAL_GRACE_SECONDS = 60.0
"""How long an expired tunnel is left alone when renewal is not possible, before it is looked at again."""


@dataclass(frozen=True, slots=True)
class Listening:
    """What a login needs to ask. `refused(identity)` is the set of revocations; `renewable` whether enrolment works."""

    registry: Registry
    admission: Admission
    refused: Callable[[Identity], bool]
    renewable: Callable[[], bool]


class Login(asyncssh.SSHServer):
    """One agent's connection, from its first byte to its last."""

    keys_per_login = KEYS_PER_LOGIN

    def __init__(self, listening: Listening) -> None:
        self._on = listening
        self._tunnel: Tunnel | None = None
        self._keys_offered = 0
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ssh = conn
        self._address = str(conn.get_extra_info("postern_remote"))
        self._handshake_ended: Callable[[], None] = conn.get_extra_info("postern_ended")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._expiry:
            self._expiry.cancel()
        if not self._tunnel:
            self._handshake_ended()
            self._on.admission.fail(self._address)
            return
        self._on.admission.forget(self._address)
        self._on.registry.remove(self._tunnel)
        log.info("tunnel gone", agent=self._tunnel.identity.agent, instance=self._tunnel.identity.instance,
                 slot=self._tunnel.slot, reason=self._tunnel.ending or str(exc or "closed by the agent"))  # fmt: skip

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, _key: asyncssh.SSHKey) -> bool | Awaitable[bool]:
        """A bare key is never enough on this listener; too many of them end the connection."""
        return self._count_key()

    def validate_ca_key(self, _username: str, _key: asyncssh.SSHKey) -> bool:
        """Certificates of our own CA have been found before this is asked."""
        return self._count_key()

    def auth_completed(self) -> None:
        agent = str(self._ssh.get_extra_info("username"))
        identity = self._identify(agent)
        if identity is None or self._on.refused(identity):
            log.warning("login refused", agent=agent, instance=identity and identity.instance, reason="revoked")
            self._ssh.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "revoked")
            return
        self._handshake_ended()
        self._on.admission.prove(self._address)
        self._tunnel = self._make_tunnel(identity)
        self._on.registry.add(self._tunnel)
        self._watch_expiry(max(0.0, identity.not_after - time.time()))
        log.info("tunnel up", agent=agent, instance=identity.instance, remote=self._address)

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """Keep the name; no port is bound here, ever."""
        try:
            destination = Destination.of(listen_host, listen_port)
        except DestinationError:
            return False
        tunnel = self._tunnel
        if tunnel is None or self._on.refused(tunnel.identity) or not tunnel.publish(destination):
            return False
        self._on.registry.stir(tunnel.identity.agent)
        return _Publication(tunnel, destination)

    def _identify(self, agent: str) -> Identity | None:
        """Who has authenticated, under this name."""
        return Identity.read(agent, self._ssh.get_certificate_option("force-command"))

    def _make_tunnel(self, identity: Identity) -> Tunnel:
        websocket = self._ssh.get_extra_info("postern_transport") == "websocket"
        return Tunnel(self._ssh, identity, self._address, "websocket" if websocket else "tcp")

    def _count_key(self) -> bool:
        self._keys_offered += 1
        if self._keys_offered > self.keys_per_login:
            self._ssh.abort()
        return False

    def _watch_expiry(self, seconds: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._on.renewable():
            if self._tunnel:
                self._tunnel.part("its certificate has expired")
        else:
            self._watch_expiry(RENEWAL_GRACE_SECONDS)


class _Publication(asyncssh.SSHListener):
    """asyncssh's handle on a published name: closing it withdraws the name."""

    def __init__(self, tunnel: Tunnel, destination: Destination) -> None:
        super().__init__()
        self._publisher = tunnel
        self._destination = destination

    def close(self) -> None:
        self._publisher.withdraw(self._destination)

    async def wait_closed(self) -> None:
        pass


class Acceptor:
    """Takes TCP connections through the door and hands them to asyncssh, each over a Carrier."""

    def __init__(self, keeper: Doorkeeper, sock: socket.socket) -> None:
        self._keeper = keeper
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def create_server(
        self, factory: Callable[[str, int], asyncssh.SSHServerConnection], _host: str, _port: int
    ) -> asyncssh.SSHListener:
        """What `asyncssh.listen(tunnel=…)` calls; `factory` makes the connection that a Carrier then carries."""
        self._factory = factory
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._keeper.doors(factory), sock=self._sock, backlog=BACKLOG)
        return asyncssh.SSHListener()

    def take(self, transport: asyncio.Transport, remote: str) -> None:
        """Serve a transport that somebody else made, such as a WebSocket's, as one that came from `remote`.

        Its `set_protocol` is called with what it is to feed.
        """
        door = self._keeper.door(self._factory, remote)
        transport.set_protocol(door)
        door.connection_made(transport)

    @property
    def serving(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def close(self) -> None:
        """Take no new connections; those that stand are not touched."""
        if self._server:
            self._server.close()


async def listen(
    listening: Listening, authority: Authority, sock: socket.socket, keeper: Doorkeeper | None = None
) -> Acceptor:
    """Serve agents on a bound socket until the acceptor is closed; tunnels that stand are not touched by that.

    `keeper` is shared by the listeners of a node.
    """
    acceptor = Acceptor(keeper or Doorkeeper(listening.admission), sock)
    options: dict[str, Any] = SERVER | {
        "server_host_keys": [authority.host_identity()],
        "authorized_client_keys": authority.trusted_clients,
        "login_timeout": LOGIN_SECONDS,
    }
    await asyncssh.listen(tunnel=acceptor, server_factory=lambda: Login(listening), **options)
    return acceptor

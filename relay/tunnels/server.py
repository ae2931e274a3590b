"""The agents' SSH listener: lets in who has a certificate, keeps the names they publish, and binds nothing for them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import asyncssh
import structlog

from agent.wire.carrier import Carrier
from agent.wire.destination import Destination, DestinationError
from agent.wire.limits import LOGIN_SECONDS
from agent.wire.ssh import SERVER
from relay.tunnels.admission import Admission
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

log = structlog.get_logger()

KEYS_PER_LOGIN = 3
"""Keys that one connection may offer; an agent has one."""
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

    def __init__(self, listening: Listening) -> None:
        self._on = listening
        self._tunnel: Tunnel | None = None
        self._keys_offered = 0
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ssh = conn
        peer = conn.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "unknown"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._expiry:
            self._expiry.cancel()
        if not self._tunnel:
            self._on.admission.leave(self._address)
            self._on.admission.fail(self._address)
            return
        self._on.admission.forget(self._address)
        self._on.registry.remove(self._tunnel)
        log.info("tunnel gone", agent=self._tunnel.identity.agent, instance=self._tunnel.identity.instance,
                 reason=str(exc or "closed by the agent"))  # fmt: skip

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, _key: asyncssh.SSHKey) -> bool:
        """A bare key is never enough on this listener; too many of them end the connection."""
        return self._count_key()

    def validate_ca_key(self, _username: str, _key: asyncssh.SSHKey) -> bool:
        """Certificates of our own CA have been found before this is asked."""
        return self._count_key()

    def auth_completed(self) -> None:
        agent = str(self._ssh.get_extra_info("username"))
        identity = Identity.read(agent, self._ssh.get_certificate_option("force-command"))
        if identity is None or self._on.refused(identity):
            log.warning("login refused", agent=agent, instance=identity and identity.instance, reason="revoked")
            self._ssh.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "revoked")
            return
        self._on.admission.leave(self._address)
        self._on.admission.prove(self._address)
        self._tunnel = Tunnel(self._ssh, identity, self._address)
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

    def _count_key(self) -> bool:
        self._keys_offered += 1
        if self._keys_offered > KEYS_PER_LOGIN:
            self._ssh.abort()
        return False

    def _watch_expiry(self, seconds: float) -> None:
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._on.renewable():
            log.info("certificate expired", agent=self._tunnel and self._tunnel.identity.agent)
            self._ssh.abort()
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
    """Takes TCP connections under admission and hands them to asyncssh, each over a Carrier."""

    def __init__(self, admission: Admission, sock: socket.socket) -> None:
        self._admission = admission
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def create_server(
        self, factory: Callable[[str, int], asyncssh.SSHServerConnection], _host: str, _port: int
    ) -> asyncssh.SSHListener:
        """What `asyncssh.listen(tunnel=…)` calls; `factory` makes the connection that a Carrier then carries."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Door(self._admission, factory), sock=self._sock, backlog=1024)
        return asyncssh.SSHListener()

    @property
    def serving(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def close(self) -> None:
        """Take no new connections; those that stand are not touched."""
        if self._server:
            self._server.close()


class _Door(asyncio.Protocol):
    """Sheds before the first SSH byte: an answer would cost a handshake."""

    def __init__(self, admission: Admission, factory: Callable[[str, int], asyncssh.SSHServerConnection]) -> None:
        self._admission = admission
        self._factory = factory

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        if not self._admission.arrive(str(peer[0]) if peer else "unknown"):
            transport.abort()
            return
        carrier = Carrier(self._factory("", 0))
        transport.set_protocol(carrier)
        carrier.connection_made(transport)


async def listen(listening: Listening, authority: Authority, sock: socket.socket) -> Acceptor:
    """Serve agents on a bound socket until the acceptor is closed; tunnels that stand are not touched by that."""
    acceptor = Acceptor(listening.admission, sock)
    options: dict[str, Any] = SERVER | {
        "server_host_keys": [authority.host_identity()],
        "authorized_client_keys": authority.trusted_clients,
        "login_timeout": LOGIN_SECONDS,
    }
    await asyncssh.listen(tunnel=acceptor, server_factory=lambda: Login(listening), **options)
    return acceptor

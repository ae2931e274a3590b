"""Stock OpenSSH as the agent: a listener for `ssh -N -R`, where a registered public key is enough and nothing is ours.

Such a client has one slot, no certificate and no control channel. Its user name is the agent; its key says which of
the agent's machines it is, so that the newest connection of a key replaces the older ones.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh

from agent.wire.destination import CONTROL, Destination
from agent.wire.limits import LOGIN_SECONDS
from agent.wire.refusal import ChannelRefusal
from agent.wire.ssh import SERVER
from relay.tunnels.authority import Authority, Identity
from relay.tunnels.door import Doorkeeper
from relay.tunnels.server import Acceptor, Listening, Login
from relay.tunnels.tunnel import REASON_CHARACTERS, ChannelRefusedError, Tunnel

QUESTIONS_PER_LOGIN = 12
"""How often a client may show a key: six keys, as with OpenSSH's own server, each first without a signature."""

ALGORITHMS: dict[str, Any] = {
    "kex_algs": ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"],
    "signature_algs": [
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
        "rsa-sha2-512", "rsa-sha2-256",
    ],
}  # fmt: skip
"""What clients without our key exchange can do, and the kinds of keys that people have. No SHA-1."""

FindKey = Callable[[str, str], Awaitable[str | None]]
"""Asked with an agent's id and the SHA-256 (hex) of a key's blob: the key's id, None if it may not log in."""

_CAUSES = {"Connection refused": ChannelRefusal.STORE_REFUSED, "Connection timed out": ChannelRefusal.STORE_TIMEOUT}
"""What OpenSSH says when it cannot connect, in the words of the C library; anything else counts as unreachable."""
_UNSAID = {
    "open failed": "ssh could not begin to connect: the store's name does not resolve on its machine, there is "
    "no way to it, or it was given to -R with capital letters"
}
"""Where OpenSSH (9.2) does not say why; its own error output does."""


async def listen(
    listening: Listening, authority: Authority, sock: socket.socket, *, keeper: Doorkeeper, find: FindKey, name: str
) -> Acceptor:
    """Serve stock clients on a bound socket; `name` is the host name or address that they dial."""
    acceptor = Acceptor(keeper, sock)
    options: dict[str, Any] = SERVER | ALGORITHMS
    options |= {"server_host_keys": [authority.host_identity(name)], "login_timeout": LOGIN_SECONDS}
    await asyncssh.listen(tunnel=acceptor, server_factory=lambda: StockLogin(listening, find), **options)
    return acceptor


class StockLogin(Login):
    """One stock client's connection."""

    keys_per_login = QUESTIONS_PER_LOGIN

    def __init__(self, listening: Listening, find: FindKey) -> None:
        super().__init__(listening)
        self._find = find
        self._key: str | None = None

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the key is registered. Asked for each key that is offered, and at last for the one that signed."""
        self._count_key()
        self._key = await self._find(username, hashlib.sha256(key.public_data).hexdigest())
        return self._key is not None

    def session_requested(self) -> bool:
        raise asyncssh.ChannelOpenError(
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "there are no sessions here: use ssh -N"
        )

    def _identify(self, agent: str) -> Identity | None:
        """The key stands for the instance and its token: whatever of these is revoked ends its tunnels."""
        return Identity(agent, self._key, self._key, serial=0, not_after=0) if self._key else None

    def _make_tunnel(self, identity: Identity) -> Tunnel:
        return StockTunnel(self._ssh, identity, self._address)

    def _watch_expiry(self, seconds: float) -> None:
        """A key has no end of its own."""


class StockTunnel(Tunnel):
    """A stock client's connection; its refusals are OpenSSH's own."""

    def publish(self, destination: Destination) -> bool:
        return destination != CONTROL and super().publish(destination)

    def _translate(self, error: asyncssh.ChannelOpenError) -> Exception:
        """It is asked only for names that it has published, so its answer is never about that."""
        if self.lost:
            return super()._translate(error)
        refusal = _CAUSES.get(error.reason, ChannelRefusal.STORE_UNREACHABLE)
        text = "".join(c if " " <= c <= "~" else "?" for c in error.reason[:REASON_CHARACTERS])
        return ChannelRefusedError(refusal, _UNSAID.get(text, text))

"""Where the listening sockets come from: handed over by systemd (sd_listen_fds(3)), or bound here."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from relay.settings import Address, SettingsError

HTTP, SSH, SSH_STOCK = NAMES = ("http", "ssh", "ssh-stock")
"""As `FileDescriptorName=` of a socket unit says which is which."""
METRICS = "metrics"
"""Always bound here: a scraper asks again."""
BACKLOG = 4096
"""Connections that the kernel keeps for us, at most net.core.somaxconn: while one relay leaves and the next begins,
they wait here."""
FIRST_DESCRIPTOR = 3


class PortError(Exception):
    """An address cannot be listened on."""


class Sockets:
    """A node's listening sockets by name. What systemd handed over outlives us, and so do those who wait in it."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Raises SettingsError if what was handed over is not what a relay listens on."""
        self._inherited = _inherited(environment)

    def open(self, name: str, address: Address) -> list[socket.socket]:
        """Those that were handed over under this name, else a new one that is bound at `address`. Raises PortError."""
        return self._inherited.pop(name, None) or [_bind(address)]

    def optional(self, name: str, address: Address | None) -> list[socket.socket]:
        """The same, or none where neither is given."""
        return self._inherited.pop(name, None) or ([_bind(address)] if address else [])


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def names_of(sockets: list[socket.socket]) -> str:
    return ", ".join(str(Address(*sock.getsockname()[:2])) for sock in sockets)


def _inherited(environment: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(environment.pop("LISTEN_FDS", "0"))
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    del environment["LISTEN_PID"]
    found: dict[str, list[socket.socket]] = {}
    for position in range(count):
        name = names[position] if position < len(names) else ""
        found.setdefault(name, []).append(_adopt(FIRST_DESCRIPTOR + position, name))
    return found


def _adopt(descriptor: int, name: str) -> socket.socket:
    if name not in NAMES:
        raise SettingsError(f"a socket was handed over as {name!r}: FileDescriptorName= must be {', '.join(NAMES)}")
    try:
        sock = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SettingsError(f"the socket that was handed over as {name!r} is none: {error.strerror}") from None
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or sock.type != socket.SOCK_STREAM or not listens:
        raise SettingsError(f"the socket that was handed over as {name!r} is not a listening TCP socket")
    sock.setblocking(False)
    return sock


def _bind(address: Address) -> socket.socket:
    """A bound socket, not listening yet."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
    except OSError as error:
        raise PortError(f"cannot listen on {address}: {error.strerror}") from None
    sock.setblocking(False)
    return sock

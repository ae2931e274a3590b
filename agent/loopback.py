"""Addresses of this machine alone: the only ones on which an agent may listen, and only if it is told to."""

from __future__ import annotations

import re
import socket
from typing import Any, NamedTuple

from agent.wire.loopback import is_loopback

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:]+)\]|([0-9.]+|localhost)):([0-9]{1,5})")


class Loopback(NamedTuple):
    host: str
    port: int

    @classmethod
    def parse(cls, text: Any) -> Loopback:
        """Read `127.0.0.1:9465`, `[::1]:9465` or `localhost:9465`. Raises ValueError."""
        match = _ADDRESS.fullmatch(str(text).strip())
        if not match or int(match[3]) > 65535 or not is_loopback(match[1] or match[2]):
            raise ValueError(
                f"{str(text)[:80]!r} should read like 127.0.0.1:9465 or [::1]:9465: an agent listens on this machine's "
                "own loopback addresses only"
            )
        return cls(match[1] or match[2], int(match[3]))

    def bind(self) -> socket.socket:
        """A bound socket, not listening yet. Raises OSError."""
        family, kind, protocol, _, target = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(target)
        except OSError:
            sock.close()
            raise
        return sock

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

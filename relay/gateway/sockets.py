"""What the relay asks of the kernel for a connector's connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket

UNSENT_BYTES = 128 * 1024
"""What may lie in a socket beyond what the network takes: without a bound a reader that stands still costs 4 MB of
kernel memory, and a few hundred of them bring TCP as a whole under pressure, tunnels included."""


def bound_unsent(transport: asyncio.BaseTransport) -> None:
    """Set TCP_NOTSENT_LOWAT (tcp(7)); what is no TCP socket is left alone."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

"""How SSH begins where its first line, by which each end names itself, was sent before there was an SSH connection."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.wire.carrier import Carrier


def introduction(version: str) -> bytes:
    """The line for asyncssh's `client_version` or `server_version` (RFC 4253 §4.2)."""
    return f"SSH-2.0-{version}\r\n".encode()


def begin_introduced(carrier: Carrier, transport: asyncio.BaseTransport, said: bytes) -> None:
    """Let the carrier's SSH connection begin on a transport on which `introduction` was sent already, as `said`.

    asyncssh 2.24.1 sends this line, and nothing else, from its `connection_made`.
    """
    ssh: Any = carrier.ssh
    ssh._version = said.removeprefix(b"SSH-2.0-").rstrip()  # noqa: SLF001 - the key exchange signs what was said
    ssh._send = _unsaid  # noqa: SLF001 - no public way to leave the line out
    try:
        carrier.connection_made(transport)
    finally:
        del ssh._send  # noqa: SLF001 - as above


def _unsaid(_data: bytes) -> None:
    pass

"""What carries an SSH connection: the one place that hears the back-pressure which asyncssh ignores.

asyncssh leaves `pause_writing` of its connection empty (2.24), so that fifty writers to a frozen peer queue a window
each. A Carrier stands between asyncio's transport and asyncssh's connection, passes everything on, and pauses the
connection's channels while the transport is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import asyncssh

from agent.wire.limits import BULK_WINDOWS_PER_TUNNEL, TRANSPORT_HIGH_WATER_BYTES
from agent.wire.receiving import LeanReceiving
from agent.wire.sending import JoinedWrites, LeanSending

SshConnection = asyncssh.SSHClientConnection | asyncssh.SSHServerConnection


class Pressed(Protocol):
    """A channel, as its carrier sees it."""

    def press(self, *, full: bool) -> None: ...


class Carrier(asyncio.Protocol):
    """Between a transport and the asyncssh connection `ssh` that it carries. `of(connection)` finds it again."""

    def __init__(self, ssh: SshConnection) -> None:
        self.ssh = ssh
        self.full = False
        self.bulk_windows = BULK_WINDOWS_PER_TUNNEL
        self._channels: set[Pressed] = set()

    @staticmethod
    def of(ssh: SshConnection) -> Carrier:
        carrier = ssh.get_extra_info("carrier")
        if not isinstance(carrier, Carrier):
            raise TypeError("this SSH connection was not made over a Carrier")
        return carrier

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        below = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        below.set_write_buffer_limits(high=TRANSPORT_HIGH_WATER_BYTES)
        ssh: Any = self.ssh
        ssh.set_extra_info(carrier=self)
        ssh.send_packet = LeanSending(ssh)
        ssh._recv_data = LeanReceiving(ssh)  # noqa: SLF001 - no public name
        ssh.connection_made(JoinedWrites(below))

    def data_received(self, data: bytes) -> None:
        self.ssh.data_received(data)

    def eof_received(self) -> None:
        self.ssh.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        self.ssh.connection_lost(exc)

    def pause_writing(self) -> None:
        self.full = True
        for channel in tuple(self._channels):
            channel.press(full=True)

    def resume_writing(self) -> None:
        self.full = False
        for channel in tuple(self._channels):
            channel.press(full=False)

    def add(self, channel: Pressed) -> None:
        self._channels.add(channel)

    def discard(self, channel: Pressed) -> None:
        self._channels.discard(channel)

    @property
    def lost(self) -> bool:
        """Whether the SSH connection is over: true already while its channels are told."""
        connection: Any = self.ssh
        return connection._transport is None  # noqa: SLF001 - is_closed() turns true only after the channels were told

    @property
    def channels(self) -> int:
        """Channels open now."""
        return len(self._channels)


class Dialled:
    """Hands `asyncssh.connect(tunnel=…)` a transport that was dialled before, through a Carrier.

    `start` gets the protocol and returns its transport: `loop.create_connection` over a socket, or a WebSocket's pump.
    """

    def __init__(self, start: Callable[[Carrier], Any], abandon: Callable[[], object] | None = None) -> None:
        self._start = start
        self._abandon = abandon
        self._begun = False

    def abandon(self) -> None:
        """Close what was dialled, unless an SSH connection was begun on it: that one has to be closed itself."""
        if self._abandon and not self._begun:
            self._abandon()

    async def create_connection(
        self, factory: Callable[[], asyncssh.SSHClientConnection], _host: str, _port: int
    ) -> tuple[Any, asyncssh.SSHClientConnection]:
        carrier = Carrier(factory())
        self._begun = True
        transport = await self._start(carrier)
        return transport, carrier.ssh  # type: ignore[return-value]  # the client's, as made above

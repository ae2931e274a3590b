"""The route of mode `cloud`: a TCP connection from the relay itself, to public addresses only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable
from typing import cast

from agent.wire.destination import Destination
from agent.wire.limits import DIAL_SECONDS
from agent.wire.stream import Receiver, Stream
from relay.gateway.errors import GatewayError
from relay.gateway.targets import Address, ForbiddenTargetError, UnknownNameError, public_addresses
from relay.gateway.way import DIRECT, DirectWay
from relay.records import Connection

ADDRESSES = 8
"""Of one name, so many are tried."""

LookUp = Callable[[str, int], Awaitable[list[Address]]]


class DirectRoute:
    """Dials what `look_up` answers and nothing else: the addresses that were judged, in their order.

    `own_names` are those of the relay itself, which no store has: a connection to it would call itself.
    """

    def __init__(self, look_up: LookUp = public_addresses, *, own_names: frozenset[str] = frozenset()) -> None:
        self._look_up = look_up
        self._own_names = own_names

    async def open(self, connection: Connection) -> tuple[Stream, DirectWay]:
        """Raises GatewayError."""
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await self._open(connection.store.destination), DIRECT
        except TimeoutError:
            raise GatewayError("store_timeout", "no connection in time") from None
        except ForbiddenTargetError as error:
            raise GatewayError("store_forbidden", str(error)) from None
        except UnknownNameError:
            raise GatewayError("store_dns", connection.store.destination.host) from None
        except OSError as error:
            code = "store_refused" if isinstance(error, ConnectionRefusedError) else "store_unreachable"
            raise GatewayError(code, error.strerror or "") from None

    def away(self, _connection: Connection) -> bool:
        """The relay itself is always there."""
        return False

    async def _open(self, destination: Destination) -> Stream:
        """Raises what stopped the last of the addresses."""
        if destination.host in self._own_names:
            raise ForbiddenTargetError
        addresses = (await self._look_up(destination.host, destination.port))[:ADDRESSES]
        error = OSError(errno.EHOSTUNREACH, "no address")
        for address in addresses:
            try:
                async with asyncio.timeout(DIAL_SECONDS / len(addresses)):
                    return await connect(address, destination.port)
            except OSError as failure:  # TimeoutError among them
                error = failure
        raise error


async def connect(address: Address, port: int) -> TcpStream:
    """Raises OSError."""
    _, stream = await asyncio.get_running_loop().create_connection(TcpStream, str(address), port)
    return stream


class TcpStream(asyncio.Protocol):
    """A TCP connection as a Stream."""

    def __init__(self) -> None:
        self._receiver: Receiver | None = None
        self._lost = False

    def attach(self, receiver: Receiver) -> None:
        first, self._receiver = self._receiver is None, receiver
        if first:
            self.resume_reading()

    def write(self, data: bytes) -> None:
        self._tcp.write(data)

    def write_eof(self) -> None:
        self._tcp.write_eof()

    def pause_reading(self) -> None:
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        if not self._lost:
            with contextlib.suppress(RuntimeError):
                self._tcp.resume_reading()

    def close(self) -> None:
        self._tcp.close()

    def abort(self) -> None:
        self._tcp.abort()

    def is_closing(self) -> bool:
        return self._lost or self._tcp.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._tcp.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._receiver:
            self._receiver.data_received(data)

    def eof_received(self) -> bool:
        if self._receiver:
            self._receiver.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._receiver:
            self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._receiver:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        if self._receiver:
            self._receiver.resume_writing()

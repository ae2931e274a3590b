"""What happens when the relay opens a channel: the store's own address is dialled, and every failure has a code."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable

import asyncssh
import structlog

from agent.dialling import attempts, connect
from agent.failure import said
from agent.forward import Forward
from agent.logs import Sparingly, printable
from agent.resolver import Address, Resolver
from agent.wire.channel import Channel
from agent.wire.destination import Store
from agent.wire.limits import CHANNELS_PER_TUNNEL, DIAL_SECONDS
from agent.wire.loopback import means_loopback
from agent.wire.originator import Originator
from agent.wire.refusal import ChannelRefusal

IDLE_SECONDS = 900.0
"""A channel without a byte for so long serves nobody: no answer of a shop takes a quarter of an hour to begin."""
ORIGINATOR_CHARACTERS = 64
"""What is logged of the ids of a connection and a request, which the relay chooses."""

_TOO_MUCH = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_UNREACHABLE = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EADDRNOTAVAIL,
    errno.EACCES,
    errno.EPERM,
    errno.EAFNOSUPPORT,
}

log = structlog.get_logger()


class DialError(Exception):
    """A store could not be connected to."""

    def __init__(self, refusal: ChannelRefusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


async def dial(store: Store, resolver: Resolver, seconds: float = DIAL_SECONDS) -> socket.socket:
    """Connect to the store's own address and no other: resolved once, every address tried. Raises DialError."""
    where = f"{store.dial_host}:{store.dial_port}"
    ends = time.monotonic() + seconds
    addresses = await look_up(store, resolver, seconds)
    try:
        return await connect(attempts(addresses), ends - time.monotonic())
    except TimeoutError:
        raise DialError(ChannelRefusal.STORE_TIMEOUT, f"{where} did not answer within {seconds:g} s") from None
    except OSError as error:
        raise DialError(_code(error), f"{where}: {said(error)}") from None


async def look_up(store: Store, resolver: Resolver, seconds: float) -> list[Address]:
    """The addresses at which the store may be dialled. Raises DialError."""
    try:
        addresses = await resolver.resolve(store.dial_host, store.dial_port, seconds)
    except TimeoutError:
        raise DialError(ChannelRefusal.STORE_DNS, f"no name server answered for {store.dial_host}") from None
    except (OSError, UnicodeError) as error:
        reason = said(error) if isinstance(error, OSError) else "not a name"
        raise DialError(ChannelRefusal.STORE_DNS, f"the name {store.dial_host} is not found: {reason}") from None
    return _meant(store, addresses)


def _meant(store: Store, addresses: list[Address]) -> list[Address]:
    """The addresses without those that a name must not lead to: this machine and its link, unless they are written out.

    Otherwise whoever answers for the name in the LAN's DNS could turn the agent on its own machine.
    """
    if _written_out(store.dial_host):
        return addresses
    meant = [address for address in addresses if not _own_machine(str(address[1][0]))]
    if not meant:
        found = addresses[0][1][0]
        raise DialError(
            ChannelRefusal.STORE_UNREACHABLE,
            f"the name {store.dial_host} leads to {found}, which is no address of a LAN; if it is meant, write "
            f"--store {store.origin}={found}:{store.dial_port}",
        )
    return meant


def _written_out(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return means_loopback(host)
    return True


def _own_machine(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return bool(inner.is_loopback or inner.is_link_local or inner.is_unspecified or inner.is_multicast)


def _code(error: OSError) -> ChannelRefusal:
    if isinstance(error, ConnectionRefusedError):
        return ChannelRefusal.STORE_REFUSED
    if error.errno == errno.ETIMEDOUT:
        return ChannelRefusal.STORE_TIMEOUT
    if error.errno in _TOO_MUCH:
        return ChannelRefusal.AGENT_BUSY
    if error.errno in _UNREACHABLE or isinstance(error, ConnectionError):
        return ChannelRefusal.STORE_UNREACHABLE
    return ChannelRefusal.AGENT_FAULT


class Forwarder:
    """The channels of one tunnel, those being opened included."""

    def __init__(self, resolver: Resolver, limit: int = CHANNELS_PER_TUNNEL) -> None:
        self._resolver = resolver
        self._limit = limit
        self._opening: set[asyncio.Task[object]] = set()
        self._forwards: dict[Forward, int] = {}
        self._leaving = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._worth_telling = Sparingly()

    def factory(self, store: Store) -> Callable[[str, int], Awaitable[Channel]]:
        """What asyncssh calls for each channel to `store`. It raises nothing but ChannelOpenError.

        Anything else would end the tunnel with all its channels.
        """

        async def open_channel(originator: str, _port: int) -> Channel:
            try:
                return await self._open(store)
            except DialError as error:
                self._tell(store, originator, error)
                raise asyncssh.ChannelOpenError(error.refusal, str(error)) from None
            except Exception:
                log.exception("a channel could not be opened", store=store.origin, **_on_whose_behalf(originator))
                raise asyncssh.ChannelOpenError(ChannelRefusal.AGENT_FAULT, "the agent's log says more") from None

        return open_channel

    @property
    def channels(self) -> int:
        return len(self._opening) + len(self._forwards)

    def leave(self) -> None:
        """Take no more channels."""
        self._leaving = True

    async def empty(self) -> None:
        """Wait until no channel is left, being opened or open."""
        await self._empty.wait()

    def abort(self) -> None:
        """The tunnel is gone: so is everything below it."""
        self.leave()
        for task in tuple(self._opening):
            task.cancel()
        for forward in tuple(self._forwards):
            forward.abort()

    def sweep(self) -> None:
        """Abort what moved no byte since the last sweep; to be called every IDLE_SECONDS."""
        for forward, moved in tuple(self._forwards.items()):
            if forward.moved == moved:
                forward.abort()
            else:
                self._forwards[forward] = forward.moved

    async def _open(self, store: Store) -> Channel:
        if self._leaving:
            raise DialError(ChannelRefusal.AGENT_LEAVING, "this tunnel is closing")
        if self.channels >= self._limit:
            raise DialError(
                ChannelRefusal.AGENT_BUSY, f"{self._limit} channels are open, which is all this agent takes"
            )
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncssh awaits the factory in a task
        self._opening.add(task)
        self._empty.clear()
        try:
            forward = await _forward(await dial(store, self._resolver), self._ended)
            self._forwards[forward] = -1
        finally:
            self._opening.discard(task)
            self._note_emptiness()
        return forward.channel

    def _ended(self, forward: Forward) -> None:
        self._forwards.pop(forward, None)
        self._note_emptiness()

    def _note_emptiness(self) -> None:
        if not self.channels:
            self._empty.set()

    def _tell(self, store: Store, originator: str, error: DialError) -> None:
        if error.refusal is not ChannelRefusal.AGENT_LEAVING and self._worth_telling((store, error.refusal)):
            log.warning(
                "store not reached",
                reason=str(error),
                store=store.origin,
                code=error.refusal.name.lower(),
                **_on_whose_behalf(originator),
            )


def _on_whose_behalf(originator: str) -> dict[str, str]:
    named = Originator.parse(originator)._asdict()
    return {noun: printable(id_, ORIGINATOR_CHARACTERS) for noun, id_ in named.items() if id_}


async def _forward(sock: socket.socket, ended: Callable[[Forward], None]) -> Forward:
    try:
        _, forward = await asyncio.get_running_loop().create_connection(lambda: Forward(ended), sock=sock)
    except BaseException:
        sock.close()
        raise
    return forward

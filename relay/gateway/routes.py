"""The way to a store: `open` gives a byte stream, through an agent's tunnel, or direct."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Protocol

from agent.wire.refusal import ChannelRefusal
from agent.wire.stream import Stream
from relay.gateway.direct import DirectRoute
from relay.gateway.errors import GatewayError
from relay.gateway.tls import TlsError, TlsStream
from relay.records import Connection, Mode
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import ChannelRefusedError, NotPublishedError, Tunnel, TunnelLostError

HOLD_SECONDS = 10.0
"""How long a request that has not been sent waits for a tunnel that was lost lately."""

LOOK_AGAIN_SECONDS = 0.5
"""How often a waiting request looks whether waiting still makes sense."""

_CODES = {
    ChannelRefusal.STORE_DNS: "store_dns",
    ChannelRefusal.STORE_REFUSED: "store_refused",
    ChannelRefusal.STORE_TIMEOUT: "store_timeout",
    ChannelRefusal.STORE_UNREACHABLE: "store_unreachable",
    ChannelRefusal.AGENT_BUSY: "agent_busy",
    ChannelRefusal.AGENT_FAULT: "agent_fault",
}

LostCode = Callable[[], str]
"""Asked when a stream broke: the code of the hop that broke it."""


class Route(Protocol):
    async def open(self, connection: Connection) -> tuple[Stream, LostCode]:
        """A stream to the connection's store. Raises GatewayError."""


class Routes:
    """Chooses the route by the connection's mode, and puts TLS on top for `https://` stores."""

    def __init__(self, registry: Registry, direct: Route | None = None) -> None:
        """`direct` is the route of mode `cloud`."""
        self._routes: dict[Mode, Route] = {Mode.ON_PREMISE: TunnelRoute(registry), Mode.CLOUD: direct or DirectRoute()}

    async def open(self, connection: Connection) -> tuple[Stream, LostCode]:
        stream, lost_code = await self.reach(connection)
        if connection.store.scheme == "http":
            return stream, lost_code
        return await self.secure(connection, stream), lost_code

    async def reach(self, connection: Connection) -> tuple[Stream, LostCode]:
        """A plain stream to the store's port."""
        return await self._routes[connection.mode].open(connection)

    async def secure(self, connection: Connection, stream: Stream) -> Stream:
        """TLS over it, verified; a stream that cannot be trusted is closed."""
        secured = TlsStream(stream, connection.store.destination.host, connection.trust)
        try:
            await secured.start()
        except TlsError as error:
            stream.abort()
            raise GatewayError("store_tls", str(error)) from None
        except asyncio.CancelledError:
            stream.abort()
            raise
        return secured


class TunnelRoute:
    """Through an agent's tunnel on this node; held for a while where a tunnel was lost and may be back."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def open(self, connection: Connection) -> tuple[Stream, LostCode]:
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        while True:
            tunnel = await self._held(connection, deadline)
            try:
                channel = await tunnel.open(connection.store.destination, connection.id)
            except TunnelLostError:
                tunnel.replaced = True
            except NotPublishedError:
                raise GatewayError("store_not_published", str(connection.store.destination)) from None
            except ChannelRefusedError as error:
                if error.refusal is not ChannelRefusal.AGENT_LEAVING:
                    raise GatewayError(_CODES.get(error.refusal, "agent_fault"), error.text) from None
                tunnel.replaced = True
            else:
                return channel, functools.partial(_lost_code, tunnel)

    async def _held(self, connection: Connection, deadline: float) -> Tunnel:
        """The tunnel to open in, waited for until the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._tunnel(connection)
        except TimeoutError:
            raise GatewayError("agent_offline", f"it was not back within {HOLD_SECONDS:.0f} s") from None

    async def _tunnel(self, connection: Connection) -> Tunnel:
        """The tunnel to open in. Raises GatewayError where waiting makes no sense."""
        agent, destination = connection.agent or "", connection.store.destination
        while True:
            tunnel = self._registry.pick(agent, destination)
            if tunnel:
                return tunnel
            if any(t.settled for t in self._registry.of(agent)):
                raise GatewayError("store_not_published", str(destination))
            if not self._registry.of(agent) and not self._registry.lost_lately(agent):
                raise GatewayError("agent_offline")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._registry.change(agent)


def _lost_code(tunnel: Tunnel) -> str:
    return "tunnel_lost" if tunnel.lost else "store_closed_early"

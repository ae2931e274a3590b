"""The way to a store: `open` gives a byte stream, through an agent's tunnel, or direct."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from agent.wire.channel import Channel
from agent.wire.refusal import ChannelRefusal
from agent.wire.stream import Stream
from relay.gateway.direct import DirectRoute
from relay.gateway.errors import GatewayError
from relay.gateway.holding import Holding
from relay.gateway.tls import TlsError, TlsStream
from relay.gateway.way import Way
from relay.records import Connection, Mode
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import ChannelRefusedError, NotPublishedError, Tunnel, TunnelLostError

HOLD_SECONDS = 10.0
"""How long a request that has not been sent waits for a tunnel that was lost lately."""

LOOK_AGAIN_SECONDS = 0.5
"""How often a waiting request looks whether waiting still makes sense."""
IMPATIENT_SECONDS = 1.0
"""A channel that has not opened by then is also tried in another tunnel; nothing was sent."""
HANDSHAKES = 3
"""TLS handshakes with a store whose tunnels break under them; nothing was sent."""

_CODES = {
    ChannelRefusal.STORE_DNS: "store_dns",
    ChannelRefusal.STORE_REFUSED: "store_refused",
    ChannelRefusal.STORE_TIMEOUT: "store_timeout",
    ChannelRefusal.STORE_UNREACHABLE: "store_unreachable",
    ChannelRefusal.AGENT_BUSY: "agent_busy",
    ChannelRefusal.AGENT_FAULT: "agent_fault",
}


class Route(Protocol):
    async def open(self, connection: Connection) -> tuple[Stream, Way]:
        """A stream to the connection's store. Raises GatewayError."""

    def away(self, connection: Connection) -> bool:
        """Whether nobody is there just now through whom the store could be reached."""


class Routes:
    """Chooses the route by the connection's mode, and puts TLS on top for `https://` stores."""

    def __init__(self, registry: Registry, direct: Route | None = None) -> None:
        """`direct` is the route of mode `cloud`."""
        self.holding = Holding()
        self.on_secured: Callable[[Connection, TlsStream], object] = _nothing
        """Called when a store has shown a good certificate; it must be quick."""
        tunnels = TunnelRoute(registry, self.holding)
        self._routes: dict[Mode, Route] = {Mode.ON_PREMISE: tunnels, Mode.CLOUD: direct or DirectRoute()}

    async def open(self, connection: Connection) -> tuple[Stream, Way]:
        for _ in range(HANDSHAKES):
            stream, way = await self.reach(connection)
            if connection.store.scheme == "http":
                return stream, way
            with contextlib.suppress(_TunnelLostError):
                return await self.secure(connection, stream, way), way
        raise _TunnelLostError

    def away(self, connection: Connection) -> bool:
        return self._routes[connection.mode].away(connection)

    async def reach(self, connection: Connection) -> tuple[Stream, Way]:
        """A plain stream to the store's port."""
        return await self._routes[connection.mode].open(connection)

    async def secure(self, connection: Connection, stream: Stream, way: Way | None = None) -> Stream:
        """TLS over it, verified; a stream that cannot be trusted is closed. Raises GatewayError.

        With its `way`, a stream that broke because a tunnel did is told from a store's bad TLS.
        """
        secured = TlsStream(stream, connection.store.destination.host, connection.trust)
        try:
            await secured.start()
            self.on_secured(connection, secured)
        except TlsError as error:
            stream.abort()
            if way and way.lost_code == "tunnel_lost":
                raise _TunnelLostError from None
            raise GatewayError("store_tls", str(error)) from None
        except BaseException:
            stream.abort()
            raise
        return secured


class _TunnelLostError(GatewayError):
    """The tunnel broke during a TLS handshake: nothing was sent."""

    def __init__(self) -> None:
        super().__init__("tunnel_lost", "nothing of the request had been sent")


class TunnelWay:
    """Through one tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.measure = tunnel.measure

    @property
    def lost_code(self) -> str:
        return "tunnel_lost" if self._tunnel.lost else "store_closed_early"

    @property
    def round_trip(self) -> float:
        return self._tunnel.probe.pulse.lap

    @property
    def measured_at(self) -> float:
        return self._tunnel.probe.pulse.measured_at


class TunnelRoute:
    """Through an agent's tunnel on this node; held for a while where a tunnel was lost and may be back."""

    def __init__(self, registry: Registry, holding: Holding | None = None) -> None:
        self._registry = registry
        self._holding = holding or Holding()

    async def open(self, connection: Connection) -> tuple[Stream, Way]:
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        failed: set[Tunnel] = set()
        while True:
            tunnel = self._choose(connection, failed) or await self._held(connection, failed, deadline)
            opened = await self._open(connection, tunnel, failed)
            if opened:
                tunnel, channel = opened
                return channel, TunnelWay(tunnel)

    def away(self, connection: Connection) -> bool:
        return not any(tunnel.usable for tunnel in self._registry.of(connection.agent or ""))

    async def _open(self, connection: Connection, tunnel: Tunnel, failed: set[Tunnel]) -> tuple[Tunnel, Channel] | None:
        """Open in this tunnel and, if that takes long, in another one too; None: all that were tried have `failed`.

        Raises GatewayError for what the agent itself says.
        """
        agent, destination = connection.agent or "", connection.store.destination
        openings = {asyncio.ensure_future(tunnel.open(destination, connection.id)): tunnel}
        error: GatewayError | None = None
        try:
            done, _ = await asyncio.wait(openings, timeout=IMPATIENT_SECONDS)
            if not done and (other := self._registry.pick(agent, destination, but=failed | {tunnel})):
                openings[asyncio.ensure_future(other.open(destination, connection.id))] = other
            while openings:
                done, _ = await asyncio.wait(openings, return_when=asyncio.FIRST_COMPLETED)
                for opening in done:
                    if opening.exception() is None:
                        return openings.pop(opening), opening.result()
                    failed.add(openings[opening])
                    error = _failure(opening.exception(), openings.pop(opening), connection) or error
        finally:
            for opening in openings:
                opening.cancel()
                opening.add_done_callback(_abort_late)
        if error:
            raise error
        return None

    async def _held(self, connection: Connection, failed: set[Tunnel], deadline: float) -> Tunnel:
        """The tunnel to open in, waited for until the deadline."""
        try:
            with self._holding.one(connection.account):
                async with asyncio.timeout_at(deadline):
                    return await self._wait(connection, failed)
        except TimeoutError:
            raise GatewayError("agent_offline", f"it was not back within {HOLD_SECONDS:.0f} s") from None

    async def _wait(self, connection: Connection, failed: set[Tunnel]) -> Tunnel:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._registry.change(connection.agent or "")
            tunnel = self._choose(connection, failed)
            if tunnel:
                return tunnel

    def _choose(self, connection: Connection, failed: set[Tunnel]) -> Tunnel | None:
        """The tunnel to open in, but for those that `failed`; None: one may come.

        Raises GatewayError where waiting makes no sense.
        """
        agent, destination = connection.agent or "", connection.store.destination
        tunnel = self._registry.pick(agent, destination, but=failed)
        if tunnel:
            return tunnel
        tunnels = self._registry.of(agent)
        if any(t.settled and t not in failed for t in tunnels):
            raise GatewayError("store_not_published", str(destination))
        if all(t.forgettable for t in tunnels) and not self._registry.lost_lately(agent):
            raise GatewayError("agent_offline")
        return None


def _failure(error: BaseException | None, tunnel: Tunnel, connection: Connection) -> GatewayError | None:
    """What ends the request; None: another tunnel may serve."""
    if isinstance(error, TunnelLostError):
        tunnel.suspect()
        return None
    if isinstance(error, NotPublishedError):
        return GatewayError("store_not_published", str(connection.store.destination))
    if isinstance(error, ChannelRefusedError):
        if error.refusal is not ChannelRefusal.AGENT_LEAVING:
            return GatewayError(_CODES.get(error.refusal, "agent_fault"), error.text)
        tunnel.retire("the agent is leaving", by_agent=True)
        return None
    raise error or TypeError("an opening that ended in nothing")


def _nothing(_connection: Connection, _stream: TlsStream) -> None:
    pass


def _abort_late(opening: asyncio.Future[Channel]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()

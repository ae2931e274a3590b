"""One tunnel: an SSH connection that publishes the stores, from its login to its end, every step with a deadline."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import asyncssh
import structlog
from asyncssh.listener import SSHTCPClientListener

from agent import __version__
from agent.enrolment import Admission
from agent.forwarder import IDLE_SECONDS, Forwarder
from agent.login import LoginRefusedError, TunnelError, log_in
from agent.logs import printable
from agent.racing import Won
from agent.resolver import Resolver
from agent.wire import control, ssh
from agent.wire.carrier import Carrier
from agent.wire.control import AgentHello, Bye, ControlChannel, Drain, Message, RelayHello, RetryAfter, Suspect
from agent.wire.destination import CONTROL, Destination, Store
from agent.wire.enrolment import Endpoint
from agent.wire.limits import KEEPALIVE_SECONDS, LOGIN_SECONDS, PACKET_BYTES, WINDOW_BYTES
from agent.wire.pulse import Probe, Verdict

PUBLISH_SECONDS = 10.0
"""Deadline for the relay's word on all stores."""
CLOSE_SECONDS = 3.0
"""How long a clean goodbye may take."""
OPEN_SECONDS = LOGIN_SECONDS + PUBLISH_SECONDS + 1
"""More than the steps of `Tunnel.open` can take together."""
LOOK_SECONDS = 0.25
"""How often a tunnel's pulse is taken."""
QUIET_SECONDS = KEEPALIVE_SECONDS + 1.0
"""A relay that was not heard for so long is asked; its own questions come more often than that."""
OVERSLEPT_SECONDS = 1.0
"""A look that comes so late was held up by ourselves: the machine slept, or had no time for us."""
PROCESS = secrets.token_hex(8)
"""This process, told from any other that has the same key; a machine restored from a snapshot has it in common with the
one that was copied, until one of them draws another."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the agent's tunnels it is: the slot, and how often the slot has dialled."""

    slot: int = 0
    generation: int = 1
    second: bool = False
    """Whether another tunnel of the agent stands already."""
    process: str = PROCESS

    @property
    def version(self) -> str:
        """How the SSH client names itself."""
        return ssh.SECOND_VERSION if self.second else ssh.FIRST_VERSION


FIRST = Place()


class Neighbours(Protocol):
    """The agent's other tunnels, as one of them sees them."""

    def suspected(self, slot: int, generation: int, /) -> None:
        """The relay has found that tunnel dead."""

    def changed(self) -> None:
        """The relay has said something that whoever keeps the tunnel should look at."""


class Tunnel:
    """A standing tunnel. `lost` ends when it does; `close` ends it."""

    def __init__(
        self,
        ssh_connection: asyncssh.SSHClientConnection,
        end: _End,
        about: tuple[Admission, Endpoint, Place],
        neighbours: Neighbours | None,
    ) -> None:
        self.admission, self.endpoint, self.place = about
        self.since = time.time()
        self._stood_at = time.monotonic()
        self.published: tuple[Store, ...] = ()
        self.draining_since: float | None = None
        """When, monotonic, the relay said that this node is about to be gone."""
        self.retry_after: float | None = None
        """Seconds that the relay wants to pass between the end of this tunnel and the next dial."""
        self._neighbours = neighbours
        self._ssh = ssh_connection
        self._end = end
        self._forwarder = end.forwarder
        self._control: ControlChannel | None = None
        self._carrier = Carrier.of(ssh_connection)
        self._probe = Probe(ssh_connection)
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(IDLE_SECONDS, self._sweep)
        self._looking = loop.call_later(LOOK_SECONDS, self._look, time.monotonic())
        end.reason.add_done_callback(self._cancel_timers)

    @classmethod
    async def open(
        cls,
        admission: Admission,
        won: Won,
        resolver: Resolver,
        place: Place = FIRST,
        neighbours: Neighbours | None = None,
    ) -> Tunnel:
        """Log in over what was dialled (as `place.version`), publish. Raises TunnelError."""
        end = _End(Forwarder(resolver))
        connection = await log_in(won.dialled, admission, won.endpoint, end, place.version)
        tunnel = cls(connection, end, (admission, won.endpoint, place), neighbours)
        try:
            await tunnel._publish()
        except BaseException:
            tunnel.abort()
            raise
        return tunnel

    @property
    def channels(self) -> int:
        return self._forwarder.channels

    @property
    def age(self) -> float:
        """Seconds since the login."""
        return time.monotonic() - self._stood_at

    @property
    def address(self) -> str:
        """Where the relay was found, as `address:port`."""
        peer = self._ssh.get_extra_info("peername") or (self.endpoint.host, self.endpoint.port)
        return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"

    @property
    def standing(self) -> bool:
        return not self._end.reason.done()

    @property
    def found_dead(self) -> bool:
        """Whether it was ended because the relay did not answer any more."""
        return self._end.found_dead

    @property
    def round_trip(self) -> float | None:
        """Smoothed, seconds; None until it has been measured."""
        return self._probe.pulse.round_trip

    async def lost(self) -> str:
        """Wait for the end of the tunnel; the reason in a sentence."""
        return await asyncio.shield(self._end.reason)

    def say(self, message: Message) -> None:
        """Tell the relay, if it has opened the control channel."""
        if self._control:
            self._control.send(message)

    def suspect(self) -> None:
        """Ask at once whether the relay answers."""
        self._probe.pulse.suspect()

    def leave(self, reason: str) -> None:
        """Take no more channels; those that run go on. The relay is told why."""
        self.say(Bye(reason=reason))
        self._forwarder.leave()

    async def done(self) -> None:
        """Wait until no channel is left."""
        await self._forwarder.empty()

    async def close(self) -> None:
        """Say goodbye and end, within CLOSE_SECONDS."""
        self._stop()
        self._ssh.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ssh.wait_closed()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        self._stop()
        self._ssh.abort()
        self._forwarder.abort()

    def control_begun(self, channel: ControlChannel) -> None:
        """The relay has opened the control channel; should it do so again, the newer one counts."""
        before, self._control = self._control, channel
        if before:
            before.close()
        stores = control.fitting(store.origin for store in self.admission.stores)
        place = self.place
        channel.send(
            AgentHello(
                slot=place.slot, process=place.process, generation=place.generation, version=__version__, stores=stores
            )
        )

    def control_message(self, message: Message) -> None:
        match message:
            case RelayHello(node=node):
                log.debug("the relay says hello", node=printable(node))
            case Suspect(slot=slot, generation=generation):
                if self._neighbours:
                    self._neighbours.suspected(slot, generation)
            case Drain():
                self.draining_since = time.monotonic()
            case RetryAfter(seconds=seconds):
                self.retry_after = seconds
            case Bye(reason=reason):
                self._end.farewell = printable(reason)
        if self._neighbours:
            self._neighbours.changed()

    def control_ended(self, channel: ControlChannel, fault: str) -> None:
        if self._control is channel:
            self._control = None
        if fault:
            log.warning("control channel closed", reason=printable(fault))

    def _stop(self) -> None:
        self._end.wanted = True
        self._cancel_timers()

    def _cancel_timers(self, _end: object = None) -> None:
        self._sweeping.cancel()
        self._looking.cancel()

    def _look(self, before: float) -> None:
        """Take the pulse; a relay that does not answer any more is not waited for."""
        now = time.monotonic()
        if now - before > LOOK_SECONDS + OVERSLEPT_SECONDS:
            self._probe.pulse.oversleep(now)
        busy, full = self.channels > 0, self._carrier.full
        if not self.standing:
            return
        if self._probe.look(now, busy=busy, full=full, quiet=QUIET_SECONDS) is Verdict.DEAD:
            self._end.found_dead = True
            self._ssh.abort()
        else:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look, now)

    async def _publish(self) -> None:
        """The control channel's name first: a relay knows by it that a hello is to come."""
        stores = self.admission.stores
        names = [self._publish_control(), *(self._publish_store(store) for store in stores)]
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                _, *granted = await asyncio.gather(*names)
        except TimeoutError:
            raise TunnelError(f"the relay did not confirm the stores within {PUBLISH_SECONDS:.0f} s") from None
        except (asyncssh.Error, OSError) as error:
            raise TunnelError(f"the connection broke while publishing the stores: {printable(str(error))}") from None
        self.published = tuple(store for store, ok in zip(stores, granted, strict=True) if ok)
        if not self.published:
            raise LoginRefusedError("the relay takes this certificate, but none of the stores")

    async def _publish_control(self) -> bool:
        """A relay that does not want it serves us all the same."""
        take: SessionFactory = lambda _host, _port: ControlChannel(control.FROM_RELAY, self)  # noqa: E731 - typed
        return await self._publish_name(CONTROL, take, control.WINDOW_BYTES, control.WINDOW_BYTES)

    async def _publish_store(self, store: Store) -> bool:
        factory = self._forwarder.factory(store)
        granted = await self._publish_name(store.destination, factory, WINDOW_BYTES, PACKET_BYTES)
        if not granted:
            log.error("the relay refused to publish a store", store=store.origin)
        return granted

    async def _publish_name(self, name: Destination, factory: SessionFactory, window: int, packet: int) -> bool:
        sizes: dict[str, int] = {"window": window, "max_pktsize": packet}
        # asyncssh lists a name a loop turn after the relay's word; a channel that comes with that word would be refused
        names: dict[Any, Any] = self._ssh._remote_listeners  # noqa: SLF001 - no public way to list it before
        names[name.host, name.port] = SSHTCPClientListener(
            self._ssh, factory, name.host, name.port, encoding=None, errors="strict", **sizes
        )
        try:
            await self._ssh.create_server(factory, name.host, name.port, encoding=None, **sizes)
        except asyncssh.ChannelListenError:
            names.pop((name.host, name.port), None)
            return False
        return True

    def _sweep(self) -> None:
        self._forwarder.sweep()
        self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)


SessionFactory = Callable[[str, int], Awaitable[Any] | Any]
"""What asyncssh calls for each channel to a name."""


class _End(asyncssh.SSHClient):
    """Hears the end of an SSH connection, and takes everything below it down at once."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.wanted = False
        """Whether we end it ourselves."""
        self.found_dead = False
        """Whether we end it because the relay does not answer."""
        self.farewell = ""
        """Why the relay ends it, if it said so."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.forwarder.abort()
        if not self.reason.done():
            self.reason.set_result(self._reason(exc))

    def _reason(self, exc: Exception | None) -> str:
        if self.found_dead:
            return "the relay stopped answering"
        if self.wanted:
            return "closed"
        return f"the relay ended it: {self.farewell}" if self.farewell else _reason(exc)


def _reason(exc: Exception | None) -> str:
    if exc is None:
        return "the relay closed it"
    if isinstance(exc, asyncssh.ConnectionLost):
        return "the connection was lost"
    if isinstance(exc, asyncssh.DisconnectError):
        return f"the relay ended it: {printable(exc.reason)}"
    return f"the connection broke: {printable(str(exc) or type(exc).__name__)}"

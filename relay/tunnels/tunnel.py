"""One tunnel: an agent's SSH connection, the stores it publishes, and the opening of channels through it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, Literal, NamedTuple, Protocol

import asyncssh
import structlog

from agent.wire import control
from agent.wire.carrier import Carrier
from agent.wire.channel import Channel
from agent.wire.control import AgentHello, Bye, ControlChannel, Message, Suspect
from agent.wire.destination import CONTROL, Destination
from agent.wire.limits import (
    CHANNELS_PER_TUNNEL,
    KEEPALIVE_SECONDS,
    OPEN_SECONDS,
    PACKET_BYTES,
    STORES_PER_TUNNEL,
    WINDOW_BYTES,
)
from agent.wire.originator import Originator
from agent.wire.pulse import Probe, Verdict
from agent.wire.refusal import ChannelRefusal
from relay import request_ids
from relay.tunnels.authority import Identity
from relay.tunnels.slimming import slim_channel, slim_connection

SETTLING_SECONDS = 2.0
"""After a login, a name that is not published yet may still come."""

REASON_CHARACTERS = 200

QUIET_SECONDS = KEEPALIVE_SECONDS - 0.5
"""An idle tunnel that was not heard for so long is asked when its turn comes, each KEEPALIVE_SECONDS."""
PROVED_SECONDS = KEEPALIVE_SECONDS + 2.0
"""A tunnel that was heard within so many seconds answers as it should."""
WIND_UP_SECONDS = 600.0
"""How long the channels of a retired tunnel may go on: no answer of a shop takes longer."""

_generations = itertools.count(1)

log = structlog.get_logger()


class TunnelLostError(Exception):
    """The tunnel died, or did not answer in time, before the channel was open: nothing was sent through it."""


class NotPublishedError(Exception):
    """The agent is there, and does not publish that store."""


class ChannelRefusedError(Exception):
    """The agent answered that it could not connect; `refusal` says why, `text` in the system's words."""

    def __init__(self, refusal: ChannelRefusal, text: str) -> None:
        super().__init__(f"{refusal.name.lower()}: {text}")
        self.refusal = refusal
        self.text = text


class Claim(NamedTuple):
    """What an agent says that a tunnel is: the newest generation of a process has the slot."""

    slot: int
    process: str
    generation: int


class Retirement(NamedTuple):
    """Why, since when (monotonic seconds), and by whom no more channels are opened in a tunnel."""

    reason: str
    since: float
    by_agent: bool


class Keeper(Protocol):
    """Whoever knows all tunnels of the node, as one of them sees it."""

    @property
    def node(self) -> str: ...

    def claimed(self, tunnel: Tunnel, claim: Claim, /) -> None:
        """The agent has said, or it is clear by now, which slot the tunnel has."""

    def accused(self, tunnel: Tunnel, slot: int, generation: int, /) -> None:
        """The agent says through `tunnel` that its tunnel of that slot is dead."""

    def retired(self, tunnel: Tunnel, /) -> None:
        """It takes no new channels any more."""

    def found_dead(self, tunnel: Tunnel, /) -> None: ...

    def attend(self, tunnel: Tunnel, /) -> None:
        """Something begins in it."""


class Tunnel:
    """An authenticated SSH connection of an instance, in one of its slots."""

    def __init__(
        self,
        ssh: asyncssh.SSHServerConnection,
        identity: Identity,
        remote: str,
        transport: Literal["tcp", "websocket"] = "tcp",
    ) -> None:
        self.identity = identity
        self.remote = remote
        self.transport = transport
        self.generation = next(_generations)
        """Of this node: counts the tunnels that came."""
        self.since = time.time()
        self.published: set[Destination] = set()
        self.claim: Claim | None = None
        """None: it is not known yet which slot it has."""
        self.disputed = False
        """Whether another process with the same key has tried again and again to replace it."""
        self.probe = Probe(ssh)
        self.users: set[str] | None = None
        """The connections on whose behalf channels were opened."""
        self.forgettable = False
        """Whether it was ended for good: nobody waits for its agent to come back."""
        self._keeper: Keeper | None = None
        self._control: ControlChannel | None = None
        self._control_asked = False
        self._retired: Retirement | None = None
        self._ending = ""
        self._was_cut = False
        self._opening = 0
        self._ssh = ssh
        self._carrier = Carrier.of(ssh)
        slim_connection(ssh)

    def __repr__(self) -> str:
        return f"<Tunnel {self.identity.agent} {self.identity.instance} generation {self.generation}>"

    @property
    def lost(self) -> bool:
        return self._carrier.lost

    @property
    def usable(self) -> bool:
        """Whether channels may be opened in it."""
        return self._retired is None and not self.lost

    @property
    def settled(self) -> bool:
        """Whether the agent has had time to publish all that it means to."""
        return self.usable and time.time() - self.since >= SETTLING_SECONDS

    @property
    def channels(self) -> int:
        """Channels to stores, open or being opened."""
        return self._carrier.channels + self._opening

    @property
    def slot(self) -> int | None:
        return self.claim.slot if self.claim else None

    @property
    def round_trip(self) -> float | None:
        """Smoothed, seconds; None until it has been measured."""
        return self.probe.pulse.round_trip

    def measure(self) -> None:
        """Have the round trip measured when the tunnel is looked at next."""
        self.probe.pulse.want()
        if self._keeper:
            self._keeper.attend(self)

    @property
    def doubtful(self) -> bool:
        """Whether it does not answer as it should, or was not heard lately."""
        pulse = self.probe.pulse
        return pulse.doubtful or time.monotonic() - pulse.heard > PROVED_SECONDS

    @property
    def keeps_several(self) -> bool:
        """Whether its instance has slots: a stock client says nothing of any."""
        return self.claim is None or bool(self.claim.process)

    @property
    def planned(self) -> bool:
        """Whether its end was to be expected: the relay has ended it, or its agent has said that it goes."""
        return self.forgettable or self._was_cut or (self._retired is not None and self._retired.by_agent)

    @property
    def replaced(self) -> bool:
        """Whether a newer one has taken its place: its end says nothing about its agent."""
        return self._retired is not None and not self._retired.by_agent

    @property
    def ending(self) -> str:
        """Who ended it, or is about to, and why; empty: nobody has said."""
        return self._ending or (self._retired.reason if self._retired else "")

    def join(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def publish(self, destination: Destination) -> bool:
        """Whether the name was taken into the agent's list."""
        if destination == CONTROL:
            self._begin_control()
            return True
        if len(self.published) >= STORES_PER_TUNNEL:
            return False
        self.published.add(destination)
        if not self._control_asked and self.claim is None and self._keeper:
            self._keeper.claimed(self, Claim(0, "", self.generation))  # ours publish CONTROL first: this one has a slot
        return True

    def withdraw(self, destination: Destination) -> None:
        self.published.discard(destination)

    async def open(self, destination: Destination, connection_id: str) -> Channel:
        """A channel to a published store; the agent learns on whose behalf.

        Raises TunnelLostError, NotPublishedError, ChannelRefusedError.
        """
        if destination not in self.published:
            raise NotPublishedError
        if self.channels >= CHANNELS_PER_TUNNEL:
            raise ChannelRefusedError(ChannelRefusal.AGENT_BUSY, f"{CHANNELS_PER_TUNNEL} channels are open")
        self._note_use(connection_id)
        self._opening += 1
        began = time.monotonic()
        try:
            return await self._open(destination, connection_id)
        except asyncssh.ChannelOpenError as error:
            raise self._translate(error) from None
        except TimeoutError:
            if self.probe.pulse.heard < began:
                raise TunnelLostError("the tunnel does not answer") from None
            raise ChannelRefusedError(ChannelRefusal.STORE_TIMEOUT, "the agent did not say that it connected") from None
        except (asyncssh.Error, OSError) as error:
            raise TunnelLostError(str(error)) from None
        finally:
            self._opening -= 1

    def say(self, message: Message) -> None:
        """Tell the agent, if it has a control channel."""
        if self._control:
            self._control.send(message)

    def retire(self, reason: str, *, by_agent: bool = False) -> None:
        """Open no more channels; those that run go on. `by_agent`: it is leaving, and ends the tunnel itself."""
        if self._retired is None:
            self._retired = Retirement(reason, time.monotonic(), by_agent)
            if self._keeper:
                self._keeper.retired(self)

    def part(self, reason: str) -> None:
        """End it now, and say so."""
        self.say(Bye(reason=reason))
        self.cut(reason)

    def cut(self, reason: str = "ended by the relay") -> None:
        """End it now, with every channel in it."""
        if not self.lost:
            self._was_cut = True
            self._ending = self._ending or reason
            self._ssh.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    def suspect(self) -> None:
        """Ask at once whether the agent answers."""
        self.probe.pulse.suspect()
        if self._keeper:
            self._keeper.attend(self)

    def look(self, now: float) -> bool:
        """Take its pulse and act on it; whether it is to be looked at again soon. `now` is monotonic seconds."""
        if self.lost:
            return False
        busy = self.channels > 0
        verdict = self.probe.look(now, busy=busy, full=self._carrier.full, quiet=QUIET_SECONDS)
        if verdict is Verdict.DEAD:
            self._ending = self._ending or "it did not answer any more"
            if self._keeper:
                self._keeper.found_dead(self)
            self._ssh.abort()
            return False
        if self._retired:
            self._wind_up(now, self._retired, busy=busy)
        return busy or self.probe.pulse.asking or self._retired is not None

    def control_begun(self, channel: ControlChannel) -> None:
        self._control = channel
        channel.send(control.RelayHello(node=self._keeper.node if self._keeper else ""))

    def control_message(self, message: Message) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        if isinstance(message, AgentHello) and self.claim is None:
            keeper.claimed(self, Claim(message.slot, message.process, message.generation))
        elif isinstance(message, Suspect):
            keeper.accused(self, message.slot, message.generation)
        elif isinstance(message, Bye):
            self.retire(f"the agent left: {_plain(message.reason)}", by_agent=True)

    def control_ended(self, _channel: ControlChannel, fault: str) -> None:
        self._control = None
        if fault:
            log.warning("control channel closed", agent=self.identity.agent, instance=self.identity.instance,
                        reason=_plain(fault))  # fmt: skip

    def _begin_control(self) -> None:
        if not self._control_asked:
            self._control_asked = True
            asyncio.ensure_future(self._open_control()).add_done_callback(_seen)

    async def _open_control(self) -> None:
        """An agent that takes it back, or does not answer, has one slot and no control channel."""
        async with asyncio.timeout(OPEN_SECONDS):
            chan, _ = await self._ssh.create_connection(
                lambda: ControlChannel(control.FROM_AGENT, self),
                CONTROL.host,
                CONTROL.port,
                window=control.WINDOW_BYTES,
                max_pktsize=control.WINDOW_BYTES,
            )
        slim_channel(chan)

    def _wind_up(self, now: float, retirement: Retirement, *, busy: bool) -> None:
        """End a retired tunnel when nothing runs in it any more."""
        done = not busy and not retirement.by_agent
        if done or now - retirement.since >= WIND_UP_SECONDS:
            self.part(retirement.reason)

    def _note_use(self, connection_id: str) -> None:
        self.users = self.users or set()
        self.users.add(connection_id)
        if self._keeper:
            self._keeper.attend(self)

    async def _open(self, destination: Destination, connection_id: str) -> Channel:
        """Open under a deadline; an opening that is given up closes its channel when it comes late (else it leaks)."""
        opening = asyncio.ensure_future(
            self._ssh.create_connection(
                Channel,
                destination.host,
                destination.port,
                str(Originator(connection_id, request_ids.bound())),
                0,
                window=WINDOW_BYTES,
                max_pktsize=PACKET_BYTES,
            )
        )
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                _, channel = await asyncio.shield(opening)
        except (asyncio.CancelledError, TimeoutError):
            opening.add_done_callback(_close_when_late)
            raise
        if not isinstance(channel, Channel):
            raise TypeError(f"asyncssh made a {type(channel).__name__}")
        return channel

    def _translate(self, error: asyncssh.ChannelOpenError) -> Exception:
        if self.lost:
            return TunnelLostError("the tunnel closed")
        try:
            return ChannelRefusedError(ChannelRefusal(error.code), _plain(error.reason))
        except ValueError:
            return NotPublishedError()


def _plain(text: str) -> str:
    """An agent's words as they may stand in an answer or a log: short, and printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:REASON_CHARACTERS])


def _seen(opening: asyncio.Future[None]) -> None:
    if not opening.cancelled() and (error := opening.exception()):
        log.debug("no control channel", reason=str(error))


def _close_when_late(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and not opening.exception():
        _, channel = opening.result()
        if isinstance(channel, Channel):
            channel.abort()

"""One tunnel: an agent's SSH connection, the stores it publishes, and the opening of channels through it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import asyncssh

from agent.wire.carrier import Carrier
from agent.wire.channel import Channel
from agent.wire.destination import CONTROL, Destination
from agent.wire.limits import CHANNELS_PER_TUNNEL, OPEN_SECONDS, PACKET_BYTES, STORES_PER_TUNNEL, WINDOW_BYTES
from agent.wire.refusal import ChannelRefusal
from relay.tunnels.authority import Identity

SETTLING_SECONDS = 2.0
"""After a login, a name that is not published yet may still come."""

REASON_CHARACTERS = 200

_generations = itertools.count(1)


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


class Tunnel:
    """An authenticated SSH connection of an instance. A later generation of the same instance replaces it."""

    def __init__(self, ssh: asyncssh.SSHServerConnection, identity: Identity, remote: str) -> None:
        self.identity = identity
        self.remote = remote
        self.generation = next(_generations)
        self.since = time.time()
        self.published: set[Destination] = set()
        self.replaced = False
        """A newer tunnel of the instance stands, or the agent is leaving: no new channels here."""
        self._opening = 0
        self._ssh = ssh
        self._carrier = Carrier.of(ssh)

    def __repr__(self) -> str:
        return f"<Tunnel {self.identity.agent} {self.identity.instance} generation {self.generation}>"

    @property
    def lost(self) -> bool:
        return self._carrier.lost

    @property
    def usable(self) -> bool:
        return not (self.lost or self.replaced)

    @property
    def settled(self) -> bool:
        """Whether the agent has had time to publish all that it means to."""
        return self.usable and time.time() - self.since >= SETTLING_SECONDS

    @property
    def channels(self) -> int:
        """Channels open or being opened."""
        return self._carrier.channels + self._opening

    def publish(self, destination: Destination) -> bool:
        """Whether the name was taken into the agent's list."""
        if destination != CONTROL and len(self.published) >= STORES_PER_TUNNEL:
            return False
        self.published.add(destination)
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
        self._opening += 1
        try:
            return await self._open(destination, connection_id)
        except asyncssh.ChannelOpenError as error:
            raise self._translate(error) from None
        except TimeoutError:
            raise ChannelRefusedError(ChannelRefusal.STORE_TIMEOUT, "the agent did not say that it connected") from None
        except (asyncssh.Error, OSError) as error:
            raise TunnelLostError(str(error)) from None
        finally:
            self._opening -= 1

    def cut(self) -> None:
        """End it now, with every channel in it."""
        self._ssh.abort()

    async def _open(self, destination: Destination, connection_id: str) -> Channel:
        """Open under a deadline; an opening that is given up closes its channel when it comes late (else it leaks)."""
        opening = asyncio.ensure_future(
            self._ssh.create_connection(
                Channel,
                destination.host,
                destination.port,
                connection_id,
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


def _close_when_late(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and not opening.exception():
        _, channel = opening.result()
        if isinstance(channel, Channel):
            channel.abort()

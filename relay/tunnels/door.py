"""The door of an SSH listener: a connection is shed here for next to nothing, or waits for its handshake's turn."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import cast

import asyncssh

from agent.wire.carrier import Carrier
from agent.wire.introduction import begin_introduced, introduction
from agent.wire.ssh import SECOND_VERSION, SERVER
from relay.tunnels.admission import IDLE_DEBT, Admission, Refusal, source_of
from relay.tunnels.handshake import lighten
from relay.tunnels.line import Budget, Line, Rank

SILENT_SECONDS = 1.0
"""How long a client is waited for to name itself: some wait for the server's name first (RFC 4253 §4.2 allows it)."""
WAIT_SECONDS = 8.0
"""Longest wait for a handshake's turn: agents give up after 15 s, and nothing should begin that ends too late."""
IN_PASSING_SECONDS = 5.0
"""Who leaves the line sooner than that had not come for a login."""
NAME_BYTES = 255
"""Longest identification line (RFC 4253 §4.2)."""
SAID_BYTES = 32 * 1024
"""Most that a client may send while it waits: its name, and a first packet that it did not want to wait with."""

INTRODUCTION = introduction(SERVER["server_version"])

Factory = Callable[[str, int], asyncssh.SSHServerConnection]
Protocols = Callable[[], asyncio.Protocol]


class Doorkeeper:
    """Calls in those who wait, at the pace that the budget allows. One for all SSH listeners of a node."""

    def __init__(self, admission: Admission, before: Callable[[Protocols], Protocols] = lambda inner: inner) -> None:
        """`before` puts something between a connection and its door, such as what a proxy says of its client."""
        self._before = before
        self._loop = asyncio.get_running_loop()
        self.admission = admission
        self.line: Line[Door] = Line()
        self._budget = Budget(self._loop.time, time.thread_time)
        self._next: asyncio.TimerHandle | None = None

    def doors(self, factory: Factory) -> Protocols:
        """What makes the protocol of each connection of a listener."""
        return self._before(lambda: self.door(factory))

    def door(self, factory: Factory, remote: str | None = None) -> Door:
        """A protocol for one new transport. `remote`: the peer's address, if the transport's own is not what counts."""
        return Door(self, factory, remote)

    def call(self) -> None:
        """Let in whom the budget allows; come back for the others."""
        while self.line and self._budget.take():
            if door := self._first():
                door.begin(functools.partial(self._ended, door, self._loop.time()))
        if self.line and self._next is None:
            self._next = self._loop.call_later(max(0.001, self._budget.pause), self._call_again)

    def _first(self) -> Door | None:
        while door := self.line.call():
            if not door.step_back():
                return door
        return None

    def _ended(self, door: Door, began: float) -> None:
        self.admission.leave(door.address)
        self._budget.end(began)

    def _call_again(self) -> None:
        self._next = None
        self.call()


class Door(asyncio.Protocol):
    """One connection before its handshake: reads the line with which a client names itself, nothing else.

    Until it is called in, no SSH connection exists for it, and nothing is sent but the relay's own name, in answer to
    the client's: to an agent that is the sign that SSH gets through, so that it waits here and tries no other way.
    Reading goes on, for a client that leaves is noticed only so.
    """

    def __init__(self, keeper: Doorkeeper, factory: Factory, remote: str | None) -> None:
        self._keeper = keeper
        self._factory = factory
        self._remote = remote
        self._said = b""
        self._introduced = False
        self._rank: Rank | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.address = self._remote or address_of(transport)
        refusal = self._keeper.admission.arrive(self.address)
        if refusal:
            self._turn_away(refusal)
            return
        loop = asyncio.get_running_loop()
        self._came = loop.time()
        self._alarm = loop.call_later(SILENT_SECONDS, self._line_up)

    def data_received(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > SAID_BYTES:
            self._transport.abort()
        elif self._alarm and self._rank is None and (b"\n" in self._said or len(self._said) >= NAME_BYTES):
            self._introduce()
            self._line_up()

    def connection_lost(self, _exc: Exception | None) -> None:
        """It left before it was called."""
        if self._alarm is None:
            return
        self._alarm.cancel()
        admission = self._keeper.admission
        admission.leave(self.address)
        if self._rank is not None:
            self._keeper.line.drop(self, source_of(self.address), self._rank)
        if asyncio.get_running_loop().time() - self._came < IN_PASSING_SECONDS:
            admission.fail(self.address, IDLE_DEBT)

    def begin(self, ended: Callable[[], None]) -> None:
        """Let the handshake begin with what has been said so far; whoever does it calls `ended`, once.

        The connection's extra info `postern_remote` is the peer's address, `postern_ended` is `ended`.
        """
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        ssh = self._factory("", 0)
        lighten(ssh)
        carrier = Carrier(ssh)
        ssh.set_extra_info(postern_remote=self.address, postern_ended=ended)
        self._transport.set_protocol(carrier)
        if self._introduced:
            begin_introduced(carrier, self._transport, INTRODUCTION)
        else:
            carrier.connection_made(self._transport)
        if self._said:
            carrier.data_received(self._said)

    def step_back(self) -> bool:
        """Whether it takes its place among the second ones now, since another tunnel from there was quicker."""
        tunnels = self._keeper.admission.tunnels(self.address)
        if self._rank not in {Rank.FIRST, Rank.KNOWN_FIRST} or tunnels <= self._tunnels:
            return False
        self._rank = Rank.KNOWN_SECOND
        self._keeper.line.join(self, source_of(self.address), self._rank)
        return True

    def _introduce(self) -> None:
        if self._said.startswith(b"SSH-"):
            self._introduced = True
            self._transport.write(INTRODUCTION)

    def _line_up(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._rank = self._judge()
        self._tunnels = self._keeper.admission.tunnels(self.address)
        self._alarm = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._give_up)
        self._keeper.line.join(self, source_of(self.address), self._rank)
        self._keeper.call()

    def _judge(self) -> Rank:
        name, whole, _ = self._said.partition(b"\n")
        second = not whole or name.rstrip(b"\r").endswith(b"-" + SECOND_VERSION.encode())
        if self._keeper.admission.knows(self.address):
            return Rank.KNOWN_SECOND if second else Rank.KNOWN_FIRST
        return Rank.SECOND if second else Rank.FIRST

    def _give_up(self) -> None:
        if not self._introduced:  # after our name nothing but SSH may follow
            self._transport.write(_line(Refusal.FULL))
        self._transport.close()

    def _turn_away(self, refusal: Refusal) -> None:
        if refusal is Refusal.PENALISED:
            self._transport.abort()
            return
        self._transport.write(_line(refusal))
        self._transport.close()


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address as it counts: what whoever made the transport says, else the socket's."""
    told = transport.get_extra_info("postern_remote")
    peer = transport.get_extra_info("peername")
    return str(told or (peer[0] if peer else "unknown"))


def _line(refusal: Refusal) -> bytes:
    """Other lines may stand before the server's identification (RFC 4253 §4.2)."""
    return f"postern: {refusal}; try again in a moment\r\n".encode()

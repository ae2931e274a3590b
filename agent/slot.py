"""One slot of the agent: keeps one tunnel standing, and replaces it by a newer one before it is broken."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog

from agent.board import Board
from agent.dialling import PathError
from agent.enrolment import Admission
from agent.lifelines import Lifelines
from agent.login import LoginRefusedError, TunnelError
from agent.logs import Sparingly
from agent.racing import RACE_SECONDS, RacingDialer
from agent.reconnect import Reconnect
from agent.resolver import Resolver
from agent.transports import TicketRefusedError
from agent.tunnel import OPEN_SECONDS, Place, Tunnel
from agent.wire.enrolment import Endpoint

REST_SECONDS = 30.0
"""Longest wait of a slot before it looks around again, whatever it waits for."""
STALE_SECONDS = 60.0
"""If no endpoint of an admission so old can be reached, a new one may name others."""
OVERLAP_SECONDS = 5.0
"""How long a replaced tunnel still takes channels: the relay may be opening one just now."""
DRAIN_SECONDS = 2.0
"""Within this time agents move from a node that is about to be gone to another one."""

log = structlog.get_logger()


class Slot:
    """Runs until cancelled. `retire` takes a tunnel that was replaced and lets it finish."""

    def __init__(
        self,
        number: int,
        *,
        board: Board,
        dialer: RacingDialer,
        resolver: Resolver,
        lifelines: Lifelines,
        timing: Reconnect,
        retire: Callable[[Tunnel], object],
    ) -> None:
        self.number = number
        self.state = "waiting"
        self._board = board
        self._dialer = dialer
        self._resolver = resolver
        self._lifelines = lifelines
        self._timing = timing
        self._retire = retire
        self._tries = 0
        self._generation = 0
        self._share = random.random()  # noqa: S311 - spreads load
        self._worth_telling = Sparingly()
        self._log = log.bind(slot=number)

    @property
    def name(self) -> str:
        return f"slot {self.number}"

    @property
    def tunnel(self) -> Tunnel | None:
        return self._board.tunnels.get(self.number)

    async def run(self) -> None:
        try:
            while True:
                await self._note_loss()
                if pause := self._pause():
                    await self._rest(pause)
                else:
                    await self._dial()
        finally:
            self._board.ways.pop(self.number, None)
            self._lifelines.end(self.name)

    def _pause(self) -> float:
        """Seconds until the next dial may begin; 0: now."""
        admission, now = self._board.admission, time.monotonic()
        if admission is None or admission.expires_at <= now:
            return REST_SECONDS
        if self.tunnel and self.tunnel.admission is admission and not self._must_move(self.tunnel, admission):
            return REST_SECONDS
        alone = not self._board.standing
        if self.number and alone:
            return REST_SECONDS
        due = self._timing.due(alone=alone)
        if self.tunnel and self.tunnel.draining_since is not None:
            due = max(due, self.tunnel.draining_since + DRAIN_SECONDS * self._share)
        elif self.number and self.tunnel is None:
            due = max(due, self._board.second_due)
        return min(REST_SECONDS, max(0.0, due - now))

    def _must_move(self, tunnel: Tunnel, admission: Admission) -> bool:
        """Whether its node is about to be gone, and there is another one to go to."""
        if tunnel.draining_since is None:
            return False
        return any(endpoint.node not in self._board.draining for endpoint in admission.endpoints)

    async def _rest(self, seconds: float) -> None:
        """Wait until something changed, our tunnel is lost, or the time is over."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._board.change())]
        if self.tunnel:
            waits.append(asyncio.ensure_future(self.tunnel.lost()))
        await self._lifelines.rest(self.name, seconds, *waits)

    async def _note_loss(self) -> None:
        tunnel = self.tunnel
        if tunnel is None or tunnel.standing:
            return
        reason = await tunnel.lost()
        del self._board.tunnels[self.number]
        self._board.ways.pop(self.number, None)
        if tunnel.found_dead:
            self._board.accuse(tunnel)
        self._timing.lost(time.monotonic())
        if tunnel.retry_after is not None:
            self._timing.failed(time.monotonic(), refused=True, retry_after=tunnel.retry_after)
            self._board.take_another_name()
        self.state = "waiting"
        self._log.warning(
            "tunnel lost; dialling again", reason=reason, node=tunnel.endpoint.node, stood_seconds=round(tunnel.age)
        )
        self._board.note_trouble(f"tunnel lost: {reason}")

    async def _dial(self) -> None:
        admission = self._board.admission
        assert admission is not None  # noqa: S101 - _pause saw it
        self._timing.began(time.monotonic())
        try:
            async with self._lifelines.within(self.name, RACE_SECONDS + OPEN_SECONDS + 1):
                self.state = "dialling" if self.tunnel is None else self.state
                await self._open(admission)
        except PathError as error:
            self._failed(TunnelError(str(error), refused=error.refused, retry_after=error.retry_after), admission)
            if isinstance(error, TicketRefusedError):
                self._board.want_admission()
        except (TunnelError, TimeoutError) as error:
            self._failed(error, admission)
        except Exception as error:  # noqa: BLE001 - a slot that ended would never dial again
            if self._worth_telling(type(error).__name__):
                self._log.exception("no tunnel; this is a fault in the agent, not in its configuration")
            self._failed(TunnelError(f"the agent failed with {type(error).__name__}; its log says more"), admission)

    async def _open(self, admission: Admission) -> None:
        """Raises PathError, TunnelError, TimeoutError."""
        board, dialer = self._board, self._dialer
        endpoints = choose(admission.endpoints, dialer.transports, self._taken(), self._tries)
        node = endpoints[0].node
        avoid = {transport for other, transport in self._taken() if other == node and transport}
        board.ways[self.number] = (node, "")
        place = self._next_place()
        won = await dialer.dial(endpoints, place.version, avoid)
        began, transport = time.monotonic(), won.endpoint.transport
        try:
            tunnel = await Tunnel.open(admission, won, self._resolver, place, board)
        except TunnelError as error:
            if not error.refused:
                dialer.paths.spoilt(transport)
            raise
        dialer.paths.stood(transport, avoid)
        board.ways[self.number] = (node, transport)
        self._stands(tunnel, time.monotonic() - began)

    def _next_place(self) -> Place:
        self._generation += 1
        return Place(self.number, self._generation, second=self._board.standing > 0, process=self._board.process)

    def _failed(self, error: Exception, admission: Admission) -> None:
        now = time.monotonic()
        self._tries += 1
        refused, retry_after = getattr(error, "refused", False), getattr(error, "retry_after", None)
        self._timing.failed(now, refused=refused, retry_after=retry_after)
        if self.tunnel is None:
            self._board.ways.pop(self.number, None)
        self.state = "waiting" if self.tunnel is None else self.state
        sentence = str(error) or "the tunnel did not come up in time"
        if self._worth_telling(sentence):
            self._log.warning("no tunnel", reason=sentence)
        self._board.note_trouble(sentence)
        stale = not self._board.standing and now - admission.taken_at > STALE_SECONDS
        if isinstance(error, LoginRefusedError) or stale:
            self._board.want_admission()

    def _stands(self, tunnel: Tunnel, login_seconds: float) -> None:
        first = self.tunnel is None
        if before := self.tunnel:
            self._retire(before)
        self._tries = 0
        self._timing.stood(time.monotonic())
        self._worth_telling = Sparingly()
        self.state = "standing"
        self._board.stands(self.number, tunnel, login_seconds)
        self._log.info(
            "tunnel stands" if first else "tunnel renewed",
            node=tunnel.endpoint.node,
            transport=tunnel.endpoint.transport,
            address=tunnel.address,
            stores=[store.origin for store in tunnel.published],
        )

    def _taken(self) -> set[tuple[str, str]]:
        """Nodes and transports on which other slots stand, nodes that they dial, and nodes that will be gone."""
        others = {way for number, way in self._board.ways.items() if number != self.number}
        return others | {(node, "") for node in self._board.draining}

    def snapshot(self) -> dict[str, Any]:
        tunnel = self.tunnel
        about: dict[str, Any] = {"slot": self.number, "state": self.state}
        if tunnel:
            about |= {
                "node": tunnel.endpoint.node,
                "transport": tunnel.endpoint.transport,
                "address": tunnel.address,
                "since": round(tunnel.since),
                "channels": tunnel.channels,
                "round_trip_ms": round(tunnel.round_trip * 1000, 1) if tunnel.round_trip is not None else None,
            }
        return about


def choose(
    endpoints: Sequence[Endpoint], transports: Collection[str], taken: Collection[tuple[str, str]], tries: int
) -> list[Endpoint]:
    """The ways to the node that is dialled next: nodes without another slot of ours come first.

    Each failure moves on by one node. `taken`: nodes and transports of the other slots.
    """
    usable = [endpoint for endpoint in endpoints if endpoint.transport in transports]
    if not usable:
        offered = ", ".join(sorted({endpoint.transport for endpoint in endpoints}))
        raise TunnelError(f"the relay is reached only by {offered}, which this version does not speak", refused=True)
    busy = {node for node, _ in taken}
    nodes = sorted(dict.fromkeys(endpoint.node for endpoint in usable), key=lambda node: node in busy)
    node = nodes[tries % len(nodes)]
    return [endpoint for endpoint in usable if endpoint.node == node]


async def retire(tunnel: Tunnel) -> None:
    """Let a replaced tunnel finish what runs in it, no longer than its certificate allows, then close it."""
    lost, done = asyncio.ensure_future(tunnel.lost()), asyncio.ensure_future(tunnel.done())
    try:
        async with asyncio.timeout(max(0.0, tunnel.admission.expires_at - time.monotonic())):
            await asyncio.wait([lost], timeout=OVERLAP_SECONDS)
            tunnel.leave("replaced by a newer one")
            await asyncio.wait([lost, done], return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        log.info("a replaced tunnel is closed: its certificate ends", channels=tunnel.channels)
    finally:
        lost.cancel()
        done.cancel()
        await tunnel.close()

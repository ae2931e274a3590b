"""One slot of the agent: keeps one tunnel standing, and replaces it by a newer one before it is broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from agent.enrolment import Admission
from agent.lifelines import Lifelines
from agent.logs import Sparingly
from agent.reconnect import Reconnect
from agent.resolver import Resolver
from agent.transports import Dialer
from agent.tunnel import OPEN_SECONDS, LoginRefusedError, Tunnel, TunnelError
from agent.wire.enrolment import Endpoint

REST_SECONDS = 30.0
"""Longest wait of a slot before it looks around again, whatever it waits for."""
STALE_SECONDS = 60.0
"""If no endpoint of an admission so old can be reached, a new one may name others."""
OVERLAP_SECONDS = 5.0
"""How long a replaced tunnel still takes channels: the relay may be opening one just now."""

log = structlog.get_logger()


class Board:
    """What the slots and the enrolment tell each other."""

    def __init__(self) -> None:
        self.admission: Admission | None = None
        self.wanted = False
        """Somebody needs a new admission before the old one is due."""
        self.tunnels: dict[int, Tunnel] = {}
        """The tunnel that each slot relies on."""
        self.nodes: dict[int, str] = {}
        """The node on which each slot stands, or which it dials."""
        self.trouble: tuple[float, str] | None = None
        """The last failure (unix seconds, sentence)."""
        self._change = asyncio.Event()

    @property
    def standing(self) -> int:
        return sum(tunnel.standing for tunnel in self.tunnels.values())

    def want_admission(self) -> None:
        self.wanted = True
        self.changed()

    def note_trouble(self, sentence: str) -> None:
        self.trouble = (time.time(), sentence)
        self.changed()

    def changed(self) -> None:
        """Wake everybody who waits for a change."""
        self._change.set()
        self._change = asyncio.Event()

    async def change(self) -> None:
        await self._change.wait()


class Slot:
    """Runs until cancelled. `retire` takes a tunnel that was replaced and lets it finish."""

    def __init__(
        self,
        number: int,
        *,
        board: Board,
        dialers: Mapping[str, Dialer],
        resolver: Resolver,
        lifelines: Lifelines,
        timing: Reconnect,
        retire: Callable[[Tunnel], object],
    ) -> None:
        self.number = number
        self.state = "waiting"
        self._board = board
        self._dialers = dialers
        self._resolver = resolver
        self._lifelines = lifelines
        self._timing = timing
        self._retire = retire
        self._tries = 0
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
            self._board.nodes.pop(self.number, None)
            self._lifelines.end(self.name)

    def _pause(self) -> float:
        """Seconds until the next dial may begin; 0: now."""
        admission, now = self._board.admission, time.monotonic()
        if admission is None or admission.expires_at <= now:
            return REST_SECONDS
        if self.tunnel and self.tunnel.admission is admission:
            return REST_SECONDS
        return min(REST_SECONDS, max(0.0, self._timing.due(alone=not self._board.standing) - now))

    async def _rest(self, seconds: float) -> None:
        """Wait until something changed, our tunnel is lost, or the time is over."""
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._board.change())]
        if self.tunnel:
            waits.append(asyncio.ensure_future(self.tunnel.lost()))
        try:
            async with self._lifelines.within(self.name, seconds + 1):
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _note_loss(self) -> None:
        tunnel = self.tunnel
        if tunnel is None or tunnel.standing:
            return
        reason = await tunnel.lost()
        del self._board.tunnels[self.number]
        self._timing.lost(time.monotonic())
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
            endpoint = choose(admission.endpoints, self._dialers, self._taken(), self._tries)
            self._board.nodes[self.number] = endpoint.node
            async with self._lifelines.within(self.name, OPEN_SECONDS):
                self.state = "dialling" if self.tunnel is None else self.state
                tunnel = await Tunnel.open(admission, endpoint, self._dialers[endpoint.transport], self._resolver)
        except (TunnelError, TimeoutError) as error:
            self._failed(error, admission)
        else:
            self._stands(tunnel)

    def _failed(self, error: Exception, admission: Admission) -> None:
        now = time.monotonic()
        self._tries += 1
        self._timing.failed(now, refused=getattr(error, "refused", False))
        self.state = "waiting" if self.tunnel is None else self.state
        sentence = str(error) or "the tunnel did not come up in time"
        if self._worth_telling(sentence):
            self._log.warning("no tunnel", reason=sentence)
        self._board.note_trouble(sentence)
        stale = not self._board.standing and now - admission.taken_at > STALE_SECONDS
        if isinstance(error, LoginRefusedError) or stale:
            self._board.want_admission()

    def _stands(self, tunnel: Tunnel) -> None:
        first = self.tunnel is None
        if before := self.tunnel:
            self._retire(before)
        self._tries = 0
        self._timing.stood(time.monotonic())
        self._worth_telling = Sparingly()
        self._board.tunnels[self.number] = tunnel
        self.state = "standing"
        self._board.changed()
        self._log.info(
            "tunnel stands" if first else "tunnel renewed",
            node=tunnel.endpoint.node,
            address=tunnel.address,
            stores=[store.origin for store in tunnel.published],
        )

    def _taken(self) -> set[str]:
        """Nodes on which other slots of this agent stand, or which they dial."""
        return {node for number, node in self._board.nodes.items() if number != self.number}

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
            }
        return about


def choose(endpoints: Sequence[Endpoint], transports: Collection[str], taken: Collection[str], tries: int) -> Endpoint:
    """The endpoint for the next dial: nodes without another slot of ours come first, each failure moves on by one."""
    usable = [endpoint for endpoint in endpoints if endpoint.transport in transports]
    if not usable:
        offered = ", ".join(sorted({endpoint.transport for endpoint in endpoints}))
        raise TunnelError(f"the relay is reached only by {offered}, which this version does not speak", refused=True)
    ordered = sorted(usable, key=lambda endpoint: endpoint.node in taken)
    return ordered[tries % len(ordered)]


async def retire(tunnel: Tunnel) -> None:
    """Let a replaced tunnel finish what runs in it, no longer than its certificate allows, then close it."""
    lost, done = asyncio.ensure_future(tunnel.lost()), asyncio.ensure_future(tunnel.done())
    try:
        async with asyncio.timeout(max(0.0, tunnel.admission.expires_at - time.monotonic())):
            await asyncio.wait([lost], timeout=OVERLAP_SECONDS)
            tunnel.leave()
            await asyncio.wait([lost, done], return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        log.info("a replaced tunnel is closed: its certificate ends", channels=tunnel.channels)
    finally:
        lost.cancel()
        done.cancel()
        await tunnel.close()

"""How a TCP connection is made: all addresses of a name, staggered, and the first that answers is taken (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from agent.resolver import Address

STAGGER_SECONDS = 0.25
"""Head start of one address over the next (RFC 8305 §5)."""

KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES = 15, 5, 3
"""A peer whose machine went away is noticed after 30 s without traffic."""
USER_TIMEOUT_MS = 30_000
"""Sent data that stays unacknowledged so long ends the connection (RFC 5482)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An address, and how many seconds after the beginning it is tried, at the latest if its round is not over."""

    address: Address
    after: float
    round: int = 0


def attempts(addresses: Sequence[Address], *, rounds: int = 1, pause: float = 0.0) -> list[Attempt]:
    """Each address once per round, a new round every `pause` seconds while the earlier ones are still waiting."""
    return [
        Attempt(address, round_ * pause + i * STAGGER_SECONDS, round_)
        for round_ in range(rounds)
        for i, address in enumerate(addresses)
    ]


async def connect(planned: Sequence[Attempt], seconds: float) -> socket.socket:
    """The first connection that stands; all others are closed. Raises TimeoutError, or the first of the OSErrors."""
    async with asyncio.timeout(seconds):
        if len(planned) == 1:
            return await _connect(planned[0].address)
        return await _race(planned)


async def _race(planned: Sequence[Attempt]) -> socket.socket:
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = list(reversed(planned))
    dials: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException | None = None
    current = 0
    try:
        while True:
            due = waiting and (began + waiting[-1].after <= loop.time() or (not dials and waiting[-1].round == current))
            if due:
                attempt = waiting.pop()
                current = attempt.round
                dials.add(asyncio.ensure_future(_connect(attempt.address)))
            elif not dials:
                raise failure or OSError("there is no address to connect to")
            pause = max(0.0, began + waiting[-1].after - loop.time()) if waiting else None
            done, _ = await asyncio.wait(dials, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for dial in done:
                if dial.exception() is None:
                    dials.remove(dial)
                    return dial.result()
                failure = failure or dial.exception()
            dials -= done
    finally:
        for dial in dials:
            dial.cancel()
            dial.add_done_callback(_close_late)


def _close_late(dial: asyncio.Task[socket.socket]) -> None:
    if not dial.cancelled() and dial.exception() is None:
        dial.result().close()


async def _connect(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _keep_alive(sock)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        if option := getattr(socket, name, None):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

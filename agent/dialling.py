"""How races to the relay and to stores are run: staggered starts, and the first that stands is taken (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from agent.resolver import Address

T = TypeVar("T")

STAGGER_SECONDS = 0.25
"""Head start of one address over the next (RFC 8305 §5)."""

KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES = 15, 5, 3
"""A peer whose machine went away is noticed after 30 s without traffic."""
USER_TIMEOUT_MS = 30_000
"""Sent data that stays unacknowledged so long ends the connection (RFC 5482)."""


class PathError(OSError):
    """A way to a peer does not work; the text says why. `refused`: somebody was there and said no.

    `retry_after`: in how many seconds it may be tried again, if somebody said so.
    """

    def __init__(self, sentence: str, *, refused: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.refused = refused
        self.retry_after = retry_after


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
        runners = [Runner(partial(_connect, each.address), each.after, each.round) for each in planned]
        return await race(runners, socket.socket.close)


@dataclass(frozen=True, slots=True)
class Runner(Generic[T]):
    """Something that is tried, and when, as in Attempt."""

    begin: Callable[[], Coroutine[Any, Any, T]]
    after: float
    round: int = 0


async def race(runners: Sequence[Runner[T]], discard: Callable[[T], object]) -> T:
    """What the first to succeed brings; of others that succeed as well it is discarded.

    When all of a round have failed, no later one begins. Raises the first failure, OSError if nobody runs.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = list(reversed(runners))
    running: set[asyncio.Task[T]] = set()
    failure: BaseException | None = None
    current = 0
    try:
        while True:
            due = waiting and (
                began + waiting[-1].after <= loop.time() or (not running and waiting[-1].round == current)
            )
            if due:
                runner = waiting.pop()
                current = runner.round
                running.add(asyncio.ensure_future(runner.begin()))
            elif not running:
                raise failure or OSError("there is no address to connect to")
            pause = max(0.0, began + waiting[-1].after - loop.time()) if waiting else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if each.exception() is None:
                    running.remove(each)
                    return each.result()
                failure = failure or each.exception()
            running -= done
    finally:
        for each in running:
            each.cancel()
            each.add_done_callback(partial(_discard_late, discard))


def _discard_late(discard: Callable[[T], object], runner: asyncio.Task[T]) -> None:
    if not runner.cancelled() and runner.exception() is None:
        discard(runner.result())


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

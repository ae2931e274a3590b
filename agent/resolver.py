"""How names become addresses: bounded waits, one lookup per name, threads that never hold up the exit."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

LOOKUP_SECONDS = 5.0
"""Deadline of one lookup, as its caller sees it; the system's resolver may go on for longer by itself."""
PATIENCE_SECONDS = 1.0
"""How long a name server is waited for where an address is remembered: the router that died took its DNS along."""
REMEMBERED = 256
"""Names whose last addresses are kept."""

P = ParamSpec("P")
T = TypeVar("T")
Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and what `socket.connect` takes for it."""


class Resolver:
    """Looks names up in both families. Callers who ask for the same name at once share one lookup.

    While no name server answers, a name has the addresses that it had last; what a name server says is believed.
    """

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}
        self._known: OrderedDict[tuple[str, int], list[Address]] = OrderedDict()

    async def resolve(self, host: str, port: int, seconds: float = LOOKUP_SECONDS) -> list[Address]:
        """The addresses in the system's order of preference, the families taking turns.

        Raises socket.gaierror if there is no such name, TimeoutError if no answer came.
        """
        if literal := _literal(host, port):
            return [literal]
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = self._lookups[host, port] = asyncio.ensure_future(_look_up(host, port))
            lookup.add_done_callback(lambda done: self._forget(host, port, done))
        known = self._known.get((host, port))
        try:
            return await asyncio.wait_for(asyncio.shield(lookup), min(seconds, PATIENCE_SECONDS) if known else seconds)
        except TimeoutError:
            if known is None:
                raise
        except socket.gaierror as error:
            if known is None or error.errno != socket.EAI_AGAIN:
                raise
        return known

    def _forget(self, host: str, port: int, lookup: asyncio.Task[list[Address]]) -> None:
        del self._lookups[host, port]
        if not lookup.cancelled() and not lookup.exception():
            self._known[host, port] = lookup.result()
            self._known.move_to_end((host, port))
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)


class DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own: a lookup that hangs holds up neither the others nor the exit."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - belongs to whoever waits for the result
                future.set_exception(error)

        threading.Thread(target=work, daemon=True, name="lookup").start()
        return future


async def _look_up(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
    first = addresses[0][0]
    preferred = [a for a in addresses if a[0] == first]
    others = [a for a in addresses if a[0] != first]
    turns = [a for pair in zip(preferred, others, strict=False) for a in pair]
    return turns + preferred[len(others) :] + others[len(preferred) :]


def _literal(host: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (host, port)
    scope = getattr(address, "scope_id", None)
    if scope:
        return None  # only the system knows the number of an interface
    return socket.AF_INET6, (host, port, 0, 0)

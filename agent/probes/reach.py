"""Names and ports: what a name means in both families, and which of its addresses take a connection."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.failure import said
from agent.probes.step import STEP_SECONDS, Chain, StepError, since
from agent.resolver import Address

ADDRESSES = 8
"""So many addresses of a name are tried; no relay or store has more that matter."""
_FAMILIES = {"v4": (socket.AF_INET, "IPv4"), "v6": (socket.AF_INET6, "IPv6")}


@dataclass(frozen=True, slots=True)
class Found:
    """What one family has for a name; `trouble` says why it is nothing."""

    family: str
    addresses: list[Address]
    trouble: str
    ms: int


async def look_up(chain: Chain, host: str, port: int, remedy: str, *, whose: str = "") -> list[Address]:
    """The steps `dns v4` and `dns v6`; it fails if neither family has an address. `whose` stands before their names."""
    if _is_address(host):
        chain.skip(f"{whose}dns", f"{host} is an address already")
        return await _all(host, port)
    chain.doing = f"{whose}dns"
    found = await asyncio.gather(*(_ask(host, port, name) for name in _FAMILIES))
    addresses = [address for each in found for address in each.addresses]
    for each in found:
        step = f"{whose}dns {each.family}"
        if each.addresses:
            chain.succeed(step, f"{host} is {', '.join(written(a) for a in each.addresses)}", ms=each.ms)
        elif addresses:
            chain.skip(step, f"{each.trouble}; the other family serves")
        else:
            chain.fail(step, each.trouble, remedy, ms=each.ms)
            chain.broken = f"{whose}dns"
    return addresses


async def connect_each(addresses: Sequence[Address], remedy: str) -> tuple[list[Address], str]:
    """Try all addresses at once: those that answer, quickest first, and what each of them did.

    Raises StepError if none answers.
    """
    tried = await asyncio.gather(*(_try(address) for address in addresses[:ADDRESSES]))
    said_of_each = ", ".join(words for _, _, words in tried)
    answering = sorted((ms, i) for i, (ms, _, _) in enumerate(tried) if ms is not None)
    if not answering:
        silent = any(isinstance(error, TimeoutError) for _, error, _ in tried)
        raise StepError(said_of_each, f"{remedy} (a firewall drops it silently)" if silent else remedy)
    return [addresses[i] for _, i in answering], said_of_each


async def connect(address: Address) -> socket.socket:
    """A connected socket, non-blocking. Raises OSError; the deadline is the caller's."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def written(address: Address) -> str:
    return str(address[1][0])


async def _ask(host: str, port: int, name: str) -> Found:
    family, called = _FAMILIES[name]
    began = time.monotonic()
    trouble = f"{host} has no {called} address"
    addresses: list[Address] = []
    try:
        async with asyncio.timeout(STEP_SECONDS):
            addresses = await _all(host, port, family)
    except TimeoutError:
        trouble = f"no name server answered for {host} within {STEP_SECONDS:.0f} s"
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            trouble = f"no name server answers for {host} ({said(error)})"
    except (OSError, UnicodeError):
        trouble = f"{host} is no name"
    return Found(name, addresses, trouble, since(began))


async def _all(host: str, port: int, family: int = 0) -> list[Address]:
    loop = asyncio.get_running_loop()
    answer = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [(kind, where) for kind, _, _, _, where in answer]


async def _try(address: Address) -> tuple[int | None, OSError | None, str]:
    began = time.monotonic()
    try:
        async with asyncio.timeout(STEP_SECONDS - 0.5):  # before the step's own deadline, which knows no address
            (await connect(address)).close()
    except TimeoutError as error:
        return None, error, f"{written(address)} does not answer"
    except OSError as error:
        return None, error, f"{written(address)}: {said(error)}"
    return since(began), None, f"{written(address)} answers in {since(began)} ms"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

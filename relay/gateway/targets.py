"""Which addresses the relay itself may dial: public ones only, told from the IANA registries, not from Python's flags.

`ipaddress` calls `::ffff:127.0.0.1` no loopback and `64:ff9b::7f00:1` global (3.11), and `getaddrinfo` takes
`2130706433`, `0x7f.1` and `①②⑦.⓪.⓪.①` for 127.0.0.1. So names are read strictly, looked up once, and every address that
comes back is judged; what was judged is what is dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOKUP_SECONDS = 5.0

_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
"""At least two labels, the last one beginning with a letter: nothing that `getaddrinfo` could take for a number."""
_SPECIAL_NAMES = ("localhost", "local", "internal", "invalid", "test", "onion", "lan", "home.arpa")
_SPECIAL_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
        ),
    )
)  # fmt: skip
"""The last one is no IANA entry: it is where virtual machines on Azure find their host's own services."""
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
"""The only unicast space handed out so far; NAT64, mapped, unique-local and link-local addresses lie outside it."""
_SPECIAL_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Teredo and other protocol assignments, documentation, 6to4."""


class ForbiddenTargetError(Exception):
    """The relay does not dial that; the text says why, in one way for all."""

    def __init__(self) -> None:
        super().__init__("the address is not a public one")


class UnknownNameError(Exception):
    """The name has no address."""


def is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        return not address.scope_id and address in _GLOBAL_6 and not any(address in network for network in _SPECIAL_6)
    return not any(address in network for network in _SPECIAL_4)


def literal(host: str) -> Address | None:
    """The address, if `host` is written as one. What is neither that nor a plain name: ForbiddenTargetError."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host)
    if not _NAME.match(host) or _under_special(host):
        raise ForbiddenTargetError
    return None


def is_own(address: Address) -> bool:
    """Whether the address is one of this machine's: the way to it begins at itself. Nothing is sent."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), 9))  # of UDP: chooses a source address, and that is all
        return ipaddress.ip_address(sock.getsockname()[0]) == address
    return False


async def public_addresses(host: str, port: int) -> list[Address]:
    """Look the name up once; all its addresses, if all are public and none is this machine's.

    Raises ForbiddenTargetError (one bad address spoils all), UnknownNameError.
    """
    written = literal(host)
    found = [written] if written else await look_up(host, port)
    if not all(is_public(address) and not is_own(address) for address in found):
        raise ForbiddenTargetError
    return found


def _under_special(host: str) -> bool:
    return any(host == name or host.endswith("." + name) for name in _SPECIAL_NAMES)


async def look_up(host: str, port: int) -> list[Address]:
    """What the name system says, judged by nobody yet. Raises UnknownNameError."""
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError, UnicodeError):
        raise UnknownNameError from None
    if not rows:
        raise UnknownNameError
    return list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))

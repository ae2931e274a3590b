"""Whose address counts: the peer's own, unless a reverse proxy that is trusted speaks for somebody else."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network

_CLAIM = re.compile(rb"^(x-forwarded-for|forwarded):[ \t]*([^\r\n]*)\r$", re.IGNORECASE | re.MULTILINE)
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"\\]*)"|([^\s;,"]+))\s*(?=;|$)', re.IGNORECASE)
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


class Trusted:
    """The networks whose word on a caller's address is believed (TRUSTED_PROXIES)."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def holds(self, address: str) -> bool:
        parsed = parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def caller(self, peer: str, head: bytes) -> str:
        """The address of whoever sent a request: `peer`'s, or the nearest one that no trusted proxy has.

        `head`: the request's first line and fields. X-Forwarded-For is read from its right end, where each proxy adds
        what it saw; and Forwarded (RFC 7239) like it. Where both are there and disagree, one of them is the caller's
        own invention, so neither is believed.
        """
        if not self.holds(peer):
            return spelled(peer)
        claims = {b"x-forwarded-for": "", b"forwarded": ""}
        for name, value in _CLAIM.findall(head):
            claims[name.lower()] += "," + value.decode("latin-1")
        plain, elements = _parts(claims[b"x-forwarded-for"]), _parts(claims[b"forwarded"])
        told = {self._nearest(peer, hops) for hops in (plain, [_for(element) for element in elements]) if hops}
        return told.pop() if len(told) == 1 else spelled(peer)

    def _nearest(self, peer: str, hops: Sequence[str]) -> str:
        """From the right: the first address that is not trusted; an unreadable one ends the search before it."""
        nearest = spelled(peer)
        for hop in reversed(hops):
            address = parse(hop)
            if address is None:
                break
            nearest = str(address)
            if not self.holds(nearest):
                break
        return nearest


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, `[…]` and a port allowed; IPv4 in IPv6 is IPv4. None if it is none."""
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def spelled(address: str) -> str:
    """The one spelling of an address; what is none stays as it is."""
    return str(parse(address) or address)


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _for(element: str) -> str:
    """What an element of Forwarded says of `for`; `unknown` where it says nothing readable."""
    found = _FOR.findall(element)
    return (found[0][0] or found[0][1]) if len(found) == 1 else "unknown"

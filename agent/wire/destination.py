"""How a store is named: what an agent publishes, what a channel is opened to, where the agent then dials."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9](?:[a-z0-9-]{0,62}))*\Z")
_PORTS = {"http": 80, "https": 443}


class DestinationError(ValueError):
    """The text names no store; the message says why, for the person who wrote it."""


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A published name: letters, digits, hyphens and dots in lower case (RFC 1123 §2.1), and a port from 1 to 65535.

    It is a name in a list, not necessarily an address: the agent alone knows where it dials.
    """

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Destination:
        """Normalise to the one spelling that both ends compare. Raises DestinationError."""
        host = host.lower()
        if not _NAME.match(host):
            raise DestinationError(f"{host[:80]!r} is not a host name of letters, digits, hyphens and dots")
        if not 1 <= port <= 65535:
            raise DestinationError(f"port {port} is not between 1 and 65535")
        return cls(host, port)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


CONTROL = Destination("control.postern.invalid", 1)
"""The reserved name on which an agent takes the control channel; no store can be called so (RFC 6761 §6.4)."""


@dataclass(frozen=True, slots=True)
class Store:
    """One `--store`: the origin that is published and the address on the LAN that is dialled for it."""

    scheme: str
    destination: Destination
    dial_host: str
    dial_port: int

    @classmethod
    def parse(cls, text: str) -> Store:
        """Read `http(s)://host[:port][=address[:port]]`, such as `https://www.shop.fr=192.168.1.20:443`.

        Raises DestinationError with a sentence for the person who wrote it.
        """
        origin, separator, dial = text.strip().partition("=")
        scheme, destination = parse_origin(origin)
        if separator:
            dial_host, dial_port = _parse_address(dial, destination.port)
        else:
            dial_host, dial_port = destination.host, destination.port
        return cls(scheme, destination, dial_host, dial_port)

    @property
    def origin(self) -> str:
        return format_origin(self.scheme, self.destination)

    def __str__(self) -> str:
        dial = f"[{self.dial_host}]" if ":" in self.dial_host else self.dial_host
        same = (self.dial_host, self.dial_port) == (self.destination.host, self.destination.port)
        return self.origin if same else f"{self.origin}={dial}:{self.dial_port}"


def parse_origin(text: str) -> tuple[str, Destination]:
    """Read `http(s)://host[:port]` strictly: no path, query, user or fragment. Raises DestinationError."""
    if any(c.isspace() or not c.isprintable() for c in text):
        raise DestinationError(f"{text[:80]!r} has blanks or control characters in it")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise DestinationError(f"{text[:80]!r} is not an address: {error}") from None
    if url.scheme not in _PORTS or not url.hostname:
        raise DestinationError(f"{text[:80]!r} should read like http://shop.lan or https://shop.lan:8443")
    if "@" in url.netloc:
        raise DestinationError("an address has no user name or password in it")
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise DestinationError(f"only scheme, host and port belong here: {url.scheme}://{url.netloc}")
    return url.scheme, Destination.of(url.hostname, port if port is not None else _PORTS[url.scheme])


def format_origin(scheme: str, destination: Destination) -> str:
    default = _PORTS[scheme] == destination.port
    return f"{scheme}://{destination.host}" if default else f"{scheme}://{destination}"


def _parse_address(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+))(?::([0-9]{1,5}))?", text)
    if not match:
        raise DestinationError(f"{text[:80]!r} should read like 192.168.1.20:80, shop.lan:80 or [fd00::20]:80")
    six, host, port = match.groups()
    number = int(port) if port else default_port
    if six:
        try:
            ipaddress.IPv6Address(six)
        except ValueError:
            raise DestinationError(f"{six!r} is not an IPv6 address") from None
        Destination.of("placeholder", number)
        return six.lower(), number
    checked = Destination.of(host, number)
    return checked.host, checked.port

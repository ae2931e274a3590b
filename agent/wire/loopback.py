"""Which hosts are this very machine, and which are only meant to be."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a name (in lower case) or an address, without brackets, is sure to be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def means_loopback(host: str) -> bool:
    """The same, and names below `localhost`: they mean this machine (RFC 6761 §6.3), but a name server may lie."""
    return is_loopback(host) or host.endswith(".localhost")

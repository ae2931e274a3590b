"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): the address of the client behind a proxy."""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

V1 = b"PROXY "
V2 = b"\r\n\r\n\x00\r\nQUIT\n"
V1_BYTES = 107
"""Longest header of version 1, with its CRLF."""
V2_BYTES = 2048
"""Longest header of version 2 taken here: addresses need 36 bytes, the rest is extensions, which are skipped."""
_V1 = re.compile(rb"PROXY (?:UNKNOWN[^\r\n]*|(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) [0-9]{1,5} [0-9]{1,5})\r\n")
_V2_HEAD = struct.Struct("!12sBBH")
_LOCAL, _PROXIED = 0x20, 0x21
"""Version and command: the proxy speaks for itself (a health check), or for a client."""
_TCP_4, _TCP_6 = 0x11, 0x21
_ADDRESS_BYTES = {_TCP_4: 12, _TCP_6: 36}


class BadHeaderError(Exception):
    """The bytes begin like a header and go on like none."""


@dataclass(frozen=True, slots=True)
class Header:
    """What was said: the client's address, None for the proxy's own; and how many bytes that took, 0 for no header."""

    remote: str | None
    size: int


NO_HEADER = Header(None, 0)


def read_header(data: bytes) -> Header | None:
    """Read a connection's first bytes; None: more are needed to tell. Raises BadHeaderError."""
    for signature, read in ((V1, _read_v1), (V2, _read_v2)):
        if data.startswith(signature):
            return read(data)
        if signature.startswith(data):
            return None
    return NO_HEADER


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, V1_BYTES)
    if end < 0:
        if len(data) >= V1_BYTES:
            raise BadHeaderError("a header of version 1 has at most 107 bytes")
        return None
    match = _V1.fullmatch(data, 0, end + 2)
    if not match:
        raise BadHeaderError("it is not `PROXY TCP4 source destination port port`")
    return Header(_of_family(match[1], match[2].decode()) if match[1] else None, end + 2)


def _of_family(family: bytes, text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text) if family == b"TCP4" else ipaddress.IPv6Address(text)
    except ValueError:
        raise BadHeaderError("the source is no address of its family") from None
    return str(address)


def _read_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(data)
    size = _V2_HEAD.size + length
    if command not in {_LOCAL, _PROXIED} or size > V2_BYTES:
        raise BadHeaderError("version, command or length is not known here")
    if command == _PROXIED and length < _ADDRESS_BYTES.get(family, 0):
        raise BadHeaderError("it is too short for its addresses")
    if len(data) < size:
        return None
    source = data[_V2_HEAD.size :]
    if command == _PROXIED and family == _TCP_4:
        return Header(str(ipaddress.IPv4Address(source[:4])), size)
    if command == _PROXIED and family == _TCP_6:
        return Header(str(ipaddress.IPv6Address(source[:16])), size)
    return Header(None, size)

"""The PROXY protocol's two versions, byte by byte."""

from __future__ import annotations

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.listening.proxy_protocol import NO_HEADER, V2, V2_BYTES, BadHeaderError, Header, read_header


def v1(source: str, family: str = "TCP4") -> bytes:
    return f"PROXY {family} {source} 192.0.2.1 56324 443\r\n".encode()


def v2(command: int, family: int, addresses: bytes) -> bytes:
    return V2 + struct.pack("!BBH", command, family, len(addresses)) + addresses


def four(source: str, more: bytes = b"") -> bytes:
    return v2(0x21, 0x11, ipaddress.IPv4Address(source).packed + bytes(4) + b"\1\2\3\4" + more)


def six(source: str) -> bytes:
    return v2(0x21, 0x21, ipaddress.IPv6Address(source).packed + bytes(16) + b"\1\2\3\4")


GOOD = [
    (v1("198.51.100.7"), "198.51.100.7"),
    (v1("2001:db8::7", "TCP6").replace(b"192.0.2.1", b"2001:db8::1"), "2001:db8::7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (four("198.51.100.7"), "198.51.100.7"),
    (four("198.51.100.7", b"\x04\x00\x03abc"), "198.51.100.7"),
    (six("2001:db8::7"), "2001:db8::7"),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, bytes(12)), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x31, bytes(216)), None),
]
BAD = {
    "no family": b"PROXY 198.51.100.7 192.0.2.1 1 2\r\n",
    "an address of the other family": v1("2001:db8::7"),
    "a number out of range": v1("256.0.0.1"),
    "two blanks": b"PROXY  TCP4 198.51.100.7 192.0.2.1 1 2\r\n",
    "a request by this name": b"PROXY /to/con_1 HTTP/1.1\r\n",
    "no end": b"PROXY UNKNOWN " + b"x" * 100,
    "too long by one": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "version 3": V2 + struct.pack("!BBH", 0x31, 0x11, 12),
    "another command": V2 + struct.pack("!BBH", 0x22, 0x11, 12),
    "too short for its family": v2(0x21, 0x11, bytes(11)),
    "longer than any": V2 + struct.pack("!BBH", 0x21, 0x11, V2_BYTES),
}


@pytest.mark.parametrize(("data", "remote"), GOOD)
def test_a_header_is_read_wherever_it_was_cut(data: bytes, remote: str | None) -> None:
    """Every beginning asks for more, the whole tells the client's address, and what follows is left alone."""
    assert all(read_header(data[:cut]) is None for cut in range(len(data)))
    assert read_header(data) == read_header(data + b"GET / HTTP/1.1\r\n") == Header(remote, len(data))


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_only_begins_like_a_header_is_refused(data: bytes) -> None:
    """It is neither guessed at nor passed on."""
    with pytest.raises(BadHeaderError):
        read_header(data)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01", b"\r\n\r\nGET /", b"PROX "])
def test_other_protocols_have_no_header(data: bytes) -> None:
    """Told from the first byte that differs."""
    assert read_header(data) == NO_HEADER


@given(st.ip_addresses(), st.binary(max_size=40))
def test_both_versions_say_what_was_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, rest: bytes
) -> None:
    """Any address, whatever follows."""
    old = v1(str(address), f"TCP{address.version}")
    new = four(str(address)) if address.version == 4 else six(str(address))
    for data in (old, new):
        assert read_header(data + rest) == Header(str(address), len(data))


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=120).map(lambda rest: b"PROXY " + rest)))
def test_nothing_else_comes_out_of_any_bytes(data: bytes) -> None:
    """A header inside the data, none, more wanted, or BadHeaderError; and never more than a bound wanted."""
    with contextlib.suppress(BadHeaderError):
        header = read_header(data)
        assert header is None or 0 <= header.size <= len(data)
        assert header is not None or len(data) < V2_BYTES

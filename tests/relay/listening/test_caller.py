"""Whose address counts behind reverse proxies."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.listening.caller import Trusted, spelled

PROXY, SECOND, CALLER, FORGED = "10.0.0.1", "10.0.0.2", "203.0.113.7", "198.51.100.66"
TRUSTED = Trusted([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])
LINE = b"GET /v1/status HTTP/1.1\r\nHost: relay.example\r\n"


def head(*fields: str) -> bytes:
    return LINE + "".join(f"{field}\r\n" for field in fields).encode()


CASES = {
    "nothing said": ([], PROXY),
    "one proxy": ([f"X-Forwarded-For: {CALLER}"], CALLER),
    "the caller's own words before it": ([f"X-Forwarded-For: {FORGED}, {CALLER}"], CALLER),
    "the caller's own field before it": ([f"X-Forwarded-For: {FORGED}", f"x-forwarded-for: {CALLER}"], CALLER),
    "two proxies": ([f"X-Forwarded-For: {FORGED}, {CALLER}, {SECOND}"], CALLER),
    "only proxies": ([f"X-Forwarded-For: {SECOND}"], SECOND),
    "a port": ([f"X-Forwarded-For: {CALLER}:4711"], CALLER),
    "IPv6 with a port": (["X-Forwarded-For: [2001:DB8::7]:4711"], "2001:db8::7"),
    "IPv4 in IPv6": ([f"X-Forwarded-For: ::ffff:{CALLER}"], CALLER),
    "unreadable": (["X-Forwarded-For: 203.0.113.7, unknown"], PROXY),
    "unreadable behind a proxy": (["X-Forwarded-For: 203.0.113.7, _hidden, 10.0.0.2"], SECOND),
    "empty": (["X-Forwarded-For: "], PROXY),
    "Forwarded": ([f"Forwarded: for={FORGED}, for={CALLER};proto=https;by=10.0.0.1"], CALLER),
    "Forwarded, IPv6": (['Forwarded: proto=https;For="[2001:db8::7]:4711"'], "2001:db8::7"),
    "Forwarded without for": ([f"Forwarded: for={FORGED}, proto=https"], PROXY),
    "Forwarded with two": ([f"Forwarded: for={FORGED};for={CALLER}"], PROXY),
    "both, agreed": ([f"X-Forwarded-For: {CALLER}", f"Forwarded: for={CALLER}"], CALLER),
    "both, of two minds": ([f"X-Forwarded-For: {CALLER}", f"Forwarded: for={FORGED}"], PROXY),
    "in disguise": ([f"X_Forwarded_For: {CALLER}", f"X-Forwarded-For-Too: {CALLER}"], PROXY),
}


@pytest.mark.parametrize(("fields", "counted"), CASES.values(), ids=CASES.keys())
def test_a_trusted_proxy_is_believed_as_far_as_it_can_know(fields: list[str], counted: str) -> None:
    """The nearest address that is no trusted proxy's own."""
    assert TRUSTED.caller(PROXY, head(*fields)) == counted


@pytest.mark.parametrize(("fields", "_counted"), CASES.values(), ids=CASES.keys())
def test_nobody_else_is_believed(fields: list[str], _counted: str) -> None:
    """Whoever is not trusted is counted as itself; and by default nobody is trusted."""
    assert TRUSTED.caller(CALLER, head(*fields)) == CALLER
    assert Trusted().caller(PROXY, head(*fields)) == PROXY


def test_the_peer_has_one_spelling() -> None:
    """A listener on both families shows IPv4 peers inside IPv6: they are trusted, and counted, as what they are."""
    assert TRUSTED.caller("::ffff:10.0.0.1", head(f"X-Forwarded-For: {CALLER}")) == CALLER
    assert TRUSTED.caller("::FFFF:203.0.113.7", head()) == CALLER
    assert spelled("unknown") == "unknown"


addresses = st.ip_addresses().map(str)
hops = st.lists(st.one_of(addresses, st.sampled_from(["unknown", "", "10.1.2.3", "1.2.3", "[::1", "a b"])), max_size=6)


@given(peer=addresses, forged=hops, seen=addresses, proxies=st.lists(st.sampled_from([PROXY, SECOND, "fd00::1"])))
def test_no_words_of_the_caller_change_its_address(peer: str, forged: list[str], seen: str, proxies: list[str]) -> None:
    """What trusted proxies appended decides; whatever the caller wrote before that is never reached."""
    if TRUSTED.holds(seen):
        return
    value = ", ".join([*forged, seen, *proxies])
    for fields in ([f"X-Forwarded-For: {value}"], [f"X-Forwarded-For: {hop}" for hop in value.split(", ")]):
        assert TRUSTED.caller(PROXY, head(*fields)) == spelled(seen)
        if not TRUSTED.holds(peer):
            assert TRUSTED.caller(peer, head(*fields)) == spelled(peer)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_address(value: bytes) -> None:
    """Nothing that a field may hold makes it fail, or makes anything but an address of it."""
    for name in (b"X-Forwarded-For: ", b"Forwarded: for="):
        counted = TRUSTED.caller(PROXY, LINE + name + value + b"\r\n")
        assert str(ipaddress.ip_address(counted)) == counted

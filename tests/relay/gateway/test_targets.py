"""Mode cloud dials public addresses only: every other form is refused alike, before anything is dialled."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.destination import Destination
from relay.gateway import direct, targets
from relay.gateway.direct import ADDRESSES, DirectRoute, TcpStream
from relay.gateway.errors import GatewayError
from relay.gateway.targets import Address, ForbiddenTargetError, UnknownNameError, is_own, is_public, literal
from relay.records import Connection, Mode, StoreUrl
from tests.relay.gateway.scene import Scene

NUMBERS = [
    "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0x7f.1", "0", "0x7f.0x0.0x0.0x1",
    "①②⑦.⓪.⓪.①", "127。0。0。1", "\uff11\uff12\uff17.0.0.1", "127.0.0.1\0.example.com", "127.0.0.1.",
    "00000127.0.0.1", "1.0x7f",
]  # fmt: skip
"""What `getaddrinfo` takes for an address of this machine, and `ip_address` does not (Python 3.11)."""
INNER = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.20",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001::1",
    "2001:0:53aa:64c:0:fbff:80ff:fffe", "2001:db8::1", "3fff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1",
    "fd00:ec2::254", "ff02::1", "100::1", "5f00::1", "2600::1%eth0",
]  # fmt: skip
NAMES = [
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain.", "shop", "shop.lan", "x.local",
    "metadata.google.internal", "x.home.arpa", "x.onion", "x.invalid", "x.test", "example.com.", "example..com",
    ".example.com", "-a.example.com", "a-.example.com", "a_b.example.com", "exämple.com", "WWW.EXAMPLE.COM", "a b.com",
    "example.com:80", "user@example.com", "example.com/", "example.com\\@127.0.0.1", "example.com#", "example.com?",
    "a\tb.com", "a.com\r\n", "a.com\n", "", ".", "a." + "b" * 64 + ".com", "a." * 127 + "com", "file:///etc/passwd",
    "[::1]", "[2600::1]", "2600::1%25eth0/64",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "168.63.129.17", "::ffff:8.8.8.8",
          "2600::1", "2a00:1450:4007:80e::200e", "2001:4860:4860::8888", "2003::1"]  # fmt: skip


class Counted:
    """In place of the name system and of TCP: what was asked, and what was dialled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[list[str]] = [["8.8.8.8"]]
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.failures: dict[str, OSError] = {}
        monkeypatch.setattr(targets, "look_up", self.look_up)
        monkeypatch.setattr(direct, "connect", self.connect)

    async def look_up(self, host: str, _port: int) -> list[Address]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [ipaddress.ip_address(text) for text in answer]

    async def connect(self, address: Address, port: int) -> TcpStream:
        self.dialled.append((str(address), port))
        if str(address) in self.failures:
            raise self.failures[str(address)]
        return TcpStream()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def to(scene_connection: Connection, host: str, port: int = 443) -> Connection:
    store = StoreUrl("https", Destination(host, port))
    return dataclasses.replace(scene_connection, mode=Mode.CLOUD, agent=None, store=store)


@pytest.mark.parametrize("host", NUMBERS + INNER + NAMES, ids=repr)
async def test_what_is_not_plainly_public_is_refused(scene: Scene, counted: Counted, host: str) -> None:
    """One error for all; the name system is not asked, nothing is dialled."""
    with pytest.raises(GatewayError) as refused:
        await DirectRoute().open(to(scene.connection, host))
    assert (refused.value.failure.code, refused.value.detail) == ("store_forbidden", "the address is not a public one")
    assert (counted.asked, counted.dialled) == ([], [])


@pytest.mark.parametrize("address", INNER, ids=repr)
async def test_a_name_is_worth_its_addresses(scene: Scene, counted: Counted, address: str) -> None:
    """A good name of a bad address, alone or among good ones: refused in the same words, nothing dialled."""
    for answer in ([address], ["8.8.8.8", address], [address, "2600::1", "8.8.8.8"]):
        counted.answers = [answer]
        counted.asked.clear()
        with pytest.raises(GatewayError) as refused:
            await DirectRoute().open(to(scene.connection, "shop.example.com"))
        assert (refused.value.failure.code, refused.value.detail) == (
            "store_forbidden",
            "the address is not a public one",
        )
        assert (counted.asked, counted.dialled) == (["shop.example.com"], [])


async def test_what_was_judged_is_what_is_dialled(scene: Scene, counted: Counted) -> None:
    """Public at the first look, this machine at the second (DNS rebinding): there is no second look."""
    counted.answers = [["8.8.8.8"], ["127.0.0.1"]]
    await DirectRoute().open(to(scene.connection, "rebinding.example.com"))
    assert counted.asked == ["rebinding.example.com"]
    assert counted.dialled == [("8.8.8.8", 443)]
    with pytest.raises(GatewayError):
        await DirectRoute().open(to(scene.connection, "rebinding.example.com"))
    assert counted.dialled == [("8.8.8.8", 443)]


@pytest.mark.parametrize("address", [form for form in PUBLIC if form.count(".") == 3 and ":" not in form])
async def test_public_addresses_pass(scene: Scene, counted: Counted, address: str) -> None:
    """Written as they are, without a look at the name system, and to the port that was asked for."""
    await DirectRoute().open(to(scene.connection, address, 8443))
    assert (counted.asked, counted.dialled) == ([], [(address, 8443)])


@pytest.mark.parametrize("name", ["shop.fr", "www.shop.example.com", "a--b.co.uk", "xn--exmple-cua.com", "1and1.com"])
async def test_plain_names_pass(scene: Scene, counted: Counted, name: str) -> None:
    """Looked up once; all their addresses are tried in their order, up to a bound."""
    answer = [f"8.8.4.{n}" for n in range(ADDRESSES + 4)]
    counted.answers = [answer]
    counted.failures = {address: ConnectionRefusedError(errno.ECONNREFUSED, "refused") for address in answer}
    with pytest.raises(GatewayError) as failed:
        await DirectRoute().open(to(scene.connection, name))
    assert failed.value.failure.code == "store_refused"
    assert counted.asked == [name]
    assert counted.dialled == [(address, 443) for address in answer[:ADDRESSES]]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "store_refused"),
        (OSError(errno.EHOSTUNREACH, "no route"), "store_unreachable"),
        (TimeoutError(), "store_timeout"),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), "store_timeout"),
    ],
)
async def test_the_last_address_says_why(scene: Scene, counted: Counted, failure: OSError, code: str) -> None:
    """The code is that of the last failure; one that works is taken, whatever came before it."""
    counted.answers = [["8.8.8.8", "8.8.4.4"]]
    counted.failures = {"8.8.8.8": OSError(errno.ENETUNREACH, "no net"), "8.8.4.4": failure}
    with pytest.raises(GatewayError) as failed:
        await DirectRoute().open(to(scene.connection, "shop.fr"))
    assert failed.value.failure.code == code
    del counted.failures["8.8.4.4"]
    await DirectRoute().open(to(scene.connection, "shop.fr"))


async def test_a_hanging_address_leaves_time_for_the_others(
    scene: Scene, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a name's addresses gets its part of the dial's time."""
    monkeypatch.setattr(direct, "DIAL_SECONDS", 0.4)
    counted.answers = [["2600::1", "8.8.8.8"]]

    async def connect(address: Address, port: int) -> TcpStream:
        if address.version == 6:
            await asyncio.Event().wait()
        return await counted.connect(address, port)

    monkeypatch.setattr(direct, "connect", connect)
    await DirectRoute().open(to(scene.connection, "shop.fr"))
    assert counted.dialled == [("8.8.8.8", 443)]


async def test_the_relay_does_not_call_itself(scene: Scene, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its public name nor by any address of its machine, though those may be public ones."""
    route = DirectRoute(own_names=frozenset({"relay.example.com"}))
    with pytest.raises(GatewayError) as refused:
        await route.open(to(scene.connection, "relay.example.com"))
    assert (refused.value.failure.code, counted.asked) == ("store_forbidden", [])
    monkeypatch.setattr(targets, "is_own", lambda address: str(address) == "8.8.8.8")
    with pytest.raises(GatewayError) as refused:
        await route.open(to(scene.connection, "alias.example.com"))
    assert (refused.value.failure.code, counted.dialled) == ("store_forbidden", [])


def test_own_addresses_are_known_without_a_packet() -> None:
    """Loopback is this machine; documentation addresses are not, whether or not there is a way to them."""
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("203.0.113.1"))
    assert not is_own(ipaddress.ip_address("2001:db8::1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("203.0.113.1", 9))
        assert is_own(ipaddress.ip_address(sock.getsockname()[0]))


async def test_an_unknown_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told from a forbidden one; the name system is what says it."""

    async def look_up(_host: str, _port: int) -> list[Address]:
        raise UnknownNameError

    with pytest.raises(GatewayError) as failed:
        await DirectRoute(look_up).open(to(scene.connection, "shop.fr"))
    assert (failed.value.failure.code, failed.value.detail) == ("store_dns", "shop.fr")


@given(st.ip_addresses(v=4))
def test_four_in_six_is_judged_as_four(address: ipaddress.IPv4Address) -> None:
    """However an IPv4 address is wrapped: mapped, it is as public as it is bare; 6to4, NAT64 and Teredo never pass."""
    number = int(address)
    assert is_public(ipaddress.IPv6Address((0xFFFF << 32) | number)) == is_public(address)
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | number << 80))
    assert not is_public(ipaddress.IPv6Address((0x64FF9B << 96) | number))
    assert not is_public(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)))
    assert not is_public(ipaddress.IPv6Address(number))


@given(st.ip_addresses())
def test_public_is_at_most_what_python_calls_global(address: Address) -> None:
    """Never looser than the standard library, where that is right."""
    if is_public(address) and not (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped):
        assert address.is_global
        flags = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_unspecified", "is_reserved")
        assert not any(getattr(address, flag) for flag in flags)


@given(
    st.text(st.characters(max_codepoint=0x2FFF), max_size=30)
    | st.from_regex(r"[0-9a-fx.:\[\]%①。]{1,20}", fullmatch=True)
)
def test_no_name_is_taken_for_a_number(host: str) -> None:
    """What passes as a name is one that getaddrinfo cannot read as an address."""
    try:
        address = literal(host)
    except ForbiddenTargetError:
        return
    if address is None:
        with pytest.raises(OSError, match=r"."):
            socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))

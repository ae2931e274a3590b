"""Which host CAs an agent believes."""

from __future__ import annotations

import asyncssh
import pytest

from agent.trust import believed
from agent.wire.enrolment import HostCa, ca_fingerprint
from tests.agent.fake_relay import line, succession


@pytest.fixture(scope="module")
def keys() -> list[asyncssh.SSHKey]:
    return [asyncssh.generate_private_key("ssh-ed25519") for _ in range(4)]


def ca(key: asyncssh.SSHKey) -> HostCa:
    return HostCa(public_key=line(key))


def test_the_pinned_one_is_believed_and_no_other(keys: list[asyncssh.SSHKey]) -> None:
    """Of two unintroduced CAs, only the one whose fingerprint the token carries counts."""
    pinned, other = keys[:2]
    assert believed([ca(pinned), ca(other)], ca_fingerprint(line(pinned)), ()) == (line(pinned),)
    assert believed([ca(other)], ca_fingerprint(line(pinned)), ()) == ()


def test_a_successor_is_believed_through_any_number_of_links(keys: list[asyncssh.SSHKey]) -> None:
    """A chain old → new → newest holds in whatever order it is listed."""
    old, new, newest, _ = keys
    offered = [HostCa(**succession(new, newest)), HostCa(**succession(old, new)), ca(old)]
    assert set(believed(offered, ca_fingerprint(line(old)), ())) == {line(old), line(new), line(newest)}


def test_a_known_ca_introduces_even_when_it_is_no_longer_offered(keys: list[asyncssh.SSHKey]) -> None:
    """After the old CA was retired, an agent that remembers its key follows, and believes the old one no more."""
    old, new = keys[:2]
    assert believed([HostCa(**succession(old, new))], None, (line(old),)) == (line(new),)


def test_an_introduction_by_a_stranger_counts_for_nothing(keys: list[asyncssh.SSHKey]) -> None:
    """A succession signed by another key, or for another key, is refused."""
    old, new, stranger, other = keys
    forged = [
        HostCa(**succession(stranger, new)),
        HostCa(public_key=line(other), succession=succession(old, new)["succession"]),
        HostCa(public_key=line(new), succession="not base64!"),
        HostCa(public_key="ssh-rsa AAAA", succession="AAAA"),
        HostCa(public_key="ssh-of-tomorrow AAAA", succession="AAAA"),
        HostCa(public_key="", succession=""),
    ]
    assert believed([*forged, ca(old)], ca_fingerprint(line(old)), ()) == (line(old),)

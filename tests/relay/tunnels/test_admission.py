"""Who may knock: bounds, shares and penalties, with a clock that is moved by hand."""

from __future__ import annotations

import pytest

from relay.tunnels.admission import (
    DEBT_FORGIVEN,
    DEBT_MOST,
    KNOWN_SECONDS,
    LOGIN_DEBT,
    SOURCES_IN_DEBT,
    SOURCES_KNOWN,
    Admission,
    Refusal,
    source_of,
)

AGENT, STRANGER = "192.0.2.1", "203.0.113.9"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(clock, places=8, each=3)


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def fail_often(admission: Admission, source: str) -> None:
    """As often as it takes to owe more than is forgiven."""
    for _ in range(int(DEBT_FORGIVEN / LOGIN_DEBT) + 1):
        admission.fail(source)


def test_one_source_takes_its_places_and_no_more(admission: Admission) -> None:
    """The fourth connection from one address is turned away, another address is not; a place that is left is free."""
    assert [admission.arrive(STRANGER) for _ in range(4)] == [None, None, None, Refusal.SOURCE_FULL]
    assert admission.arrive(AGENT) is None
    admission.leave(STRANGER)
    assert admission.arrive(STRANGER) is None
    assert admission.refused == {Refusal.SOURCE_FULL: 1}


def test_strangers_leave_places_for_those_who_are_known(admission: Admission) -> None:
    """A crowd of strangers gets three quarters of all places, known sources the rest, and then nobody gets one."""
    for source in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        admission.welcome(source)
    assert [admission.arrive(address(n)) for n in range(7)] == [None] * 6 + [Refusal.FULL]
    assert admission.arrive("192.0.2.1") is None
    assert admission.arrive("192.0.2.2") is None
    assert admission.arrive("192.0.2.3") is Refusal.FULL


def test_who_becomes_known_leaves_the_strangers_share(admission: Admission) -> None:
    """An agent that logs in, or enrols, while others of its address wait: their places are a stranger's no more."""
    assert [admission.arrive(AGENT) for _ in range(2)] == [None, None]
    assert [admission.arrive(address(n)) for n in range(5)] == [None] * 4 + [Refusal.FULL]
    admission.welcome(AGENT)
    assert [admission.arrive(address(n)) for n in range(4, 6)] == [None, None]
    admission.leave(AGENT)
    admission.leave(AGENT)
    admission.leave(address(0))
    assert [admission.arrive(address(n)) for n in range(6, 8)] == [None, Refusal.FULL]


def test_places_are_given_back_exactly(admission: Admission) -> None:
    """However arrivals, proofs and departures mix, in the end all places are free again, strangers' share included."""
    for n in range(3):
        admission.arrive(AGENT)
        admission.arrive(address(n))
    admission.leave(AGENT)
    admission.prove(AGENT)
    admission.leave(AGENT)
    admission.leave(AGENT)
    for n in range(3):
        admission.leave(address(n))
    admission.forget(AGENT)
    assert admission.pending == 0
    assert [admission.arrive(address(n)) for n in range(6)] == [None] * 6


def test_who_fails_too_often_waits(admission: Admission, clock: Clock) -> None:
    """Some failures are forgiven; then the source waits a second for each second that it owes too much."""
    for _ in range(int(DEBT_FORGIVEN / LOGIN_DEBT)):
        admission.fail(STRANGER)
    assert admission.arrive(STRANGER) is None
    admission.fail(STRANGER)
    assert admission.arrive(STRANGER) is Refusal.PENALISED
    assert admission.arrive(AGENT) is None
    clock.now += LOGIN_DEBT
    assert admission.arrive(STRANGER) is None


def test_debts_end(admission: Admission, clock: Clock) -> None:
    """However often it failed, a source is heard again within ten minutes."""
    for _ in range(10_000):
        admission.fail(STRANGER)
    clock.now += DEBT_MOST - DEBT_FORGIVEN - 1
    assert admission.arrive(STRANGER) is Refusal.PENALISED
    clock.now += 1
    assert admission.arrive(STRANGER) is None


def test_an_address_with_a_tunnel_is_never_penalised(admission: Admission, clock: Clock) -> None:
    """Not while an agent's tunnel from there stands, and not for an hour after it was lost: it must come back."""
    admission.arrive(AGENT)
    admission.leave(AGENT)
    admission.prove(AGENT)
    fail_often(admission, AGENT)
    assert admission.arrive(AGENT) is None
    admission.leave(AGENT)
    clock.now += 10 * KNOWN_SECONDS
    fail_often(admission, AGENT)
    assert admission.arrive(AGENT) is None
    admission.leave(AGENT)
    admission.forget(AGENT)
    fail_often(admission, AGENT)
    clock.now += KNOWN_SECONDS - 1
    fail_often(admission, AGENT)
    assert admission.knows(AGENT)
    assert admission.arrive(AGENT) is None
    admission.leave(AGENT)
    clock.now += 1
    assert not admission.knows(AGENT)
    assert admission.arrive(AGENT) is Refusal.PENALISED


def test_a_proof_clears_debts(admission: Admission, clock: Clock) -> None:
    """Who gets in owes nothing any more, also later."""
    fail_often(admission, AGENT)
    admission.prove(AGENT)
    admission.forget(AGENT)
    clock.now += KNOWN_SECONDS
    assert admission.arrive(AGENT) is None


def test_an_address_of_many_agents_has_places_for_them(admission: Admission) -> None:
    """A proxy, or a company behind one address, that had ten tunnels may have twenty connections on their way."""
    crowded = Admission(Clock(), places=100, each=3)
    for _ in range(10):
        crowded.prove(AGENT)
    for _ in range(10):
        crowded.forget(AGENT)
    assert [crowded.arrive(AGENT) for _ in range(21)] == [None] * 20 + [Refusal.SOURCE_FULL]


def test_tables_are_bounded(clock: Clock) -> None:
    """A flood from ever new addresses pushes the oldest out of each table, and those in use stay."""
    admission = Admission(clock)
    admission.prove(AGENT)
    for number in range(SOURCES_KNOWN + 100):
        admission.fail(address(number))
        admission.welcome(address(number))
    assert len(admission._debts) == SOURCES_IN_DEBT
    assert len(admission._known) == SOURCES_KNOWN
    assert admission.knows(AGENT)
    assert admission.knows(address(SOURCES_KNOWN + 99))
    assert not admission.knows(address(0))


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
    ],
)
def test_what_counts_as_one_source(told: str, source: str) -> None:
    """An IPv4 address however it is written, the /64 of an IPv6 one, and anything else as it is."""
    assert source_of(told) == source

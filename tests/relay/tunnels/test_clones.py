"""Two processes with one key: when they are taken for clones, and which of them stays."""

from __future__ import annotations

import itertools

import pytest

from relay.tunnels.clones import PAIRS, SWAP_SECONDS, Clones
from tests.relay.tunnels.scene import INSTANCE, ONE, REPLICA, TWO, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def clones(clock: Clock) -> Clones:
    return Clones(clock)


def test_who_was_there_first_stays(clones: Clones) -> None:
    """The third time that one replaces the other in one slot: from then on the later one may not, the first one may."""
    assert clones.replace(INSTANCE, 0, ONE, TWO)
    assert clones.replace(INSTANCE, 0, TWO, ONE)
    assert not clones.suspected(INSTANCE, ONE, TWO)
    assert not clones.replace(INSTANCE, 0, ONE, TWO)
    assert clones.suspected(INSTANCE, ONE, TWO)
    assert clones.suspected(INSTANCE, TWO, ONE)
    assert not clones.replace(INSTANCE, 1, ONE, TWO), "in the other slots, too"
    assert clones.replace(INSTANCE, 1, TWO, ONE)


def test_a_restarted_agent_is_no_clone(clones: Clones) -> None:
    """However often: the process before never comes back."""
    processes = [f"{n:016x}" for n in range(20)]
    for older, newer in itertools.pairwise(processes):
        assert clones.replace(INSTANCE, 0, older, newer)
        assert clones.replace(INSTANCE, 1, older, newer)
        assert not clones.suspected(INSTANCE, older, newer)


def test_slots_and_instances_are_counted_apart(clones: Clones) -> None:
    """Both slots of a process that takes over are one take-over."""
    for slot in (0, 1):
        assert clones.replace(INSTANCE, slot, ONE, TWO)
        assert clones.replace(INSTANCE, slot, TWO, ONE)
        assert clones.replace(REPLICA, slot, ONE, TWO)
    assert not clones.suspected(INSTANCE, ONE, TWO)


def test_what_is_long_ago_does_not_count(clones: Clones, clock: Clock) -> None:
    """Three times in five minutes, not three times ever; and a verdict holds as long as it is provoked."""
    for older, newer in ((ONE, TWO), (TWO, ONE), (ONE, TWO), (TWO, ONE)):
        assert clones.replace(INSTANCE, 0, older, newer)
        clock.now += SWAP_SECONDS / 2
    clock.now += SWAP_SECONDS
    for _ in range(2):
        clones.replace(INSTANCE, 0, ONE, TWO)
    assert not clones.replace(INSTANCE, 0, ONE, TWO)
    for _ in range(5):
        clock.now += SWAP_SECONDS - 1
        assert not clones.replace(INSTANCE, 1, ONE, TWO)
    clock.now += SWAP_SECONDS
    assert not clones.suspected(INSTANCE, ONE, TWO)
    assert clones.replace(INSTANCE, 0, ONE, TWO)


def test_what_is_remembered_is_bounded(clones: Clones) -> None:
    """Whatever agents say of themselves."""
    for n in range(PAIRS + 100):
        clones.replace(INSTANCE, 0, ONE, f"{n:016x}")
    assert len(clones._pairs) == PAIRS

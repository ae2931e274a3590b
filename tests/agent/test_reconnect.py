"""The timing of retries, with time and randomness in the test's hand."""

from __future__ import annotations

import random

from hypothesis import example, given
from hypothesis import strategies as st

from agent.reconnect import (
    ALONE_PAUSE_SECONDS,
    ALONE_SECONDS,
    BACKUP_SECONDS,
    FIRST_SECONDS,
    REFUSED_SECONDS,
    RETRY_AFTER_SECONDS,
    SECOND_LOGINS,
    SECOND_MOST_SECONDS,
    SECOND_SECONDS,
    SPREAD,
    STABLE_SECONDS,
    Reconnect,
    second_pause,
)

shares = st.floats(0, 1, exclude_max=True)
moments = st.floats(0, 1e7)


@given(shares, moments, st.lists(st.floats(0, 20), min_size=1, max_size=40))
def test_a_merchant_never_waits_longer_than_two_seconds_for_the_next_dial(
    share: float, now: float, dials: list[float]
) -> None:
    """While no tunnel stands and nobody refused, a dial begins 2 s after the last, or at once if that took longer."""
    timing = Reconnect(lambda: share)
    for took in dials:
        began = now
        timing.began(began)
        now += took
        timing.failed(now)
        due = timing.due(alone=True)
        assert now <= due <= max(now, began + ALONE_SECONDS)
        now = due


@given(shares, moments, st.integers(1, 60), st.booleans(), st.booleans())
def test_pauses_are_bounded(share: float, now: float, failures: int, refused: bool, alone: bool) -> None:
    """However often it fails, the pause is below the cap of its kind, and never in the past."""
    timing = Reconnect(lambda: share)
    for _ in range(failures):
        timing.failed(now, refused=refused)
    cap = REFUSED_SECONDS if refused else ALONE_PAUSE_SECONDS if alone else BACKUP_SECONDS
    assert now <= timing.due(alone=alone) <= now + min(cap, FIRST_SECONDS * 2.0 ** (failures - 1))


@given(shares, moments, st.floats(-5, 1e6))
def test_a_retry_after_is_kept_spread_and_bounded(share: float, now: float, seconds: float) -> None:
    """The relay's own time is waited for, a random quarter longer at most, and an absurd one is cut."""
    timing = Reconnect(lambda: share)
    timing.failed(now, refused=True, retry_after=seconds)
    believed = min(max(seconds, 0), RETRY_AFTER_SECONDS)
    due = timing.due(alone=True)
    assert due >= now + believed - 1e-6
    assert due <= now + max(believed * (1 + SPREAD), FIRST_SECONDS) + 1e-6


def test_the_first_try_is_at_once() -> None:
    """Nothing has failed yet, so nothing is waited for."""
    assert Reconnect(lambda: 0.99).due(alone=True) == 0


def test_quick_losses_are_forgotten_only_after_a_stable_while() -> None:
    """A tunnel that flaps keeps backing off though it stands; one that stood for half a minute starts afresh."""
    timing = Reconnect(lambda: 1.0)
    for flap in range(5):
        timing.stood(flap * 100)
        timing.lost(flap * 100 + STABLE_SECONDS - 1)
        assert timing.due(alone=False) - (flap * 100 + STABLE_SECONDS - 1) == FIRST_SECONDS * 2**flap
    timing.stood(1000)
    timing.lost(1000 + STABLE_SECONDS)
    assert timing.due(alone=False) - (1000 + STABLE_SECONDS) == FIRST_SECONDS
    timing.stood(1100)
    timing.lost(1101)
    assert timing.due(alone=False) == 1101 + FIRST_SECONDS * 2


def test_what_stood_was_no_failure_to_connect() -> None:
    """The dials that failed before a tunnel stood do not lengthen the pause after its loss."""
    timing = Reconnect(lambda: 1.0)
    for now in range(12):
        timing.failed(float(now))
    timing.stood(50)
    timing.lost(55)
    assert timing.due(alone=False) == 55 + FIRST_SECONDS


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 60)), min_size=1, max_size=60))
@example([(False, 1.0)] * 12)
@example([(True, 1.0)] * 12)
def test_a_second_tunnel_is_dialled_again_within_ten_seconds(fates: list[tuple[bool, float]]) -> None:
    """Whatever became of the dials before: an agent whom nobody refuses is not left on one tunnel for long."""
    timing, now = Reconnect(lambda: 1.0), 0.0
    for stood, lasted in fates:
        timing.began(now)
        if stood:
            timing.stood(now)
            now += lasted
            timing.lost(now)
        else:
            now += lasted
            timing.failed(now)
        assert now <= timing.due(alone=False) <= now + 10.0
        now = timing.due(alone=False)


def test_losing_the_other_tunnel_shortens_a_pause_that_has_begun() -> None:
    """A pause of many seconds beside a standing tunnel ends early when that tunnel is lost."""
    timing = Reconnect(lambda: 1.0)
    for _ in range(12):
        timing.began(100)
        timing.failed(100)
    assert timing.due(alone=False) == 100 + BACKUP_SECONDS
    assert timing.due(alone=True) == 100 + ALONE_PAUSE_SECONDS


def test_a_refusal_is_not_hurried() -> None:
    """A relay that says no is not asked every two seconds."""
    timing = Reconnect(lambda: 1.0)
    for _ in range(12):
        timing.began(100)
        timing.failed(100, refused=True)
    assert timing.due(alone=True) == 100 + REFUSED_SECONDS


def test_jitter_is_full() -> None:
    """A thousand agents that lost the same relay come back over the whole pause, not in step."""
    pauses = []
    for seed in range(1000):
        timing = Reconnect(random.Random(seed).random)  # noqa: S311 - a test that repeats
        for _ in range(10):
            timing.failed(0)
        pauses.append(timing.due(alone=False))
    thirds = [sum(BACKUP_SECONDS * i / 3 <= p < BACKUP_SECONDS * (i + 1) / 3 for p in pauses) for i in range(3)]
    assert min(thirds) > 250


@given(shares, st.floats(0, 60))
def test_second_tunnels_follow_soon_and_later_where_the_relay_is_slow(share: float, login: float) -> None:
    """Ten times the first one's login is what is spread over; never so long that the agent stays on one tunnel."""
    spread = second_pause(login, lambda: 1.0)
    assert SECOND_SECONDS <= spread <= SECOND_MOST_SECONDS
    assert spread == SECOND_LOGINS * login or spread in {SECOND_SECONDS, SECOND_MOST_SECONDS}
    assert second_pause(login, lambda: share) == share * spread

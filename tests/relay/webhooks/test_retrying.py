"""Tries over a day: more and more seldom, spread, bounded, and as late as the endpoint asks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relay.webhooks.retrying import GIVE_UP_SECONDS, MOST_SECONDS, SPREAD, next_try


def tries(chance: float) -> list[int]:
    """When an endpoint that is never there is tried."""
    now, attempts, at = 0, 1, [0]
    while (following := next_try(attempts=attempts, since=0, now=now, chance=chance)) is not None:
        now, attempts = following, attempts + 1
        at.append(now)
    return at


def test_a_day_of_tries() -> None:
    """Soon at first, every two hours in the end, the last one when the day is over."""
    at = tries(0.5)
    assert at[:4] == [0, 5, 20, 65]
    assert at[-1] == GIVE_UP_SECONDS
    assert 15 <= len(at) <= 25


@given(chance=st.floats(0, 1))
def test_no_delay_is_longer_than_it_may_be_and_all_end(chance: float) -> None:
    """Whatever chance says."""
    at = tries(chance)
    gaps = [second - first for first, second in pairwise(at)]
    assert all(1 <= gap <= MOST_SECONDS * (1 + SPREAD) + 1 for gap in gaps)
    assert len(at) < 40


def test_chance_spreads() -> None:
    """Two events that fail together are not tried together again."""
    first, second = (next_try(attempts=5, since=0, now=100, chance=chance) for chance in (0.0, 1.0))
    assert first is not None
    assert second is not None
    assert second - first > 100


def test_what_the_endpoint_asks_for_is_kept() -> None:
    """Retry-After is never undercut, not even at the end of the day, and not believed beyond a day."""
    assert next_try(attempts=1, since=0, now=0, chance=0.5, retry_after=900) == 900
    assert next_try(attempts=9, since=0, now=86_000, chance=0.5, retry_after=900) == 86_900
    assert next_try(attempts=1, since=0, now=0, chance=0.5, retry_after=10**9) == 86_400
    assert next_try(attempts=1, since=0, now=86_400, chance=0.5, retry_after=900) is None


def test_the_day_counts_from_when_the_event_came_up() -> None:
    """Behind one that took a day to be given up, the next does not take another."""
    assert next_try(attempts=1, since=0, now=GIVE_UP_SECONDS + 60, chance=0.5) is None

"""What each kind of request takes on the idle store, from answers that were mostly not measured there."""

from __future__ import annotations

import pytest

from relay.gateway.baselines import UNSURE_ANSWERS, Baselines
from relay.gateway.kinds import Kind, family_of

LOOKUP = Kind(b"GET", b"orders", b"one", b"", light=True)


def page(rows: int) -> Kind:
    return Kind(b"GET", b"products", b"full", str(rows).encode(), light=False)


@pytest.fixture
def known() -> Baselines:
    """A page of 25 was measured alone: 100 ms."""
    baselines = Baselines(family_of)
    baselines.note(page(25), 0.1, alone=True)
    return baselines


def test_alone_it_is_measured(known: Baselines) -> None:
    """And moves slowly afterwards; under load it does not move."""
    assert known.note(page(25), 0.18, alone=True) == 0.1
    assert known.get(page(25)) == pytest.approx(0.11)
    known.note(page(25), 5.0, alone=False)
    assert known.get(page(25)) == pytest.approx(0.11)


def test_a_page_of_another_length_under_load_is_compared_with_its_family(known: Baselines) -> None:
    """Three at once at one worker: it is seen to be slowed down, though it was never seen alone."""
    assert known.note(page(38), 0.3, alone=False) == 0.1
    assert known.note(page(30), 0.05, alone=False) == 0.05, "the best that was seen"


def test_another_kind_is_slowed_down_as_all_are(known: Baselines) -> None:
    """A lookup has nothing to do with pages; that guess says nothing of the answer it was made from."""
    known.slowdown = 3.0
    assert known.note(LOOKUP, 0.24, alone=False) is None
    assert known.note(LOOKUP, 0.24, alone=False) == pytest.approx(0.08)
    assert known.note(LOOKUP, 0.06, alone=True) == 0.06, "what is measured takes the place of what was guessed"


def test_a_guess_does_not_feed_on_itself(known: Baselines) -> None:
    """The slowdown that it was made with is not taken off again and again."""
    known.slowdown = 3.0
    for _ in range(10):
        known.note(LOOKUP, 0.24, alone=False)
    assert known.get(LOOKUP) == pytest.approx(0.08)


def test_guesses_alone_tell_nothing_for_a_while() -> None:
    """Then it is made do with them."""
    baselines = Baselines(family_of)
    baselines.note(LOOKUP, 0.24, alone=False)
    assert [baselines.all_guessed() for _ in range(UNSURE_ANSWERS + 1)] == [True] * UNSURE_ANSWERS + [False]


def test_what_rests_show_is_learnt(known: Baselines) -> None:
    """By how often it was seen; at a store that was slow at rest all of it, and for those who were not seen as well."""
    known.note(LOOKUP, 0.08, alone=True)
    known.learn({page(25): (1, 0.11)}, 1.1)
    assert known.get(page(25)) == pytest.approx(0.105)
    assert known.get(LOOKUP) == 0.08
    known.learn({page(25): (2, 0.8)}, 4.0)
    assert known.get(page(25)) == pytest.approx(0.4)
    assert known.get(LOOKUP) == pytest.approx(0.32)

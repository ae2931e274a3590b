"""What of an answer's time is the line's, and what the store's."""

from __future__ import annotations

import math

import pytest

from relay.gateway.way import DIRECT, FRESH_SECONDS, DirectWay, store_seconds

USUAL = 0.1
NOW = 100.0


class Line(DirectWay):
    def __init__(self, round_trip: float, measured_at: float = -math.inf) -> None:
        self.round_trip, self.measured_at = round_trip, measured_at
        self.asked = 0

    def measure(self) -> None:
        self.asked += 1


def test_the_way_is_not_the_stores() -> None:
    """What is as usual, or is not known yet, is believed without asking the line."""
    line = Line(0.05)
    assert store_seconds(line, 0.15, NOW, USUAL) == pytest.approx(0.1)
    assert store_seconds(line, 0.3, NOW, None) == pytest.approx(0.25)
    assert line.asked == 0


def test_what_is_quicker_than_ever_needs_a_look_after_it_was_sent() -> None:
    """The line may be well again since it was measured."""
    line = Line(0.4, NOW - 0.1)
    assert store_seconds(line, 0.1, NOW, USUAL) is None
    assert line.asked == 1
    assert store_seconds(Line(0.004, NOW + 0.05), 0.03, NOW, USUAL) == pytest.approx(0.026)


@pytest.mark.parametrize("seconds", [0.4, 0.06], ids=["slower", "quicker"])
def test_what_is_out_of_the_ordinary_waits_for_a_look_at_the_line(seconds: float) -> None:
    """It may be the line that has changed."""
    line = Line(0.05)
    assert store_seconds(line, seconds, NOW, USUAL) is None
    assert line.asked == 1
    assert store_seconds(Line(0.05, NOW - FRESH_SECONDS - 0.1), seconds, NOW, USUAL) is None


def test_a_line_that_is_slower_now() -> None:
    """Measured: the store takes what it took."""
    line = Line(0.4, NOW + 0.3)
    assert store_seconds(line, 0.5, NOW, USUAL) == pytest.approx(USUAL)
    assert line.asked == 0


def test_a_store_that_is_slower_now() -> None:
    """Measured a moment before the request was sent: believed, and the line is asked again."""
    line = Line(0.05, NOW - 0.5)
    assert store_seconds(line, 0.65, NOW, USUAL) == pytest.approx(0.6, abs=0.02)
    assert line.asked == 1


def test_a_line_may_hesitate() -> None:
    """A quarter of its round trip more is no sign of the store's, nor is what would be less than nothing."""
    line = Line(0.4, NOW)
    assert store_seconds(line, 0.58, NOW, USUAL) == pytest.approx(USUAL)
    assert store_seconds(line, 0.35, NOW, USUAL) == 0


def test_without_a_tunnel_all_of_it_is_the_stores() -> None:
    """In mode cloud there is nobody else to ask."""
    assert store_seconds(DIRECT, 5.0, NOW, USUAL) == 5.0

"""The receive window alone: a line and a reader are played to it, with a clock of the test's own."""

from __future__ import annotations

from collections import deque

from agent.wire.limits import BULK_WINDOW_BYTES, WINDOW_BYTES
from agent.wire.window import Window

PIECE = 64 * 1024


class Line:
    """A sender that always has more, `round_trip` seconds away, behind a line of `rate` bytes/s. It is the channel."""

    def __init__(self, round_trip: float, rate: float) -> None:
        self.now = 0.0
        self._recv_window = WINDOW_BYTES
        self.most_in_flight = 0
        self._round_trip, self._rate = round_trip, rate
        self._credit = WINDOW_BYTES
        self._grants: deque[tuple[float, int]] = deque()
        self._free_at = 0.0
        self.window = Window(self, lambda: self.now)

    def send_packet(self, _kind: int, room: bytes) -> None:
        self._grants.append((self.now + self._round_trip, int.from_bytes(room, "big")))

    def run(self, size: int) -> float:
        """Let so many bytes come; the bytes/s at which they did."""
        began, left = self.now, size
        while left > 0:
            while self._grants and (self._grants[0][0] <= self._free_at or not self._credit):
                at, room = self._grants.popleft()
                self._free_at = max(self._free_at, at)
                self._credit += room
            self.most_in_flight = max(self.most_in_flight, self._credit)
            piece = min(PIECE, self._credit)
            self._credit -= piece
            self._free_at += piece / self._rate
            self.now = max(self.now, self._free_at)
            self.window.take(piece)
            left -= piece
        return size / (self.now - began)


def test_a_long_fast_line_is_filled() -> None:
    """At 50 ms and 70 MB/s a bulk window grows until the line, not the window, is the limit."""
    line = Line(0.05, 70e6)
    line.window.bulk = True
    line.run(16 * 2**20)
    assert line.run(32 * 2**20) > 0.95 * 70e6


def test_a_short_line_is_not_filled_with_what_only_queues() -> None:
    """At 0.1 ms the window stays near its first length, though it might be eight times as long."""
    line = Line(0.0001, 500e6)
    line.window.bulk = True
    assert line.run(64 * 2**20) > 0.95 * 500e6
    assert line.most_in_flight <= 2 * WINDOW_BYTES < BULK_WINDOW_BYTES / 2


def test_no_line_is_granted_more_than_the_limit() -> None:
    """However long and fast the line."""
    line = Line(2.0, 1e9)
    line.window.bulk = True
    assert line.run(256 * 2**20) < 1.1 * BULK_WINDOW_BYTES / 2.0
    assert line.most_in_flight <= BULK_WINDOW_BYTES


def test_what_was_learned_of_a_line_outlives_a_pause() -> None:
    """A reader that pauses gives the long window back, and need not find its length out anew."""
    line, fresh = Line(0.05, 70e6), Line(0.05, 70e6)
    line.window.bulk = True
    line.run(32 * 2**20)
    line.window.bulk = False
    line.run(2 * 2**20)
    line.window.bulk = fresh.window.bulk = True
    assert line.run(8 * 2**20) > 1.3 * fresh.run(8 * 2**20)


def test_a_window_that_carries_no_bulk_stays_as_it_is() -> None:
    """Only a bulk window grows."""
    line = Line(0.05, 70e6)
    assert line.run(16 * 2**20) < 1.1 * WINDOW_BYTES / 0.05

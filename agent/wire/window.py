"""How much a channel's sender may have in flight: the receiver's window, granted for what has really been taken.

asyncssh (2.24) grants a whole new window whenever half of one is used up, though what came before may still lie in its
own buffer because the reader has paused: each pause and resume lets another window in, without bound. Here nothing is
granted for bytes that nobody has taken yet, and a channel that carries bulk is granted little by little, so that the
line stays full (at half a window per grant it stood empty every other half of a round trip).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST

from agent.wire.limits import BULK_WINDOW_BYTES, GRANT_BYTES, WINDOW_BYTES

RISE = 1.2
"""By so much a lap must be faster than the one before for the window to go on growing."""
GROWING, STEADY = 2.0, 1.25
"""How much more than the line holds is granted: while it is still being found out, and afterwards."""
SHORTEST_LAP_SECONDS = 0.0005
"""No line is so short that less is worth measuring."""


class Window:
    """The receive window of one asyncssh channel. `bulk` may be changed at any time; what is granted stays granted.

    A bulk window is as long as the line: what comes in the shortest time that a window has taken to come, and a
    quarter more, or twice that while longer windows still bring more. What is in flight beyond that would only queue,
    and every other channel's bytes behind it.
    """

    def __init__(self, chan: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._chan = chan
        self._clock = clock
        self._bulk = False
        self._bulk_bytes = self._length = self._granted = WINDOW_BYTES
        self._taken = 0
        self._shortest = math.inf
        self._rate = 0.0
        self._lap: tuple[int, int, float] | None = None

    @property
    def bulk(self) -> bool:
        return self._bulk

    @bulk.setter
    def bulk(self, bulk: bool) -> None:
        """What was learned of the line is kept for the next time."""
        self._bulk, self._length, self._lap = bulk, self._bulk_bytes if bulk else WINDOW_BYTES, None

    def take(self, size: int) -> None:
        """So many bytes go to the reader now: grant as many again, in steps, up to the window's length."""
        self._taken += size
        if self._lap and self._taken >= self._lap[0]:
            self._finish_lap(*self._lap)
        room = self._length - (self._granted - self._taken)
        if room >= GRANT_BYTES:
            self._granted += room
            if self._bulk and not self._lap:
                self._lap = self._granted, self._taken, self._clock()
            self._chan._recv_window += room  # noqa: SLF001 - what asyncssh checks arriving data against
            self._chan.send_packet(MSG_CHANNEL_WINDOW_ADJUST, room.to_bytes(4, "big"))

    def _finish_lap(self, _last: int, taken: int, since: float) -> None:
        """A lap lasts from the grant of a byte until that byte is taken: a round trip, or longer where bytes queue."""
        lasted = max(self._clock() - since, SHORTEST_LAP_SECONDS)
        before, self._rate = self._rate, (self._taken - taken) / lasted
        self._shortest = min(self._shortest, lasted)
        gain = GROWING if self._rate > RISE * before else STEADY
        self._bulk_bytes = min(max(int(gain * self._rate * self._shortest), WINDOW_BYTES), BULK_WINDOW_BYTES)
        self._length, self._lap = self._bulk_bytes, None

"""How much a channel's sender may have in flight: the receiver's window, granted for what has really been taken.

asyncssh (2.24) grants a whole new window whenever half of one is used up, though what came before may still lie in its
own buffer because the reader has paused: each pause and resume lets another window in, without bound. Here nothing is
granted for bytes that nobody has taken yet, and a channel that carries bulk is granted little by little, so that the
line stays full (at half a window per grant it stood empty every other half of a round trip).
"""

from __future__ import annotations

from typing import Any

from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST

from agent.wire.limits import BULK_WINDOW_BYTES, GRANT_BYTES, WINDOW_BYTES


class Window:
    """The receive window of one asyncssh channel. `bulk` may be changed at any time; what is granted stays granted."""

    def __init__(self, chan: Any) -> None:
        self.bulk = False
        self._chan = chan
        self._granted = WINDOW_BYTES
        self._taken = 0

    def take(self, size: int) -> None:
        """So many bytes go to the reader now: grant as many again, in steps, up to the window's length."""
        self._taken += size
        length = BULK_WINDOW_BYTES if self.bulk else WINDOW_BYTES
        room = length - (self._granted - self._taken)
        if room >= GRANT_BYTES:
            self._granted += room
            self._chan._recv_window += room  # noqa: SLF001 - what asyncssh checks arriving data against
            self._chan.send_packet(MSG_CHANNEL_WINDOW_ADJUST, room.to_bytes(4, "big"))

"""A forwarded channel as a byte stream: the asyncssh session is the stream, on both ends of a tunnel."""

from __future__ import annotations

from typing import Any

import asyncssh
import structlog

from agent.wire.carrier import Carrier
from agent.wire.limits import WINDOW_BYTES
from agent.wire.sending import send_data
from agent.wire.stream import Receiver
from agent.wire.window import Window

log = structlog.get_logger()


class Channel(asyncssh.SSHTCPSession[bytes]):
    """One SSH channel, which is one TCP connection to a store. It is a Stream.

    A receiver that raises loses its channel, never the tunnel: asyncssh would end the whole connection.
    """

    def __init__(self) -> None:
        self._receiver: Receiver | None = None
        self._bulk_bytes = 0
        self._window_full = False
        self._carrier_full = False
        self._lost = False

    def attach(self, receiver: Receiver) -> None:
        first, self._receiver = self._receiver is None, receiver
        if first:
            self._chan.resume_reading()
        if self._window_full or self._carrier_full:
            receiver.pause_writing()

    def write(self, data: bytes) -> None:
        send_data(self._chan, data)

    def write_eof(self) -> None:
        self._chan.write_eof()

    def pause_reading(self) -> None:
        self._give_back_bulk_window()
        self._chan.pause_reading()

    def resume_reading(self) -> None:
        if not self._lost:
            self._chan.resume_reading()

    def close(self) -> None:
        self._chan.close()

    def abort(self) -> None:
        self._chan.abort()

    def is_closing(self) -> bool:
        return self._lost or self._chan.is_closing()

    def connection_made(self, chan: Any) -> None:
        self._chan: Any = chan
        self._window = Window(chan)
        self._chan._deliver_data = self._deliver  # noqa: SLF001 - asyncssh's own grants without bound, see window.py
        self._carrier = Carrier.of(chan.get_connection())
        self._carrier.add(self)
        self._carrier_full = self._carrier.full
        if self._receiver is None:
            chan.pause_reading()

    def eof_received(self) -> bool:
        if self._receiver:
            self._tell(self._receiver.eof_received)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._give_back_bulk_window()
        self._carrier.discard(self)
        if self._receiver:
            self._tell(self._receiver.connection_lost, exc)

    def pause_writing(self) -> None:
        self._press(window=True, carrier=self._carrier_full)

    def resume_writing(self) -> None:
        self._press(window=False, carrier=self._carrier_full)

    def press(self, *, full: bool) -> None:
        """Hear from the carrier whether the tunnel's own connection is full."""
        self._press(window=self._window_full, carrier=full)

    def _deliver(self, data: bytes, _datatype: int | None) -> None:
        if not self._window.bulk:
            self._count_towards_bulk(len(data))
        self._window.take(len(data))
        if self._receiver:
            self._tell(self._receiver.data_received, data)

    def _press(self, *, window: bool, carrier: bool) -> None:
        before, after = self._window_full or self._carrier_full, window or carrier
        self._window_full, self._carrier_full = window, carrier
        if self._receiver and before != after:
            self._tell(self._receiver.pause_writing if after else self._receiver.resume_writing)

    def _count_towards_bulk(self, size: int) -> None:
        """After two windows that the reader took without a pause, let the sender have a longer line in flight."""
        self._bulk_bytes += size
        if self._bulk_bytes >= 2 * WINDOW_BYTES and self._carrier.bulk_windows:
            self._carrier.bulk_windows -= 1
            self._window.bulk = True

    def _give_back_bulk_window(self) -> None:
        self._bulk_bytes = 0
        if self._window.bulk:
            self._carrier.bulk_windows += 1
            self._window.bulk = False

    def _tell(self, call: Any, *args: Any) -> None:
        try:
            call(*args)
        except Exception:
            log.exception("a channel's receiver failed; the channel is closed")
            if not self._lost:
                self._chan.abort()

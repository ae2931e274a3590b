"""Lines to a descriptor, in batches that never make the relay wait: what nobody takes is dropped, and counted."""

from __future__ import annotations

import asyncio
import os
import select
import time

import structlog

FLUSH_SECONDS = 0.1
AGAIN_SECONDS = 0.005
"""When the reader is behind: a pipe of 64 KiB then carries 13 MB/s."""
PIECE_BYTES = select.PIPE_BUF
"""At once: a pipe takes so much whole, so that no line of others comes between (pipe(7))."""
HELD_BYTES = 4 * 1024 * 1024
"""Lines that wait for a reader: at 15,000 a second, some half a second."""
PARTING_SECONDS = 1.0

log = structlog.get_logger()


class LogStream:
    """Lines, each with its end and of less than PIECE_BYTES, on their way to a descriptor that others write to too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._held = 0
        self._pending = b""
        self._timer: asyncio.TimerHandle | None = None
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0
        """Lines, since the beginning."""

    def put(self, line: str) -> None:
        if self._held >= HELD_BYTES:
            self.dropped += 1
            return
        self._lines.append(line)
        self._held += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def close(self) -> None:
        """Write what is left, if somebody takes it soon."""
        if self._timer:
            self._timer.cancel()
        deadline = time.monotonic() + PARTING_SECONDS
        self._write()
        while self._pending and (left := deadline - time.monotonic()) > 0:
            self._poll.poll(left * 1000)
            self._write()

    def _flush(self) -> None:
        self._timer = None
        self._write()
        if self._pending:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._flush)

    def _write(self) -> None:
        text = self._pending + "".join(self._lines).encode()
        self._lines.clear()
        begin = 0
        try:
            while begin < len(text) and self._poll.poll(0):
                end = begin + PIECE_BYTES
                if end < len(text):
                    end = text.rfind(b"\n", begin, end) + 1 or end
                begin += os.write(self._descriptor, text[begin:end])
        except BlockingIOError:
            pass
        except OSError:  # nobody will ever read it
            self.dropped += text.count(b"\n", begin)
            begin = len(text)
        self._pending = text[begin:]
        self._held = len(self._pending)

"""The connections kept to one store on behalf of one connection: who may use how many, and which may be used again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from agent.wire.stream import Stream
from relay.gateway.asking import Asking
from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.records import Connection

IDLE_SECONDS = 3.0
"""An idle line is closed before the store does it: Apache's KeepAliveTimeout is 5 s."""
FRESH_SECONDS = 1.0
"""What may not be sent twice goes only on a line that has been idle for less, or on a new one."""
QUEUE = 256
"""Requests that may wait for their turn at one store."""
QUEUE_SECONDS = 30.0


class StoreLine:
    """One HTTP/1.1 connection to a store: busy with one exchange, or idle in its pool. It is the stream's receiver."""

    def __init__(self, pool: Pool, stream: Stream, lost_code: Callable[[], str]) -> None:
        self._pool = pool
        self._stream = stream
        self._lost_code = lost_code
        self._exchange: Exchange | None = None
        self._congested = False
        self.idle_since = 0.0
        stream.attach(self)

    @property
    def closing(self) -> bool:
        return self._stream.is_closing()

    @property
    def lost_code(self) -> str:
        """The code of the hop that broke it."""
        return self._lost_code()

    def begin(self, exchange: Exchange, head: bytes) -> None:
        self._exchange = exchange
        exchange.send(self, head)
        if self._congested:
            exchange.store_paused()

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def release(self, *, reusable: bool) -> None:
        self._exchange = None
        if reusable and not self.closing:
            self._stream.resume_reading()
            self._pool.keep(self)
        else:
            self._stream.abort()

    def close(self) -> None:
        self._stream.close()

    def data_received(self, data: bytes) -> None:
        if self._exchange:
            self._exchange.store_data(data, self._pool.clock())
        else:
            self._retire()

    def eof_received(self) -> None:
        if self._exchange:
            self._exchange.store_eof()
        else:
            self._retire()

    def connection_lost(self, _exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        self._pool.discard(self)
        if exchange:
            exchange.store_lost(self.lost_code)

    def pause_writing(self) -> None:
        self._congested = True
        if self._exchange:
            self._exchange.store_paused()

    def resume_writing(self) -> None:
        self._congested = False
        if self._exchange:
            self._exchange.store_resumed()

    def _retire(self) -> None:
        """Bytes or an end while nothing was asked: whatever it means, it is no answer to the next request."""
        self._pool.discard(self)
        self._stream.abort()


class Pool:
    """Lines and turns for one connection's record; a changed record gets another pool."""

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.asking = Asking(connection)
        self.clock = clock
        self.active = 0
        self.retired = False
        self._idle: list[StoreLine] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> bool:
        """Take a turn at the store, if one is free now. `leave` must follow."""
        if self.active >= self.connection.concurrency or self._waiting:
            return False
        self.active += 1
        return True

    async def wait_to_enter(self) -> None:
        """Take a turn when one is free, first come first served. Raises GatewayError `store_busy`."""
        if self.enter():
            return
        if len(self._waiting) >= QUEUE:
            raise GatewayError("store_busy")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise GatewayError("store_busy", f"no turn within {QUEUE_SECONDS:.0f} s") from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def leave(self) -> None:
        """Give the turn back, to the next who waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1

    def take(self, *, retryable: bool) -> StoreLine | None:
        """An idle line that may carry such a request."""
        limit = IDLE_SECONDS if retryable else FRESH_SECONDS
        while self._idle and self.clock() - self._idle[-1].idle_since < limit:
            line = self._idle.pop()
            if not line.closing:
                return line
        return None

    def keep(self, line: StoreLine) -> None:
        if self.retired:
            line.close()
            return
        line.idle_since = self.clock()
        self._idle.append(line)

    def discard(self, line: StoreLine) -> None:
        if line in self._idle:
            self._idle.remove(line)

    def sweep(self) -> None:
        """Close what has been idle too long; the oldest stand first."""
        now = self.clock()
        while self._idle and now - self._idle[0].idle_since >= IDLE_SECONDS:
            self._idle.pop(0).close()

    def retire(self) -> None:
        """The record has changed or gone: idle lines close, busy ones after their exchange."""
        self.retired = True
        while self._idle:
            self._idle.pop().close()

    @property
    def empty(self) -> bool:
        return not (self.active or self._idle or self._waiting)

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Wait no longer. A turn that was given in the same moment goes to the next."""
        if not turn.cancelled():
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)

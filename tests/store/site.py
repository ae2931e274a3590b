"""How the store works on requests: its workers, its pace, its moods towards the connection, and its memory of them."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from typing import TYPE_CHECKING

from tests.store.messages import Answer, RawAnswer
from tests.store.routing import HUGE, WebServer
from tests.store.wire import ANY_LENGTH

if TYPE_CHECKING:
    from tests.store.keys import KeyRing
    from tests.store.knobs import Knobs
    from tests.store.messages import Request, Seen
    from tests.store.shop import Shop
    from tests.store.wire import Head

SEEN_KEPT = 10_000  # requests
LOOK = b"Postern health check"  # the User-Agent of a relay that looks whether the store is well


class Site:
    """One web server at work."""

    def __init__(self, shop: Shop, knobs: Knobs, keys: KeyRing) -> None:
        self.knobs = knobs
        self.web_server = WebServer(shop, knobs, keys)
        self.seen: deque[Seen] = deque(maxlen=SEEN_KEPT)
        self.looks: deque[Seen] = deque(maxlen=SEEN_KEPT)  # of a relay, which nobody has asked for
        self.requests_total = 0
        self.serving = 0  # requests being worked on now
        self.serving_most = 0
        self._waiting: deque[asyncio.Future[None]] = deque()  # requests without a worker: first come, first served

    def record(self, seen: Seen) -> None:
        if seen.header("User-Agent") == LOOK:
            self.looks.append(seen)
            return
        self.requests_total += 1
        self.seen.append(seen)

    def body_limit(self, head: Head) -> int:
        """How many bytes of a body are taken, or ANY_LENGTH."""
        path = head.target.partition("?")[0]
        return ANY_LENGTH if self.knobs.huge and path == self.knobs.base + HUGE else self.knobs.max_body

    async def answer(self, request: Request) -> Answer | RawAnswer:
        """Work on a request when a worker is free, for as long as the latency says."""
        await self._worker()
        try:
            overdue = 0 < self.knobs.fatal_after < self.knobs.latency
            if self.knobs.latency:
                await asyncio.sleep(self.knobs.fatal_after if overdue else self.knobs.latency)
            if self.knobs.raw_answer:
                return RawAnswer(self.knobs.raw_answer, self.knobs.raw_then)
            answer = self.web_server.answer(request, overdue=overdue)
            if self.knobs.hang_up in ("before_answer", "reset"):
                return RawAnswer(b"", "reset" if self.knobs.hang_up == "reset" else "close")
            if self.knobs.first_byte_delay:
                await asyncio.sleep(self.knobs.first_byte_delay)
            return self._compressed(request, answer)
        finally:
            self._worker_done()

    def _compressed(self, request: Request, answer: Answer) -> Answer:
        accepted = "gzip" in (request.header("accept-encoding") or "")
        if self.knobs.transfer == "gzip" and accepted and isinstance(answer.body, bytes) and answer.body:
            answer.body = gzip.compress(answer.body, 1)
            answer.server.append(("Content-Encoding", "gzip"))
        return answer

    async def _worker(self) -> None:
        if self._waiting or not self._worker_free():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._worker_done()
                raise
        else:
            self._begin()

    def _begin(self) -> None:
        self.serving += 1
        self.serving_most = max(self.serving_most, self.serving)

    def _worker_done(self) -> None:
        self.serving -= 1
        while self._waiting and self._worker_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self._begin()
                turn.set_result(None)

    def _worker_free(self) -> bool:
        return not self.knobs.workers or self.serving < self.knobs.workers

"""The web server around the shop: firewalls, rewriting, the front office, and which requests reach the webservice."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections import deque
from typing import TYPE_CHECKING

from tests.store import apache
from tests.store.call import dispatcher_variables, path_variables
from tests.store.hosts import SECOND
from tests.store.huge import huge_answer
from tests.store.messages import Answer, RawAnswer
from tests.store.troubles import hostile_answer, noisy

if TYPE_CHECKING:
    from tests.store.keys import KeyRing
    from tests.store.knobs import Knobs
    from tests.store.messages import Request, Seen
    from tests.store.php import Variables
    from tests.store.shop import Shop
    from tests.store.wire import Head

from tests.store.webservice import Webservice

SEEN_KEPT = 10_000
DISPATCHER = "/webservice/dispatcher.php"
HUGE = "/api/__huge"


class Site:
    """One web server with one shop behind it."""

    def __init__(self, shop: Shop, knobs: Knobs, keys: KeyRing) -> None:
        self.shop = shop
        self.knobs = knobs
        self.webservice = Webservice(shop, knobs, keys)
        self.seen: deque[Seen] = deque(maxlen=SEEN_KEPT)
        self.requests_total = 0
        self.serving = 0  # requests being worked on now
        self.serving_most = 0
        self._waiting = 0
        self._turn = asyncio.Condition()

    def record(self, seen: Seen) -> None:
        self.requests_total += 1
        self.seen.append(seen)

    def body_limit(self, head: Head) -> int:
        """How many bytes of a body are kept; -1: any length, none kept."""
        path = head.target.partition("?")[0]
        return -1 if self.knobs.huge and path == self.knobs.base + HUGE else self.knobs.max_body

    async def answer(self, request: Request) -> Answer | RawAnswer:
        """Work on a request when a worker is free, for as long as the latency says."""
        await self._worker()
        try:
            overdue = 0 < self.knobs.fatal_after < self.knobs.latency
            if self.knobs.latency:
                await asyncio.sleep(self.knobs.fatal_after if overdue else self.knobs.latency)
            if self.knobs.hang_up == "before_answer":
                return RawAnswer(b"", "close")
            if self.knobs.hang_up == "reset":
                return RawAnswer(b"", "reset")
            if self.knobs.raw_answer:
                return RawAnswer(self.knobs.raw_answer, self.knobs.raw_then)
            if self.knobs.first_byte_delay:
                await asyncio.sleep(self.knobs.first_byte_delay)
            return await self._transferred(request, self._made(request, overdue=overdue))
        finally:
            await self._worker_done()

    async def _worker(self) -> None:
        if self.knobs.workers and self.serving >= self.knobs.workers:
            self._waiting += 1
            try:
                async with self._turn:
                    await self._turn.wait_for(self._worker_free)
            finally:
                self._waiting -= 1
        self.serving += 1
        self.serving_most = max(self.serving_most, self.serving)

    async def _worker_done(self) -> None:
        self.serving -= 1
        if self._waiting:
            async with self._turn:
                self._turn.notify_all()

    def _worker_free(self) -> bool:
        return not self.knobs.workers or self.serving < self.knobs.workers

    def _made(self, request: Request, *, overdue: bool) -> Answer:
        path, _, query = request.target.partition("?")
        if request.method == "TRACE":
            return apache.echo(request)
        if request.method == "CONNECT" or not path.startswith("/"):
            return apache.error_page(400)
        if re.search("%2f|%00", path, re.IGNORECASE):
            return apache.not_found()
        blocked = self._blocked(request)
        if blocked:
            return blocked
        if self.knobs.hostile:
            return hostile_answer()
        merged = re.sub("/+", "/", path)
        if merged == self.knobs.base + HUGE and self.knobs.huge:
            return huge_answer(request, self.knobs.huge)
        return self._routed(request, merged, query, overdue=overdue)

    def _blocked(self, request: Request) -> Answer | None:
        knobs = self.knobs
        verb = request.method in ("PUT", "PATCH", "DELETE")
        if knobs.moved_to:
            return Answer(301, b"", apache.HTML, server=[("Location", knobs.moved_to.rstrip("/") + request.target)])
        match knobs.waf:
            case "verbs" if verb:
                return apache.firewall_page()
            case "verbs_405" if verb:
                return apache.verb_filter_page()
            case "brackets" if "[" in request.target:
                return apache.firewall_page()
            case "challenge":
                return apache.challenge_page()
            case "rate":
                return apache.too_many()
        return None

    def _routed(self, request: Request, path: str, query: str, *, overdue: bool) -> Answer:
        second = self.knobs.shops > 1 and path.startswith(f"{self.knobs.base}/{SECOND}/")
        base = self.knobs.base + (f"/{SECOND}" if second else "")
        if not path.startswith(base + "/"):
            return apache.not_found()
        inside = path[len(base) :]
        if inside == DISPATCHER:
            return self._webservice(request, dispatcher_variables(query), second=second, overdue=overdue)
        if inside == "/api" or inside.startswith("/api/"):
            if self.knobs.rewrite == "missing":
                return apache.not_found()
            if self.knobs.rewrite == "nginx":
                return self._front_office("/")
            return self._webservice(request, path_variables(inside[5:], query), second=second, overdue=overdue)
        return self._front_office(inside)

    def _webservice(self, request: Request, variables: Variables, *, second: bool, overdue: bool) -> Answer:
        answer = self.webservice.answer(request, variables, second=second, overdue=overdue)
        return noisy(answer, self.knobs)

    def _front_office(self, path: str) -> Answer:
        if self.knobs.maintenance:
            return apache.maintenance_page()
        if path in ("/", "/index.php"):
            return apache.front_page(self.shop.name)
        return apache.front_not_found(self.shop.name)

    async def _transferred(self, request: Request, answer: Answer) -> Answer:
        accepts = "gzip" in (request.header("accept-encoding") or "")
        if self.knobs.transfer == "gzip" and accepts and isinstance(answer.body, bytes) and answer.body:
            answer.body = gzip.compress(answer.body, 1)
            answer.server.append(("Content-Encoding", "gzip"))
        return answer

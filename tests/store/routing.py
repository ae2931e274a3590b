"""Where the web server sends a request: firewalls, rewriting, the webservice, the front office."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from tests.store import apache
from tests.store.call import dispatcher_variables, path_variables
from tests.store.hosts import SECOND
from tests.store.huge import huge_answer
from tests.store.messages import Answer
from tests.store.troubles import hostile_answer, noisy
from tests.store.webservice import Webservice

if TYPE_CHECKING:
    from tests.store.keys import KeyRing
    from tests.store.knobs import Knobs
    from tests.store.messages import Request
    from tests.store.php import Variables
    from tests.store.shop import Shop

DISPATCHER = "/webservice/dispatcher.php"
HUGE = "/api/__huge"


class WebServer:
    """Apache (or what stands in its place) with one shop behind it."""

    def __init__(self, shop: Shop, knobs: Knobs, keys: KeyRing) -> None:
        self.shop = shop
        self.knobs = knobs
        self.webservice = Webservice(shop, knobs, keys)

    def answer(self, request: Request, *, overdue: bool) -> Answer:
        """`overdue`: PHP's time limit passes before the work is done."""
        raw, _, query = request.target.partition("?")
        refused = self._refused(request, raw) or self._blocked(request)
        if refused:
            return refused
        if self.knobs.hostile:
            return hostile_answer()
        path = plain_path(raw)
        if path is None:
            return apache.error_page(400)
        if self.knobs.huge and path == self.knobs.base + HUGE:
            return huge_answer(request, self.knobs.huge)
        return self._routed(request, path, query, overdue=overdue)

    def _refused(self, request: Request, raw: str) -> Answer | None:
        if request.method == "TRACE":
            return apache.echo(request)
        if request.method == "CONNECT" or not raw.startswith("/"):
            return apache.error_page(400)
        return apache.error_page(404) if re.search("%2f|%00", raw, re.IGNORECASE) else None

    def _blocked(self, request: Request) -> Answer | None:
        knobs = self.knobs
        if knobs.moved_to:
            location = knobs.moved_to.rstrip("/") + request.target
            return Answer(301, b"", apache.HTML, server=[("Location", location)])
        verb = request.method in ("PUT", "PATCH", "DELETE")
        guards = {
            "verbs": (verb, apache.firewall_page),
            "verbs_405": (verb, apache.verb_filter_page),
            "brackets": ("[" in request.target, apache.firewall_page),
            "challenge": (True, apache.challenge_page),
            "rate": (True, apache.too_many_requests),
        }
        bites, page = guards.get(knobs.waf, (False, apache.firewall_page))
        return page() if bites else None

    def _routed(self, request: Request, path: str, query: str, *, overdue: bool) -> Answer:
        second = self.knobs.shops > 1 and path.startswith(f"{self.knobs.base}/{SECOND}/")
        base = self.knobs.base + (f"/{SECOND}" if second else "")
        if not path.startswith(base + "/"):
            return apache.error_page(404)
        inside = path[len(base) :]
        if inside == DISPATCHER:
            return self._webservice(request, dispatcher_variables(query), second=second, overdue=overdue)
        if inside != "/api" and not inside.startswith("/api/"):
            return self._front_office(inside)
        match self.knobs.rewrite:
            case "missing":
                return apache.error_page(404)
            case "nginx":
                return self._front_office("/")
        return self._webservice(request, path_variables(inside[5:], query), second=second, overdue=overdue)

    def _webservice(self, request: Request, variables: Variables, *, second: bool, overdue: bool) -> Answer:
        answer = self.webservice.answer(request, variables, second=second, overdue=overdue)
        return noisy(answer, self.knobs)

    def _front_office(self, path: str) -> Answer:
        if self.knobs.maintenance:
            return apache.maintenance_page()
        if path in ("/", "/index.php"):
            return apache.front_page(self.shop.name)
        return apache.front_not_found(self.shop.name)


def plain_path(raw: str) -> str | None:
    """A path as Apache maps it: decoded once, slashes merged, dot segments resolved; None when it leaves the root."""
    decoded = unquote_to_bytes(raw.encode("latin-1")).decode("latin-1")
    kept: list[str] = []
    parts = re.sub("/+", "/", decoded).split("/")[1:]
    for part in parts:
        if part == "..":
            if not kept:
                return None
            kept.pop()
        elif part != ".":
            kept.append(part)
    trailing = "/" if parts[-1] in (".", "..") and kept else ""
    return "/" + "/".join(kept) + trailing

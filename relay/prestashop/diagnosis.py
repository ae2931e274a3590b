"""What an answer to `GET /api` means: from status, headers and body to the one trouble that a merchant can mend.

Pure. The signs are those of PrestaShop 1.6 to 9 and of the web servers, firewalls and modules around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from relay.gateway.call import Answer
from relay.prestashop.moving import Elsewhere, leads_elsewhere
from relay.prestashop.reading import Around, Element, NotXmlError, Root, around, faults_of, parse, read_root

REALM = "Welcome to PrestaShop Webservice"
_PLAIN_401 = b"401 Unauthorized"
"""The whole body of PrestaShop's answer to a request without a key: known also where a proxy drops the realm."""


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
    """What is wrong: the step at which it shows, its code, and the particulars that a sentence may name.

    `store_url` is the address that would mend it, where the answer tells one.
    """

    step: Step
    code: str
    detail: str = ""
    store_url: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """One more request tells troubles apart: the same with `ws_key`, or through the dispatcher's address."""

    trouble: Trouble
    with_ws_key: bool = False
    with_dispatcher: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """The webservice answers, knows the key, and grants it something."""

    root: Root
    around: Around


_KEY_TROUBLES = {
    16: (Step.KEY, "key_malformed"),
    17: (Step.KEY, "key_malformed"),
    18: (Step.KEY, "key_malformed"),
    20: (Step.KEY, "key_unknown"),
    21: (Step.PERMISSIONS, "key_without_permissions"),
    22: (Step.WEBSERVICE, "webservice_off"),
    126: (Step.KEY, "key_class_missing"),
    132: (Step.KEY, "key_of_no_shop"),
}
_HIDDEN_TROUBLES = {
    401: (Step.KEY, "key_refused"),
    403: (Step.KEY, "key_of_no_shop"),
    503: (Step.WEBSERVICE, "webservice_off"),
}
"""Where the version hides its codes, the status alone tells (1.6.1 up to .11 and 1.7.0 without `display_errors`)."""
_PHP_CODES = range(2, 16)
_FOREIGN_STATUSES = {
    403: "firewall_blocks",
    405: "firewall_blocks",
    406: "firewall_blocks",
    418: "firewall_blocks",
    429: "rate_limited",
    500: "web_server_failed",
    502: "store_proxy_failed",
    503: "store_proxy_failed",
    504: "store_proxy_failed",
}
_CHALLENGE_FIELDS = {"cf-mitigated": "challenge", "sg-captcha": "challenge"}
_CHALLENGE_TITLES = (b"Just a moment...", b"One moment, please...", b"Robot Challenge Screen", b"Checking your browser")
"""Cloudflare, Imunify360, SiteGround, Cloudflare before 2022."""


def judge(answer: Answer) -> Trouble | Again | Accepted:
    """What an answer to `GET /api` with a key tells."""
    if 300 <= answer.status < 400:
        return _redirect(answer)
    if answer.status == 401 and not from_webservice(answer):
        return _not_seen(answer)
    parts = around(answer.body)
    try:
        element = parse(parts.document)
    except NotXmlError as error:
        return _not_xml(answer, str(error))
    if element.find("errors"):
        return _coded(answer, element)
    return _document(element, parts) if answer.status == 200 else _foreign(answer)


def from_webservice(answer: Answer) -> bool:
    """Whether PrestaShop's webservice itself made the answer (its plain 401 says nothing of the kind)."""
    return bool(answer.field("PSWS-Version")) or answer.field("X-Powered-By") == "PrestaShop Webservice"


def challenged(answer: Answer) -> bool:
    """Whether a service in front of the shop wants to see a human."""
    asked = any((answer.field(name) or "").lower() == value for name, value in _CHALLENGE_FIELDS.items())
    return asked or any(title in answer.body[:8192] for title in _CHALLENGE_TITLES)


def excerpt(body: bytes) -> str:
    """The first words of a page, without its tags."""
    text = re.sub(r"<[^>]*>", " ", body[:800].decode("utf-8", "replace"))
    return " ".join(text.split())[:160]


def _redirect(answer: Answer) -> Trouble:
    location = answer.field("Location")
    if not location:
        return _status_trouble("store_error", answer)
    match leads_elsewhere(location):
        case Elsewhere(wrong_host=True) as place:
            return Trouble(Step.WEBSERVICE, "host_not_owned", place.shown, place.store_url)
        case place:
            return Trouble(Step.WEBSERVICE, "store_redirects", place.shown, place.store_url)


def _not_seen(answer: Answer) -> Trouble | Again:
    asks = answer.field("WWW-Authenticate") or ""
    if REALM in asks or answer.body.strip() == _PLAIN_401:
        return Again(Trouble(Step.KEY, "key_not_seen"), with_ws_key=True)
    if challenged(answer):
        return Trouble(Step.WEBSERVICE, "challenge_page")
    return Trouble(Step.WEBSERVICE, "site_password", asks[:120])


def _coded(answer: Answer, element: Element) -> Trouble:
    """By the first of PrestaShop's own errors: those that follow it are its consequences."""
    told = faults_of(element)
    if not told:
        return _status_trouble("store_error", answer)
    first = told[0]
    if first.code is None:
        hidden = _HIDDEN_TROUBLES.get(answer.status, (Step.WEBSERVICE, "store_error"))
        return Trouble(*hidden, f"{answer.status} {first.message}"[:200])
    if first.code in _KEY_TROUBLES:
        return Trouble(*_KEY_TROUBLES[first.code])
    if first.code in _PHP_CODES:
        return Trouble(Step.WEBSERVICE, "php_error", first.message[:200])
    return Trouble(Step.WEBSERVICE, "store_error", f"{first.code}: {first.message}"[:200])


def _document(element: Element, parts: Around) -> Trouble | Accepted:
    try:
        root = read_root(element)
    except NotXmlError as error:
        return Trouble(Step.WEBSERVICE, "store_not_xml", str(error))
    if parts.noise:
        return Trouble(Step.WEBSERVICE, "store_noise", excerpt(parts.noise))
    if not any(root.grants.values()):
        return Trouble(Step.PERMISSIONS, "key_without_permissions")
    return Accepted(root, parts)


def _not_xml(answer: Answer, reason: str) -> Trouble | Again:
    if answer.status != 200:
        return _foreign(answer)
    if b"Fatal error" in answer.body[:4096]:
        return Trouble(Step.WEBSERVICE, "php_fatal", excerpt(answer.body))
    if challenged(answer):
        return Trouble(Step.WEBSERVICE, "challenge_page")
    if _is_html(answer):
        return Again(Trouble(Step.WEBSERVICE, "front_page"), with_dispatcher=True)
    packed = answer.field("Content-Encoding")
    return Trouble(Step.WEBSERVICE, "store_not_xml", f"packed as {packed[:40]}, unasked" if packed else reason)


def _foreign(answer: Answer) -> Trouble | Again:
    """An answer that is no success, and that PrestaShop's webservice did not make."""
    if challenged(answer):
        return Trouble(Step.WEBSERVICE, "challenge_page")
    if answer.status == 401:
        return _status_trouble("key_refused", answer, Step.KEY)
    if answer.status == 404:
        return Again(Trouble(Step.WEBSERVICE, "api_not_found"), with_dispatcher=True)
    if answer.status == 400 and b"plain HTTP" in answer.body[:4096]:
        return Trouble(Step.WEBSERVICE, "https_needed")
    return _failing(answer)


def _failing(answer: Answer) -> Trouble:
    if answer.status == 500 and (not answer.body or b"Fatal error" in answer.body[:4096]):
        return Trouble(Step.WEBSERVICE, "php_fatal", excerpt(answer.body))
    if answer.status == 503 and answer.field("Retry-After") and _is_html(answer):
        return Trouble(Step.WEBSERVICE, "maintenance")
    return _status_trouble(_FOREIGN_STATUSES.get(answer.status, "store_error"), answer)


def _status_trouble(code: str, answer: Answer, step: Step = Step.WEBSERVICE) -> Trouble:
    return Trouble(step, code, f"{answer.status} {answer.reason[:80]}".strip())


def _is_html(answer: Answer) -> bool:
    kind = (answer.field("Content-Type") or "").lower()
    return "html" in kind or answer.body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))

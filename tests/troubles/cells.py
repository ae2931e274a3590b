"""The troubles: how each is produced, and what the test must say of it."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.prestashop.connection_test import ROOT_BYTES
from relay.records import Mode

SHOP, SECURE = "shop.test", "secure.test"
REFUSED, NOWHERE, SILENT, FAR = "refused.test", "nowhere.test", "silent.test", "far.test"
NO_WAY = "224.0.0.1"
"""Where FAR is: no system connects to a group (ENETUNREACH), whatever its network."""
BOTH = frozenset(Mode)
CLOUD, PREMISE = frozenset({Mode.CLOUD}), frozenset({Mode.ON_PREMISE})
REALM = 'WWW-Authenticate: Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key"'


@dataclass(frozen=True)
class Cell:
    """One trouble. `{authority}` in an offer stands for the store's `host:port`."""

    trouble: str
    step: str
    code: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    key: str = "full"
    offer: Mapping[str, str] | None = None
    detail: str = ""
    """Something that the detail must say."""
    host: str = SHOP
    shown: str = ""
    """The certificate that the store shows, or what answers in its place; `premises` has them."""
    trust: str = ""
    """By what it is verified: the test's own `ca`, or `pin` of another key; empty: public roots."""
    modes: frozenset[Mode] = BOTH
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Members of the connection form that differ."""

    def __str__(self) -> str:
        return self.trouble


def raw(status: str, body: bytes | str = b"", *lines: str, kind: str = "text/html; charset=utf-8") -> dict[str, Any]:
    """The knob for an answer in these very bytes."""
    data = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Type: {kind}", f"Content-Length: {len(data)}", "", ""]
    return {"raw_answer": "\r\n".join(head).encode("latin-1") + data}


def webservice(status: str, body: str) -> dict[str, Any]:
    """The same from PrestaShop's webservice."""
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<prestashop>\n{body}\n</prestashop>\n'
    return raw(
        status, document, "X-Powered-By: PrestaShop Webservice", "PSWS-Version: 8.1.7", kind="text/xml;charset=utf-8"
    )


def error(code: int | None, message: str) -> str:
    number = "" if code is None else f"<code><![CDATA[{code}]]></code>"
    return f"<errors><error>{number}<message><![CDATA[{message}]]></message></error></errors>"


def page(text: str) -> str:
    return f"<!doctype html>\n<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n"


PHP_WARNING = "[PHP Warning #2] Undefined array key (/var/www/html/modules/pretty/pretty.php, line 12)"
BOMB = '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><prestashop>&b;</prestashop>'
XML = "text/xml;charset=utf-8"

WAY = (
    Cell("the name of the store is not known", "name", "store_dns", host=NOWHERE),
    Cell("the port of the store is closed", "tcp", "store_refused", host=REFUSED),
    Cell("the machine of the store answers nothing", "tcp", "store_timeout", host=SILENT),
    Cell("no way leads to the store's machine", "tcp", "store_unreachable", host=FAR),
    Cell("the certificate is signed by itself", "tls", "tls_self_signed", host=SECURE, shown="own"),
    Cell("the certificate's authority is not known", "tls", "tls_authority_unknown", host=SECURE, shown="good"),
    Cell("the certificate is made for another name", "tls", "tls_wrong_name", host=SECURE, shown="named", trust="ca"),
    Cell("the certificate has expired", "tls", "tls_expired", host=SECURE, shown="old", trust="ca", detail="expired"),
    Cell(
        "the store shows another key than the pinned one",
        "tls",
        "tls_other_key",
        host=SECURE,
        shown="good",
        trust="pin",
    ),
    Cell("https:// at a port that speaks plain HTTP", "tls", "tls_not_spoken", host=SECURE, shown="plain"),
    Cell("the web server speaks only old versions of TLS", "tls", "tls_too_old", host=SECURE, shown="aged"),
    Cell("TLS fails in some other way", "tls", "store_tls", host=SECURE, shown="shut", detail="during the TLS"),
    Cell(
        "the store closes the connection without an answer", "http", "store_closed_early", {"hang_up": "before_answer"}
    ),
    Cell("the store resets the connection", "http", "store_closed_early", {"hang_up": "reset"}),
    Cell("the answer breaks off", "http", "store_closed_early", {"transfer": "cut"}),
    Cell("what answers is no web server", "http", "store_bad_answer", {"raw_answer": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"}),
    Cell(
        "the answer never ends",
        "http",
        "store_bad_answer",
        raw("200 OK", b" " * (ROOT_BYTES + 1), kind=XML),
        detail="larger",
    ),
)
ADDRESS = (
    Cell(
        "http:// at a port that wants TLS",
        "webservice",
        "https_needed",
        raw("400 Bad Request", page("The plain HTTP request was sent to HTTPS port")),
        offer={"store_url": "https://{authority}"},
    ),
    Cell(
        "the shop has another name",
        "webservice",
        "host_not_owned",
        {"domain": "casa-lola.example"},
        offer={"store_url": "http://casa-lola.example"},
        detail="http://casa-lola.example",
    ),
    Cell(
        "the shop has another name, and TLS",
        "webservice",
        "host_not_owned",
        {"domain": "casa-lola.example", "ssl": True},
        offer={"store_url": "https://casa-lola.example"},
    ),
    Cell(
        "the shop has another name, and redirects for good",
        "webservice",
        "host_not_owned",
        {"domain": "casa-lola.example", "canonical": 0, "friendly_urls": False, "base_path": "/boutique"},
        offer={"store_url": "http://casa-lola.example/boutique"},
        settings={"path": "/boutique"},
    ),
    Cell(
        "the shop's name begins with www.",
        "webservice",
        "host_not_owned",
        {"domain": "www.shop.test"},
        offer={"store_url": "http://www.shop.test"},
    ),
    Cell(
        "the web server redirects to https",
        "webservice",
        "store_redirects",
        {"moved_to": "https://shop.test"},
        offer={"store_url": "https://shop.test"},
        detail="https://shop.test",
    ),
    Cell(
        "the web server redirects to www",
        "webservice",
        "store_redirects",
        {"moved_to": "http://www.shop.test"},
        offer={"store_url": "http://www.shop.test"},
    ),
    Cell(
        "the web server redirects to a page",
        "webservice",
        "store_redirects",
        raw("302 Found", "", "Location: /login?next=%2Fapi"),
        detail="/login",
    ),
    Cell(
        "the redirect leads nowhere",
        "webservice",
        "store_redirects",
        raw("301 Moved", "", "Location: http://[::1/api"),
        detail="[::1",
    ),
    Cell("rewriting is off (Apache)", "webservice", "rewriting_off", {"rewrite": "missing"}),
    Cell("rewriting is off (nginx shows the front page)", "webservice", "rewriting_off", {"rewrite": "nginx"}),
    Cell("there is no PrestaShop, or in another folder", "webservice", "api_not_found", {"base_path": "/boutique"}),
    Cell("web pages answer, and no webservice", "webservice", "front_page", raw("200 OK", page("Welcome"))),
    Cell("the maintenance page answers", "webservice", "maintenance", {"rewrite": "nginx", "maintenance": True}),
    Cell(
        "the site asks for a password (.htpasswd)",
        "webservice",
        "site_password",
        raw("401 Unauthorized", page("Unauthorized"), 'WWW-Authenticate: Basic realm="Staging"'),
        detail="Staging",
    ),
    Cell("a challenge page for humans", "webservice", "challenge_page", {"waf": "challenge"}),
    Cell(
        "a challenge page for humans (200)",
        "webservice",
        "challenge_page",
        raw("200 OK", page("One moment, please...")),
    ),
    Cell(
        "a firewall blocks the request",
        "webservice",
        "firewall_blocks",
        raw("403 Forbidden", page("Forbidden")),
        detail="403",
    ),
    Cell(
        "a firewall blocks the request (406)",
        "webservice",
        "firewall_blocks",
        raw("406 Not Acceptable", page("Not Acceptable")),
    ),
    Cell("too many requests", "webservice", "rate_limited", {"waf": "rate"}, detail="429"),
    Cell(
        "a proxy before the shop gets no answer",
        "webservice",
        "store_proxy_failed",
        raw("502 Bad Gateway", page("Bad Gateway")),
        detail="502",
    ),
    Cell(
        "the web server itself fails",
        "webservice",
        "web_server_failed",
        raw("500 Internal Server Error", page("Internal Server Error")),
    ),
)
WEBSERVICE = (
    Cell("the webservice is switched off", "webservice", "webservice_off", {"webservice": False}),
    Cell(
        "a PHP warning ends the call (code 3)",
        "webservice",
        "php_error",
        webservice("500 Internal Server Error", error(3, PHP_WARNING)),
        detail="pretty.php",
    ),
    Cell("PHP gives up (empty 500)", "webservice", "php_fatal", {"fatal": True}),
    Cell(
        "PHP gives up in debug mode (200)",
        "webservice",
        "php_fatal",
        {"fatal": True, "error_mode": "debug"},
        detail="Fatal error",
    ),
    Cell("a PHP notice stands before the XML", "webservice", "store_noise", {"noise": "warning"}, detail="pretty.php"),
    Cell("a script stands after the XML", "webservice", "store_noise", {"noise": "script"}),
    Cell(
        "the XML is broken",
        "webservice",
        "store_not_xml",
        raw("200 OK", "<?xml version='1.0'?><prestashop><api>", kind=XML),
    ),
    Cell(
        "the XML is none of a webservice",
        "webservice",
        "store_not_xml",
        raw("200 OK", "<rss><channel/></rss>", kind=XML),
    ),
    Cell("the XML declares entities", "webservice", "store_not_xml", raw("200 OK", BOMB, kind=XML), detail="doctype"),
    Cell(
        "the XML is nested without end",
        "webservice",
        "store_not_xml",
        raw("200 OK", "<a>" * 99_999, kind=XML),
        detail="deep",
    ),
    Cell(
        "the answer is packed though nobody asked",
        "webservice",
        "store_not_xml",
        raw("200 OK", gzip.compress(b"<prestashop/>"), "Content-Encoding: gzip", kind=XML),
        detail="gzip",
    ),
    Cell("anything else", "webservice", "store_error", raw("451 Unavailable", page("No"))),
)
KEY = (
    Cell(
        "the web server drops Authorization",
        "key",
        "authorization_stripped",
        {"auth_stripped": True},
        offer={"key_place": "ws_key"},
    ),
    Cell("the shop sees no key at all", "key", "key_not_seen", raw("401 Unauthorized", "401 Unauthorized", REALM)),
    Cell(
        "the shop sees no key at all, behind a proxy",
        "key",
        "key_not_seen",
        raw("401 Unauthorized", "401 Unauthorized"),
    ),
    Cell("the key is too short", "key", "key_malformed", key="TOOSHORT", modes=CLOUD),
    Cell(
        "the key is too short, says the shop",
        "key",
        "key_malformed",
        webservice("401 Unauthorized", error(18, "Invalid authentication key format")),
        modes=PREMISE,
    ),
    Cell("the key is unknown", "key", "key_unknown", key="U" * 32),
    Cell("the key is switched off", "key", "key_unknown", key="disabled"),
    Cell(
        "the key is refused by a version that hides why",
        "key",
        "key_refused",
        webservice("401 Unauthorized", error(None, "Internal error. To see this error please display the PHP errors.")),
        detail="401",
    ),
    Cell("the key is of no shop", "key", "key_of_no_shop", key="no_shop"),
    Cell(
        "the key's module is gone", "key", "key_class_missing", webservice("500 Internal Server Error", error(126, "x"))
    ),
    Cell("the key may do nothing", "permissions", "key_without_permissions", key="no_permission"),
    Cell(
        "the key may do nothing (an empty root)",
        "permissions",
        "key_without_permissions",
        webservice("200 OK", '<api shopName="Casa Lola"></api>'),
    ),
)
CELLS = (*WAY, *ADDRESS, *WEBSERVICE, *KEY)
SLOW = (
    Cell(
        "the store takes too long to answer",
        "http",
        "store_timeout",
        {"first_byte_delay": 60.0},
        detail="no whole answer",
    ),
)
"""Met where the test waits for less than its half minute."""
BUSY = (
    ("the store has its share of requests under way", "http", "store_busy", "relay.gateway.pool.QUEUE_SECONDS"),
    (
        "the account has its share of requests under way",
        "http",
        "account_busy",
        "relay.gateway.gateway.IN_FLIGHT_PER_ACCOUNT",
    ),
    ("the relay is full", "http", "relay_overloaded", "relay.gateway.gateway.IN_FLIGHT"),
)
"""Met while one request is under way, with the bound that is named lowered to 1."""
FAULT = (("the relay itself fails", "http", "relay_fault"),)

AGENT = (
    ("the agent does not exist", "agent", "agent_unknown"),
    ("the agent was revoked", "agent", "agent_revoked"),
    ("the agent is not connected", "online", "agent_offline"),
    ("the agent does not publish the store", "published", "store_not_published"),
)
TUNNEL = (
    ("the agent has too many connections open", "online", "agent_busy"),
    ("the agent itself fails", "online", "agent_fault"),
    ("the tunnel breaks during the test", "online", "tunnel_lost"),
)
"""What only an on-premise connection can have."""
GUARDED = (("the address is not a public one (mode cloud)", "name", "store_forbidden"),)
PASSING = (
    ("a byte order mark before the XML", "byte_order_mark", {"noise": "bom"}),
    ("a blank line before the XML", "blank_before_xml", {"noise": "blank"}),
    ("a firewall blocks brackets", "filters_blocked", {"waf": "brackets"}),
)
"""A test passes with these, and notes them."""

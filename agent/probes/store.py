"""The way to one store, up to its webservice: what a merchant's technician can see and mend from this machine."""

from __future__ import annotations

import contextlib
import ssl
from urllib.parse import urlsplit

from agent.forwarder import DialError
from agent.forwarder import look_up as look_up_store
from agent.https import WRONG_NAME, no_trust, trust_anchors
from agent.logs import printable
from agent.probes.certificates import Shown, look, no_tls
from agent.probes.reach import connect_each, written
from agent.probes.road import Head, Road
from agent.probes.step import STEP_SECONDS, Chain, StepError
from agent.resolver import Address, Resolver
from agent.wire.destination import Destination, DestinationError, Store, parse_origin

_REALM = "prestashop"
"""What PrestaShop's own 401 has in its WWW-Authenticate: 'Welcome to PrestaShop Webservice, please enter …'."""
_WEB_SERVER = "does a web server listen on this port?"
_REWRITE = "save Shop Parameters > Traffic & SEO once, which writes the rule for /api; on nginx add that rule by hand"


async def store(chain: Chain, store: Store, resolver: Resolver) -> None:
    """The steps `name`, `tcp`, `tls`, `http`, `api`."""
    where = f"{store.dial_host}:{store.dial_port}"
    remedy = f"is the web server up, is {store.dial_port} its port, and does its firewall let this machine in?"
    addresses = await chain.step("name", lambda: _name(store, resolver), "")
    answering = await chain.step("tcp", lambda: connect_each(addresses or [], remedy), remedy)
    road = Road(store.dial_host, store.dial_port, answering[0]) if answering else None
    if store.scheme == "https":
        await chain.step("tls", lambda: _tls(store, road), f"does {where} speak TLS? If not, publish it as http://")
    head = await chain.step("http", lambda: _ask(store, road), _WEB_SERVER)
    await chain.step("api", lambda: _webservice(store, head), "")


async def _name(store: Store, resolver: Resolver) -> tuple[list[Address], str]:
    try:
        addresses = await look_up_store(store, resolver, STEP_SECONDS - 0.5)
    except DialError as error:
        seen, _, meant = str(error).partition("; ")
        raise StepError(
            seen, meant or f"is the name right? An address works too: --store {store.origin}=ADDRESS:{store.dial_port}"
        ) from None
    found = ", ".join(dict.fromkeys(written(address) for address in addresses))
    return addresses, f"{store.dial_host} is {found}" if found != store.dial_host else f"{found} is an address already"


async def _tls(store: Store, road: Road | None) -> tuple[None, str]:
    assert road is not None  # noqa: S101 - the steps before gave it
    name = store.destination.host
    try:
        try:
            async with road.open(trust_anchors(None), name) as wire:
                return None, str(Shown.on(wire))
        except ssl.SSLCertVerificationError as error:
            return None, _unverified(store, error, await look(road, name))
    except ssl.SSLError as error:
        raise StepError(no_tls(error), "does this port speak TLS? If not, publish it as http://") from None


def _unverified(store: Store, error: ssl.SSLCertVerificationError, shown: Shown) -> str:
    """What to say of a certificate that this machine does not believe: the relay judges, and may have been told more.

    Raises StepError where it cannot.
    """
    if shown.expired:
        raise StepError(str(shown), "renew the store's certificate: the relay connects to no other")
    if error.verify_code == WRONG_NAME:
        raise StepError(
            f"the certificate is not for {store.destination.host} ({shown})",
            "publish the store under the name of its certificate: --store https://NAME="
            f"{store.dial_host}:{store.dial_port}",
        )
    return (
        f"{shown}; no public authority vouches for it: give it to the connection at the relay as its own CA, or pin it"
    )


async def _ask(store: Store, road: Road | None) -> tuple[Head, str]:
    assert road is not None  # noqa: S101 - the steps before gave it
    tls = no_trust() if store.scheme == "https" else None
    async with road.open(tls, store.destination.host) as wire:
        head = await wire.ask("/api", store.origin.partition("://")[2], "Connection: close")
    return head, f"a web server answers ({head.status}{_server(head)})"


async def _webservice(store: Store, head: Head | None) -> tuple[None, str]:
    assert head is not None  # noqa: S101 - the step before gave it
    return None, judge(store, head)


def judge(store: Store, head: Head) -> str:
    """What the answer to `GET /api` without a key says about the store. Raises StepError.

    PrestaShop's own is 401 with WWW-Authenticate, before it looks whether the webservice is switched on.
    """
    challenge = head.fields.get("www-authenticate", "")
    ours = _REALM in challenge.lower() or any(name in head.fields for name in ("psws-version", "execution-time"))
    if head.status == 401:
        return _judge_challenge(challenge, ours=ours)
    if 300 <= head.status < 400:
        location = head.fields.get("location", "nowhere")
        raise StepError(
            f"the store redirects ({head.status}) to {printable(location)}",
            f"publish it under the address that it calls itself, such as --store {_as_named(store, location)}",
        )
    if head.status == 200 and ours:
        return "the webservice answers (200), even without a key"
    raise _no_webservice(head)


def _judge_challenge(challenge: str, *, ours: bool) -> str:
    if ours:
        return "PrestaShop's webservice answers and asks for a key (401), as it should"
    if challenge:
        raise StepError(
            f"something else than PrestaShop asks for a password (401, {printable(challenge, 60)})",
            "the web server's own password protection, perhaps: exempt /api from it",
        )
    raise StepError("/api answers 401, but not as PrestaShop does", "is that the shop, and does /api reach PrestaShop?")


def _no_webservice(head: Head) -> StepError:
    status, html = head.status, "html" in head.fields.get("content-type", "").lower()
    if status == 404:
        return StepError(
            "/api is not found (404)",
            f"{_REWRITE}. If the shop lies in a folder, name the folder in the connection's store URL",
        )
    if status == 503 and not html:
        return StepError("/api answers 503", "switch the webservice on: Advanced Parameters > Webservice")
    if (status == 200 and html) or status == 503:
        return StepError(
            f"a page answers in place of the webservice ({status})",
            _REWRITE,
        )
    if status == 403:
        return StepError("/api is forbidden (403)", "let this machine in at the web server, or at its firewall module")
    fallback = "look into the web server's and PHP's error log" if status >= 500 else "is that a PrestaShop?"
    return StepError(f"/api answers {status}", fallback)


def _as_named(store: Store, location: str) -> Store:
    """The store as it would be published under the address that its redirect names, dialled where it is dialled now."""
    scheme, named = "https", Destination("www.shop.fr", 443)
    with contextlib.suppress(ValueError, DestinationError):
        parts = urlsplit(location)
        scheme, named = parse_origin(f"{parts.scheme}://{parts.netloc}")
    port = store.dial_port if scheme == store.scheme else named.port
    return Store(scheme, named, store.dial_host, port)


def _server(head: Head) -> str:
    server = head.fields.get("server")
    return f", {printable(server, 40)}" if server else ""

"""What `check` tries on the wire: the ways to the relay and to each store, step by step, each with its remedy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from cryptography import x509

from agent.dialling import attempts, connect
from agent.failure import said
from agent.forwarder import DialError, dial, look_up
from agent.https import Link, LinkError, Reply, issuer, no_trust, skewed
from agent.logs import printable
from agent.resolver import Address, Resolver
from agent.wire.destination import Destination, DestinationError, Store, parse_origin
from agent.wire.enrolment import Endpoint

STEP_SECONDS = 5.0
"""Deadline of one step; no chain has more than five, and the chains run side by side."""
CLOCK_SECONDS = 300
"""A clock further off than this is a fault; certificates bear 15 min, the enrolment an hour."""
HEAD_BYTES = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one step."""

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    detail: str
    remedy: str = ""
    ms: int = 0


class StepError(Exception):
    """A step failed: what was seen, and what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


@dataclass(slots=True)
class Chain:
    """Steps that build on each other: after one that failed, the others are skipped."""

    lines: list[Line] = field(default_factory=list)
    broken: str = ""

    async def step(self, name: str, work: Callable[[], Awaitable[tuple[T, str]]], remedy: str) -> T | None:
        """Do one step; `work` gives its result and what to say. The result is None if it failed or was skipped."""
        if self.broken:
            self.skip(name, f"not tried, since '{self.broken}' failed")
            return None
        began = time.monotonic()
        try:
            async with asyncio.timeout(STEP_SECONDS):
                result, detail = await work()
        except TimeoutError:
            self._fail(name, f"no answer within {STEP_SECONDS:.0f} s", remedy, began)
        except StepError as error:
            self._fail(name, str(error), error.remedy, began)
        except OSError as error:
            self._fail(name, said(error), remedy, began)
        else:
            self.lines.append(Line(name, "PASS", detail, ms=_ms(began)))
            return result
        return None

    def skip(self, name: str, why: str) -> None:
        self.lines.append(Line(name, "SKIP", why))

    def _fail(self, name: str, detail: str, remedy: str, began: float) -> None:
        self.broken = name
        self.lines.append(Line(name, "FAIL", detail, remedy, _ms(began)))


async def relay(url: str, link: Link, resolver: Resolver) -> Chain:
    """The HTTPS way to the relay, through the proxy if the environment names one."""
    chain = Chain()
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
    proxy = None if parts.scheme == "http" else _proxy(host)
    if proxy:
        for name in ("relay dns", "relay tcp", "relay tls"):
            chain.skip(name, f"goes through the proxy {proxy}")
    else:
        await _relay_directly(chain, host, port, link if parts.scheme == "https" else None, resolver)

    async def livez() -> tuple[Reply, str]:
        try:
            reply = await link.request("GET", url + "/livez")
        except LinkError as error:
            raise StepError(str(error), "let this machine out to the relay's address, port 443") from None
        if reply.status != 200:
            raise StepError(f"{url}/livez answers {reply.status}", "is that the relay's address, and is the relay up?")
        return reply, "alive" + (f"; its certificate is signed by {reply.issuer}" if reply.issuer else "")

    reply = await chain.step("relay http", livez, "")
    await chain.step("relay clock", lambda: _clock(reply), "set this machine's clock, for example with NTP")
    return chain


async def _relay_directly(chain: Chain, host: str, port: int, link: Link | None, resolver: Resolver) -> None:
    async def name() -> tuple[list[Address], str]:
        addresses = await resolver.resolve(host, port, STEP_SECONDS)
        return addresses, f"{host} is {', '.join(str(address[0]) for _, address in addresses[:4])}"

    async def tcp() -> tuple[bool, str]:
        (await connect(attempts(addresses or []), STEP_SECONDS)).close()
        return True, f"port {port} answers"

    async def tls() -> tuple[bool, str]:
        assert link is not None  # noqa: S101 - tried only then
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=link.tls)
        except ssl.SSLError as error:
            raise StepError(await link.explain(error), "see above; a network's own CA goes into --ca-file") from None
        certificate = writer.get_extra_info("peercert")
        writer.transport.abort()
        return True, f"trusted, signed by {issuer(certificate)}, valid until {certificate.get('notAfter')}"

    addresses = await chain.step("relay dns", name, "is the relay's name right, and does this network resolve names?")
    await chain.step("relay tcp", tcp, f"let this machine out to {host}, port {port}")
    if link is None:
        chain.skip("relay tls", "plain http, on this machine only")
    else:
        await chain.step("relay tls", tls, "does the firewall let TLS through?")


async def _clock(reply: Reply | None) -> tuple[bool, str]:
    if reply is None or reply.date is None:
        raise StepError("the relay's answer has no Date", "is that the relay's address?")
    skew = time.time() - reply.date
    if abs(skew) > CLOCK_SECONDS:
        raise StepError(f"this machine's clock is {skewed(skew)}", "set it, for example with NTP")
    return True, "right" if abs(skew) < 2 else f"{skewed(skew)}, which is harmless"


async def ssh(endpoints: Sequence[Endpoint], resolver: Resolver) -> Chain:
    """The SSH ports that the last enrolment named: whether they let SSH through."""
    chain = Chain()
    if not endpoints:
        chain.skip("relay ssh", "its address is known after the first enrolment")
    for endpoint in [endpoint for endpoint in endpoints if endpoint.transport == "tcp"][:4]:
        chain.broken = ""  # each stands for itself
        where = f"{endpoint.host}:{endpoint.port}"
        remedy = f"let this machine out to {where} with SSH, inspected by nobody"
        await chain.step(f"relay ssh {where}", lambda: _banner(endpoint, resolver), remedy)  # noqa: B023 - awaited here
    return chain


async def _banner(endpoint: Endpoint, resolver: Resolver) -> tuple[bool, str]:
    addresses = await resolver.resolve(endpoint.host, endpoint.port, STEP_SECONDS)
    reader, writer = await asyncio.open_connection(sock=await connect(attempts(addresses), STEP_SECONDS))
    try:
        banner = await reader.read(8)
    finally:
        writer.transport.abort()
    if banner[:4] != b"SSH-":
        raise StepError("the port answers, but not with SSH", "does the firewall inspect what goes to this port?")
    return True, "answers with SSH"


async def store(store: Store, resolver: Resolver) -> Chain:
    """The way to one store, up to the answer of its webservice."""
    chain = Chain()
    where = f"{store.dial_host}:{store.dial_port}"

    async def name() -> tuple[bool, str]:
        addresses = await _translated(look_up(store, resolver, STEP_SECONDS))
        return True, f"{store.dial_host} is {', '.join(str(address[0]) for _, address in addresses[:4])}"

    async def tcp() -> tuple[bool, str]:
        (await _translated(dial(store, resolver, STEP_SECONDS))).close()
        return True, f"{where} answers"

    async def tls() -> tuple[bool, str]:
        _, writer = await _connect(store, resolver)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return True, f"{_about(der)}; whether it is trusted is the relay's to judge"

    async def http() -> tuple[bool, str]:
        return True, await _webservice(store, resolver)

    label = store.origin
    await chain.step(f"{label} name", name, "is the name right, and does this machine resolve it? An address works too")
    await chain.step(f"{label} tcp", tcp, "is the web server up, and does its firewall let this machine in?")
    if store.scheme == "https":
        await chain.step(f"{label} tls", tls, "does this port speak TLS? If not, publish it as http://")
    await chain.step(f"{label} http", http, "does a web server listen on this port?")
    return chain


async def _translated(work: Awaitable[T]) -> T:
    try:
        return await work
    except DialError as error:
        raise StepError(str(error), _REMEDIES.get(error.refusal.name, "is the store's address right?")) from None


_REMEDIES = {
    "STORE_DNS": "is the name right, and does this machine resolve it? An address works too: --store NAME=ADDRESS:PORT",
    "STORE_REFUSED": "is the web server up, and is that its port?",
    "STORE_TIMEOUT": "does a firewall between this machine and the store drop the connection?",
}


async def _connect(store: Store, resolver: Resolver) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = await _translated(dial(store, resolver, STEP_SECONDS))
    if store.scheme == "http":
        return await asyncio.open_connection(sock=sock, limit=HEAD_BYTES)
    try:
        return await asyncio.open_connection(
            sock=sock, ssl=no_trust(), server_hostname=store.destination.host, limit=HEAD_BYTES
        )
    except ssl.SSLError as error:
        raise StepError(f"no TLS: {printable(error.reason or str(error))}", "does this port speak TLS?") from None


async def _webservice(store: Store, resolver: Resolver) -> str:
    reader, writer = await _connect(store, resolver)
    host = store.origin.partition("://")[2]
    try:
        writer.write(f"GET /api HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise StepError("the store closed without an HTTP answer", "does a web server listen on this port?") from None
    finally:
        writer.transport.abort()
    return judge(store, head.decode("latin-1"))


def judge(store: Store, head: str) -> str:
    """What the head of the answer to `GET /api` without a key says about the store. Raises StepError."""
    words = head.split(" ", 2)
    if not head.startswith("HTTP/") or len(words) < 2 or not words[1].isdecimal():
        raise StepError("what answers is no web server", "is that the store's port?")
    status = int(words[1])
    if status in {200, 401}:
        return f"the webservice answers ({status})"
    if 300 <= status < 400:
        location = _header(head, "location") or "nowhere"
        raise StepError(
            f"the store redirects ({status}) to {printable(location)}",
            f"publish it under the address that it calls itself, such as --store {_as_named(store, location)}",
        )
    remedies = {
        404: "turn friendly URLs on, or name the shop's folder in the connection's store URL",
        503: "turn the webservice on in the shop's back office, and its maintenance mode off",
    }
    fallback = "look into the web server's log" if status >= 500 else "let this machine in at the web server"
    raise StepError(f"/api answers {status}", remedies.get(status, fallback))


def _as_named(store: Store, location: str) -> str:
    """The store as it would be published under the address that its redirect names, dialled where it is dialled now."""
    try:
        parts = urlsplit(location)
        scheme, named = parse_origin(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, DestinationError):
        scheme, named = "https", Destination("www.shop.fr", 443)
    port = store.dial_port if scheme == store.scheme else named.port
    return str(Store(scheme, named, store.dial_host, port))


def _header(head: str, name: str) -> str | None:
    for line in head.split("\r\n")[1:]:
        field_name, _, value = line.partition(":")
        if field_name.strip().lower() == name:
            return value.strip()
    return None


def _about(der: bytes | None) -> str:
    with contextlib.suppress(ValueError):
        certificate = x509.load_der_x509_certificate(der or b"")
        subject = printable(certificate.subject.rfc4514_string() or "nobody by name")
        return f"shows a certificate for {subject}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
    return "shows a certificate that cannot be read"


def _proxy(host: str) -> str | None:
    """The proxy for https to `host`, without the credentials in it."""
    if urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get("https") or urllib.request.getproxies().get("all")
    return printable(proxy.rpartition("@")[2]) if proxy else None


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)

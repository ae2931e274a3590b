"""One delivery: a POST to an endpoint on the public internet, and what its answer means."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from urllib.parse import SplitResult, urlsplit

import httpx
import structlog

from relay.gateway.targets import Address, ForbiddenTargetError, UnknownNameError, literal, public_addresses
from relay.trigger_records import Parcel
from relay.webhooks.signing import headers

log = structlog.get_logger()

SECONDS = 15.0
"""For the whole of a delivery; receivers should take an event and work on it later."""
CONNECT_SECONDS = 5.0
ADDRESSES = 4
"""Of one name, so many are tried."""
WHY_CHARACTERS = 200

LookUp = Callable[[str, int], Awaitable[list[Address]]]


class EndpointError(ValueError):
    """Nothing is sent to this address; the text says why, and what to write instead."""


class Outcome(Enum):
    DONE = "taken"
    GONE = "the endpoint wants nothing more"
    AGAIN = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after` is in seconds, as the endpoint asked."""

    outcome: Outcome
    why: str = ""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to: `path` has the query with it."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As `Host` says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Guard:
    """Which endpoints there may be: names and addresses of the public internet, never the relay itself, by TLS.

    `look_up` judges every address, once, and what it answered is what is dialled. `schemes`: tests add their own.
    """

    own_names: frozenset[str] = frozenset()
    look_up: LookUp = public_addresses
    schemes: frozenset[str] = frozenset({"https"})

    def read(self, url: str) -> Endpoint:
        """Raises EndpointError."""
        parts = _split(url)
        if parts.scheme not in self.schemes:
            raise EndpointError(f"an endpoint's address begins with {' or '.join(sorted(self.schemes))}://")
        if parts.username is not None or parts.password is not None:
            raise EndpointError("an endpoint's address has no user or password in it: they would be shown in lists")
        host = (parts.hostname or "").lower()
        if not host or host in self.own_names:
            raise EndpointError("name the endpoint's machine, which is not the relay itself")
        try:
            literal(host)
        except ForbiddenTargetError:
            raise EndpointError(
                "the endpoint is to be reached under a public name, such as hooks.example.com"
            ) from None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Endpoint(parts.scheme, host, parts.port or _PORTS[parts.scheme], path)

    async def check(self, url: str) -> None:
        """What can be said of an address before anything is sent to it. Raises EndpointError."""
        endpoint = self.read(url)
        if literal(endpoint.host) is not None:
            try:
                await self.look_up(endpoint.host, endpoint.port)
            except (ForbiddenTargetError, UnknownNameError) as error:
                raise EndpointError(str(error) or "there is no such address") from None


@dataclass(frozen=True)
class Post:
    """How parcels are sent. Raises nothing: whatever happens is a verdict."""

    guard: Guard
    clock: Callable[[], float]
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    seconds: float = SECONDS

    async def send(self, parcel: Parcel) -> Verdict:
        try:
            async with asyncio.timeout(self.seconds):
                endpoint = self.guard.read(parcel.url)
                addresses = await self.guard.look_up(endpoint.host, endpoint.port)
                return await self._to_one_of(addresses[:ADDRESSES], endpoint, parcel)
        except TimeoutError:
            return _failed(f"no answer within {self.seconds:.0f} s")
        except (EndpointError, ForbiddenTargetError) as error:
            return _failed(str(error))
        except UnknownNameError:
            return _failed("the endpoint's name is not known")
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            return _failed(f"{type(error).__name__}: {error}")
        except Exception as error:
            log.exception("a delivery failed in the relay", parcel=parcel.lease.subject)
            return _failed(f"in the relay: {type(error).__name__}")

    async def _to_one_of(self, addresses: list[Address], endpoint: Endpoint, parcel: Parcel) -> Verdict:
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._to(address, endpoint, parcel)
        return await self._to(addresses[-1], endpoint, parcel)

    async def _to(self, address: Address, endpoint: Endpoint, parcel: Parcel) -> Verdict:
        """Dial the address that was judged, in the name of the host: of TLS, and of HTTP."""
        host = f"[{address}]" if address.version == 6 else str(address)
        sent = {
            "Host": endpoint.authority,
            "Content-Type": "application/json",
            "User-Agent": "Postern",
            **headers(parcel.lease.subject, int(self.clock()), parcel.body, parcel.secrets),
        }
        async with (
            httpx.AsyncClient(verify=self.tls, trust_env=False, timeout=self._timeouts) as client,
            client.stream(
                "POST",
                f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.path}",
                content=parcel.body,
                headers=sent,
                extensions={"sni_hostname": endpoint.host},
                follow_redirects=False,
            ) as response,
        ):
            return judge(response.status_code, response.headers.get("Retry-After"), self.clock())

    @property
    def _timeouts(self) -> httpx.Timeout:
        return httpx.Timeout(self.seconds, connect=CONNECT_SECONDS)


def judge(status: int, retry_after: str | None, now: float) -> Verdict:
    """What an endpoint's status means to the sender (Standard Webhooks, *Webhook delivery*)."""
    if 200 <= status < 300:
        return Verdict(Outcome.DONE)
    if status == 410:
        return Verdict(Outcome.GONE, "410 Gone")
    if 300 <= status < 400:
        return _failed(f"{status}: redirects are not followed, give the address they lead to")
    return _failed(f"answered {status}", _seconds(retry_after, now))


def _failed(why: str, retry_after: int | None = None) -> Verdict:
    plain = "".join(character if character.isprintable() else " " for character in why)
    return Verdict(Outcome.AGAIN, plain[:WHY_CHARACTERS], retry_after)


def _seconds(text: str | None, now: float) -> int | None:
    """`Retry-After` (RFC 9110 §10.2.3): seconds, or a date."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0, round((date - datetime.fromtimestamp(now, UTC)).total_seconds()))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise EndpointError("this is no address: write https://hooks.example.com/path") from None
    if not url.isascii() or any(
        character <= " " or character in '\\"<>`{}' or character == "\x7f" for character in url
    ):
        raise EndpointError("write the address in plain ASCII, without blanks, as a browser copies it")
    if parts.port == 0:
        raise EndpointError("there is no port 0")
    return parts

"""HTTP towards the relay: deadlines, bounded answers, no redirects, proxies, private CAs, and errors in plain words."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from agent import __version__
from agent.failure import ConfigurationError, said
from agent.logs import printable
from agent.proxy import Proxies, Proxy, ProxyError
from agent.wire.limits import DIAL_SECONDS, ENROLMENT_BYTES

REQUEST_SECONDS = 20.0
"""Deadline of a whole request, the answer's body included."""
NOT_YET_VALID, EXPIRED, WRONG_NAME = 9, 10, 62
"""X509_V_ERR_* of OpenSSL."""


class LinkError(Exception):
    """The relay could not be asked; the text says in one sentence why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    body: bytes
    date: float | None
    """The answer's `Date` in unix seconds."""
    retry_after: float | None
    location: str | None
    issuer: str | None
    """Who signed the certificate that was shown, so that a TLS-inspecting proxy is seen."""


class Link:
    """The HTTP road to the relay. A new connection for each request: they are hours apart."""

    def __init__(self, relay: str, ca_file: Path | None, proxies: Proxies | None = None) -> None:
        """`proxies`: those of the environment, unless given. Raises ConfigurationError."""
        self._relay = relay
        self.tls = trust_anchors(ca_file)
        self.proxies = proxies or Proxies.of(None)
        url = urlsplit(relay)
        self._to = f"{url.hostname}:{url.port or 443}"
        self.proxy = self.proxies.to(url.hostname or "", url.port or 443)

    async def request(
        self, method: str, url: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises LinkError."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._client(self.tls) as client:
                return await _exchange(client, method, url, content, headers or {})
        except TimeoutError:
            raise LinkError(f"{self._relay} did not answer within {REQUEST_SECONDS:.0f} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise LinkError(await self.explain(error)) from None

    @asynccontextmanager
    async def _client(self, tls: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
        timeout = httpx.Timeout(DIAL_SECONDS)
        proxy = _for_httpx(self.proxy, self.tls) if self.proxy else None
        async with httpx.AsyncClient(verify=tls, trust_env=False, proxy=proxy, timeout=timeout) as client:
            yield client

    async def explain(self, error: Exception) -> str:
        """What an error on the way to the relay means, in a sentence."""
        if cause := next((c for c in _causes(error) if isinstance(c, ssl.SSLCertVerificationError)), None):
            if cause.verify_code in {NOT_YET_VALID, EXPIRED}:
                return await self._explain_dates(cause)
            return f"{distrusted(self._relay, cause, await self._shown_issuer())}."
        if self.proxy and (told := self._explain_proxy(self.proxy, error)):
            return told
        if isinstance(error, httpx.TimeoutException):
            return f"{self._relay} did not answer within {DIAL_SECONDS} s."
        system = next((cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), None)
        if isinstance(system, socket.gaierror):
            return f"the name of {self._relay} is not found: {said(system)}."
        reason = said(system) if isinstance(system, OSError) else printable(str(error)) or type(error).__name__
        return f"{self._relay} cannot be reached: {reason}."

    def _explain_proxy(self, proxy: Proxy, error: Exception) -> str | None:
        """What an error means that may be the proxy's."""
        if isinstance(error, httpx.ProxyError):
            status, _, reason = str(error).partition(" ")
            try:
                proxy.judge_status(int(status) if status.isdecimal() else 0, reason, self._to)
            except ProxyError as refusal:
                return f"{refusal}."
        if isinstance(error, httpx.ConnectTimeout):
            return f"the proxy {proxy} does not answer."
        system = next((cause for cause in _causes(error) if isinstance(cause, OSError)), None)
        if isinstance(system, socket.gaierror):
            return f"the name of the proxy {proxy} is not found: {said(system)}."
        if isinstance(error, httpx.ConnectError) and system and not isinstance(system, ssl.SSLError):
            return f"the proxy {proxy} cannot be reached: {said(system)}."
        if isinstance(error, httpx.RemoteProtocolError):
            return (
                f"what answers at the proxy's address {proxy} does not let us through to {self._to}: {_short(error)}."
            )
        return None

    async def _shown_issuer(self) -> str | None:
        """Who signed the certificate that is shown there, believed or not."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._client(no_trust()) as client:
                return (await _exchange(client, "GET", self._relay + "/livez", b"", {})).issuer
        except (httpx.HTTPError, OSError, LinkError):
            return None

    async def _explain_dates(self, cause: ssl.SSLCertVerificationError) -> str:
        """Ask once more without believing anything, for the `Date` alone: is it the certificate, or our clock?"""
        said = f"the TLS certificate of {self._relay} is not valid now ({cause.verify_message})"
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._client(no_trust()) as client:
                reply = await _exchange(client, "GET", self._relay + "/livez", b"", {})
        except (httpx.HTTPError, OSError, LinkError):
            return f"{said}: is this machine's clock right?"
        if reply.date is None or abs(skew := time.time() - reply.date) < 60:
            return f"{said}, and this machine's clock seems right: the relay needs a new certificate."
        return f"{said}, and this machine's clock is {skewed(skew)}: set it (for example with NTP)."


def trust_anchors(ca_file: Path | None) -> ssl.SSLContext:
    """The public roots, the system's own, and those of the network's CA bundle. Raises ConfigurationError."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            raise ConfigurationError(f"the CA bundle {ca_file} holds no certificates in PEM form.") from None
        except OSError as error:
            raise ConfigurationError(f"the CA bundle {ca_file} cannot be read: {error.strerror}.") from None
    return context


def skewed(seconds: float) -> str:
    """`37 s ahead` or `4000 s behind`, of the right time."""
    return f"{abs(round(seconds))} s {'ahead' if seconds > 0 else 'behind'}"


def host_name() -> str:
    return printable(socket.gethostname(), 200)


async def _exchange(
    client: httpx.AsyncClient, method: str, url: str, content: bytes, headers: Mapping[str, str]
) -> Reply:
    ours = {"User-Agent": f"postern-agent/{__version__}", "Accept-Encoding": "identity", "Accept": "application/json"}
    async with client.stream(method, url, content=content, headers={**ours, **headers}) as response:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > ENROLMENT_BYTES:
                raise LinkError(f"what answers at {url} sends more than a relay would.")
        return Reply(
            response.status_code,
            bytes(body),
            _moment(response.headers.get("date")),
            retry_after(response.headers.get("retry-after")),
            response.headers.get("location"),
            _issuer(response),
        )


def _moment(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def retry_after(text: str | None) -> float | None:
    """Seconds, from either form of the field (RFC 9110 §10.2.3)."""
    if text and text.strip().isdecimal() and len(text) < 10:
        return float(text)
    moment = _moment(text)
    return max(0.0, moment - time.time()) if moment is not None else None


def _issuer(response: httpx.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream else None
    return issuer_of(tls.getpeercert(binary_form=True)) if tls else None


def _for_httpx(proxy: Proxy, tls: ssl.SSLContext) -> httpx.Proxy:
    user, _, password = proxy.credentials.get_secret_value().partition(":") if proxy.credentials else ("", "", "")
    return httpx.Proxy(
        f"{proxy.scheme}://{proxy}",
        auth=(user, password) if proxy.credentials else None,
        ssl_context=tls if proxy.scheme == "https" else None,
    )


def _short(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)


def issuer(certificate: Mapping[str, Any]) -> str:
    """The name of who signed a certificate, as `ssl.SSLSocket.getpeercert` gives it."""
    names = dict(pair for group in certificate.get("issuer", ()) for pair in group)
    return printable(names.get("commonName") or names.get("organizationName") or "unnamed")


def issuer_of(der: bytes | None) -> str | None:
    """The same of a certificate that was not verified, in DER."""
    try:
        names = x509.load_der_x509_certificate(der or b"").issuer
    except ValueError:
        return None
    found = [
        *names.get_attributes_for_oid(NameOID.COMMON_NAME),
        *names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME),
    ]
    return printable(str(found[0].value)) if found else None


def distrusted(where: str, error: ssl.SSLCertVerificationError, by: str | None) -> str:
    """A certificate that is not believed, in a sentence; `by`: who signed it, if that is known."""
    signed = f", signed by {by!r}," if by else ""
    return (
        f"the TLS certificate shown for {where}{signed} is not trusted ({printable(error.verify_message)}): if the "
        "network inspects TLS, name its CA bundle with --ca-file"
    )


def no_trust() -> ssl.SSLContext:
    """For looking, never for believing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and so on; of a group, its first."""
    while error is not None:
        yield error
        inside = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inside or error.__cause__ or error.__context__

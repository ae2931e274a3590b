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

import httpx

from agent import __version__
from agent.failure import ConfigurationError, said
from agent.logs import printable
from agent.wire.limits import DIAL_SECONDS, ENROLMENT_BYTES

REQUEST_SECONDS = 20.0
"""Deadline of a whole request, the answer's body included."""
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_* of OpenSSL


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

    def __init__(self, relay: str, ca_file: Path | None) -> None:
        self._relay = relay
        self._plain = relay.startswith("http://")
        self.tls = trust_anchors(ca_file)

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
        # a plain relay is on this very machine: no proxy is asked for it
        async with httpx.AsyncClient(verify=tls, trust_env=not self._plain, timeout=timeout) as client:
            yield client

    async def explain(self, error: Exception) -> str:
        """What an error on the way to the relay means, in a sentence."""
        if cause := next((c for c in _causes(error) if isinstance(c, ssl.SSLCertVerificationError)), None):
            if cause.verify_code in {_NOT_YET_VALID, _EXPIRED}:
                return await self._explain_dates(cause)
            return (
                f"the TLS certificate shown for {self._relay} is not trusted ({cause.verify_message}): if the network "
                "inspects TLS, name its CA bundle with --ca-file."
            )
        if isinstance(error, httpx.ProxyError):
            return f"the proxy on the way to {self._relay} refuses: {printable(str(error))}."
        if isinstance(error, httpx.TimeoutException):
            return f"{self._relay} did not answer within {DIAL_SECONDS} s."
        system = next((cause for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), None)
        if isinstance(system, socket.gaierror):
            return f"the name of {self._relay} is not found: {said(system)}."
        reason = said(system) if isinstance(system, OSError) else printable(str(error)) or type(error).__name__
        return f"{self._relay} cannot be reached: {reason}."

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
            _retry_after(response.headers.get("retry-after")),
            response.headers.get("location"),
            _issuer(response),
        )


def _moment(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _retry_after(text: str | None) -> float | None:
    """Seconds, from either form of the field (RFC 9110 §10.2.3)."""
    if text and text.strip().isdecimal() and len(text) < 10:
        return float(text)
    moment = _moment(text)
    return max(0.0, moment - time.time()) if moment is not None else None


def _issuer(response: httpx.Response) -> str | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream else None
    certificate = tls.getpeercert() if tls else None
    return issuer(certificate) if certificate else None


def issuer(certificate: Mapping[str, Any]) -> str:
    """The name of who signed a certificate, as `ssl.SSLSocket.getpeercert` gives it."""
    names = dict(pair for group in certificate.get("issuer", ()) for pair in group)
    return printable(names.get("commonName") or names.get("organizationName") or "unnamed")


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

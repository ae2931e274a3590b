"""The relay that serves, as the command line asks it: only it holds the tunnels, so only it can try a connection."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from typing import Any

import httpx

from relay.cli.desk import RelayAwayError
from relay.settings import Address, Settings

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 75.0
"""Longer than any test takes."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listens everywhere is called at home


async def ask(settings: Settings, path: str, token: str) -> dict[str, Any]:
    """The report, from the first address at which a relay of this installation answers. Raises RelayAwayError."""
    problem = "no relay serves at {where}: start it with postern-relay serve, and test again"
    for url in (tried := _addresses(settings)):
        answer = await _post(settings, url, path, token)
        if answer is None:
            continue
        report = _read(url, answer.status_code, answer.content)
        if report is not None:
            return report
        problem = (
            f"what answers at {url} is no relay on this database (HTTP {answer.status_code}): look at HTTP, PUBLIC_URL"
        )
    where = " or ".join(tried) or "any address that is known here (HTTP has port 0, and there is no PUBLIC_URL)"
    raise RelayAwayError(problem.format(where=where))


async def _post(settings: Settings, url: str, path: str, token: str) -> httpx.Response | None:
    """None where nobody listens. Raises RelayAwayError."""
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    public = url == settings.public_url
    try:
        async with httpx.AsyncClient(timeout=timeout, trust_env=public, verify=_roots(settings)) as client:
            return await client.post(url + path, headers={"Authorization": f"Bearer {token}"})
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RelayAwayError(f"the certificate of what answers at {url} is not known here: {error}") from None
        return None
    except httpx.HTTPError as error:
        raise RelayAwayError(f"the relay at {url} gave no answer ({type(error).__name__}): try again") from None


def _addresses(settings: Settings) -> list[str]:
    """Where the relay is asked: at its own listener first, which no proxy stands before; under TLS by its name."""
    host, port = settings.http.host, settings.http.port
    here = [f"http://{Address(_EVERYWHERE.get(host, host), port)}"] if port and not settings.certificate_files else []
    return here + ([settings.public_url] if settings.public_url else [])


def _roots(settings: Settings) -> ssl.SSLContext:
    """The system's, and the certificate that the relay itself shows."""
    context = ssl.create_default_context()
    if settings.certificate_files:
        with suppress(OSError, ssl.SSLError):  # unreadable here: then the system's roots decide
            context.load_verify_locations(settings.certificate_files[0])
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever issued it need not be known
    return context


def _read(url: str, status: int, body: bytes) -> dict[str, Any] | None:
    """None where it is no relay, or none that knows the token. Raises RelayAwayError for what a relay refuses."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or status == 401:
        return None
    if status == 200 and "steps" in told:
        return told
    if "code" in told and "detail" in told:
        raise RelayAwayError(f"the relay at {url} refuses: {told.get('title')}: {told['detail']}")
    return None

"""`postern-relay connections test`: asks the relay that serves, for only it holds the tunnels, and tells hop by hop."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from relay.cli.desk import Desk
from relay.cli.output import print_line
from relay.database import connections, tokens
from relay.records import Scope
from relay.settings import Address, Settings

TOKEN_SECONDS = 60
"""Life of the token made for this one call, should it not come to be deleted."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 75.0
"""Longer than any test takes."""
_WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listens everywhere is called at home


class RelayAwayError(Exception):
    """No relay answers as one of this installation; the text is a sentence for the person who asked."""


async def test(desk: Desk, arguments: Namespace) -> int:
    """0 if the test passed, 1 if it failed. Raises NotFound, RelayAwayError."""
    found = await connections.find(desk.database, await desk.account(), arguments.connection)
    async with _token(desk, found.account) as token:
        report = await _ask(desk.settings, f"/v1/connections/{found.id}/test", token)
    if arguments.json:
        desk.show(report)
    else:
        _tell(report, found.id)
    return 0 if report["ok"] else 1


@asynccontextmanager
async def _token(desk: Desk, account: str) -> AsyncIterator[str]:
    """An API token that ends with the block."""
    until = desk.database.now() + TOKEN_SECONDS
    made = await tokens.create(desk.database, account, "connections test", [Scope.MANAGE], by=desk.by, expires_at=until)
    try:
        yield made.text.get_secret_value()
    finally:
        await tokens.delete(desk.database, account, made.token.id, by=desk.by)


async def _ask(settings: Settings, path: str, token: str) -> dict[str, Any]:
    import httpx  # noqa: PLC0415 - slow to import, and no other command needs it

    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    for url in (tried := _addresses(settings)):
        local = url != settings.public_url
        try:
            async with httpx.AsyncClient(timeout=timeout, trust_env=not local) as client:
                answer = await client.post(url + path, headers={"Authorization": f"Bearer {token}"})
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
        except httpx.HTTPError as error:
            raise RelayAwayError(f"the relay at {url} gave no answer ({type(error).__name__}): try again") from None
        return _read(url, answer.status_code, answer.content)
    where = " or ".join(tried) or "any address that is known here (HTTP has port 0, and there is no PUBLIC_URL)"
    raise RelayAwayError(f"no relay serves at {where}: start it with postern-relay serve, and test again")


def _addresses(settings: Settings) -> list[str]:
    """Where the relay is asked: at its own listener first, which no proxy stands before."""
    host, port = settings.http.host, settings.http.port
    here = [f"http://{Address(_EVERYWHERE.get(host, host), port)}"] if port else []
    return here + ([settings.public_url] if settings.public_url else [])


def _read(url: str, status: int, body: bytes) -> dict[str, Any]:
    import json  # noqa: PLC0415 - for this alone

    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if isinstance(told, dict) and status == 200 and "steps" in told:
        return told
    if isinstance(told, dict) and status != 401 and "detail" in told:
        raise RelayAwayError(f"the relay at {url} refuses: {told.get('title')}: {told['detail']}")
    raise RelayAwayError(
        f"what answers at {url} is no relay on this database (HTTP {status}): look at HTTP, PUBLIC_URL"
    )


def _tell(report: Mapping[str, Any], connection: str) -> None:
    language = "fr" if _french() else "en"
    for step in report["steps"]:
        ms = "" if step["ms"] is None else f"{step['ms']:9.1f} ms"
        print_line(f"{step['name']:<12}{_WORDS[step['status']]:<7}{ms}".rstrip())
    print_line("")
    for step in report["steps"]:
        if step["remedy"]:
            print_line(f"{step['code']}: {step['remedy'][language]}")
    if report["offer"]:
        _tell_offer(report["offer"], connection)
    if report["ok"]:
        _tell_findings(report, language)


def _tell_offer(offer: Mapping[str, Any], connection: str) -> None:
    change = f"postern-relay connections update {connection}"
    if "key_place" in offer:
        print_line(f"  {change} --key-place {offer['key_place']}")
    else:
        print_line(f"  {change} --store-url {offer['store_url']} --api-key-file FILE")


def _tell_findings(report: Mapping[str, Any], language: str) -> None:
    shop, missing = report["shop"], report["permissions"]["missing"]
    print_line(f"shop         {shop['name']}, PrestaShop {shop['version'] or '?'}")
    for resource, methods in missing.items():
        print_line(f"not granted  {resource}: {', '.join(methods)}")
    for note in report["notes"]:
        print_line(f"{note['code']}: {note['remedy'][language]}")


def _french() -> bool:
    """By the first of the variables that is set (POSIX, 8.2)."""
    chosen = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return chosen.lower().startswith("fr")

"""`postern-relay connections test`: has the relay that serves try a connection, and tells hop by hop."""

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

TOKEN_SECONDS = 60
"""Life of the token made for this one call, should it not come to be deleted."""
_WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


async def test(desk: Desk, arguments: Namespace) -> int:
    """0 if the test passed, 1 if it failed. Raises NotFound, RelayAwayError."""
    found = await connections.find(desk.database, await desk.account(), arguments.connection)
    from relay.cli.relay_asked import ask  # noqa: PLC0415 - its client is slow to import, and no other command needs it

    async with _token(desk, found.account) as token:
        report = await ask(desk.settings, f"/v1/connections/{found.id}/test", token)
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

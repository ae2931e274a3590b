"""What probes see."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import pytest

from relay.api import health
from tests.relay.api.scene import Relay

pytestmark = pytest.mark.one_database


async def test_alive_needs_nothing(relay: Relay) -> None:
    """/livez answers without a token, for GET and HEAD."""
    answer = await relay.call("GET", "/livez", as_=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    assert (await relay.call("HEAD", "/livez", as_=None)).status_code == 200


async def test_ready_lists_what_it_looked_at(relay: Relay) -> None:
    """/readyz is 200 while every item is ok."""
    answer = await relay.call("GET", "/readyz", as_=None)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "items": {"database": "ok", "ssh": "ok"}}


async def test_not_ready_names_what_is_not(relay: Relay) -> None:
    """/readyz is 503 and says which item is wrong and how."""
    relay.readiness["database"] = "the database does not answer"
    answer = await relay.call("GET", "/readyz", as_=None)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    problem = answer.json()
    assert (problem["code"], problem["detail"]) == ("not_ready", "database: the database does not answer")
    assert problem["items"] == {"database": "the database does not answer", "ssh": "ok"}


async def test_a_look_that_hangs_is_not_ready(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """/readyz answers 503 within its deadline even if a check never returns."""

    async def never() -> Mapping[str, str]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(health, "READY_SECONDS", 0.05)
    object.__setattr__(relay.parts, "ready", never)
    answer: httpx.Response = await relay.call("GET", "/readyz", as_=None)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")

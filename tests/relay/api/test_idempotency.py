"""Creations that are sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable
from relay.database.once import Once
from tests.relay.api.scene import STORE_KEY, Relay

KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


async def creations(relay: Relay) -> dict[str, Any]:
    """Every address that creates, with what it takes."""
    agent = await relay.agent("parent")
    connection = await relay.connection(agent["id"], "parent")
    triggers = f"/v1/connections/{connection['id']}/triggers"
    trigger = await relay.made(triggers, {"kind": "order-updated", "url": "https://hooks.example.com/"})
    alert = await relay.made("/v1/alerts", {"url": "https://hooks.example.com/"})
    return {
        "/v1/alerts": {},
        f"/v1/alerts/{alert['id']}/secrets": None,
        triggers: {"kind": "order-updated", "pull": True},
        f"/v1/triggers/{trigger['id']}/secrets": None,
        "/v1/agents": {"name": "Lyon"},
        f"/v1/agents/{agent['id']}/tokens": {},
        "/v1/connections": {"name": "x", "mode": "cloud", "store_url": "https://shop.fr", "api_key": STORE_KEY},
        f"/v1/connections/{connection['id']}/access-keys": None,
        "/v1/tokens": {"name": "x", "scopes": ["status"]},
        "/v1/accounts": {"name": "acme"},
    }


async def test_a_repeat_gets_the_first_answer(relay: Relay) -> None:
    """The same bytes, secret included, and nothing is made twice."""
    for path, body in (await creations(relay)).items():
        key = {"Idempotency-Key": f"for {path}"}
        first = await relay.call("POST", path, body, as_="operate", headers=key)
        again = await relay.call("POST", path, body, as_="operate", headers=key)
        assert (first.status_code, again.status_code) == (201, 201), path
        assert again.content == first.content
        for name in ("ETag", "Location", "Cache-Control", "X-Content-Type-Options", "Content-Type"):
            assert again.headers.get(name) == first.headers.get(name)
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"


async def test_every_creation_takes_a_key(relay: Relay) -> None:
    """As the document says: where 201 is an answer, `Idempotency-Key` is a header."""
    takes = {
        path: "Idempotency-Key" in [parameter["name"] for parameter in operation.get("parameters", ())]
        for path, methods in relay.surface.openapi()["paths"].items()
        for operation in methods.values()
        if "201" in operation["responses"]
    }
    assert len(takes) == len(await creations(relay))
    assert all(takes.values()), takes


async def test_without_a_key_two_are_made(relay: Relay) -> None:
    """Nothing is guessed from the content alone."""
    form = {"name": "x", "scopes": ["status"]}
    made = [await relay.made("/v1/tokens", form) for _ in range(2)]
    assert made[0]["id"] != made[1]["id"]


async def test_a_refusal_is_not_kept(relay: Relay) -> None:
    """Once the reason is gone, the same key works."""
    taken = await relay.agent("Lyon")
    refused = await relay.call("POST", "/v1/agents", {"name": "Lyon"}, headers=KEY)
    assert refused.status_code == 409
    await relay.call("PATCH", f"/v1/agents/{taken['id']}", {"name": "Paris"})
    assert (await relay.call("POST", "/v1/agents", {"name": "Lyon"}, headers=KEY)).status_code == 201


async def test_another_request_with_the_key_is_refused(relay: Relay) -> None:
    """422 that names the header, for another body as for another address."""
    await relay.call("POST", "/v1/agents", {"name": "Lyon"}, headers=KEY)
    for path, body in (("/v1/agents", {"name": "Paris"}), ("/v1/tokens", {"name": "Lyon", "scopes": ["status"]})):
        answer = await relay.call("POST", path, body, headers=KEY)
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == ["Idempotency-Key"]
        assert "postern_" not in answer.text


async def test_nobody_else_gets_the_answer(relay: Relay) -> None:
    """Another token, of the same account or another, makes its own."""
    form = {"name": "x", "scopes": ["status"]}
    answers = [
        await relay.call("POST", "/v1/tokens", form, as_=who, headers=KEY) for who in ("manage", "operate", "other")
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3
    low = await relay.call("POST", "/v1/tokens", form, as_="forward", headers=KEY)
    assert low.status_code == 403


async def test_of_many_at_once_one_is_made(relay: Relay) -> None:
    """The others get its answer, or are told to come back for it."""
    form = {"name": "x", "scopes": ["status"]}
    answers = await asyncio.gather(*(relay.call("POST", "/v1/tokens", form, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"answer_not_kept"}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    listed = (await relay.call("GET", "/v1/tokens")).json()["items"]
    assert [token["name"] for token in listed].count("x") == 1


async def test_a_creation_stands_if_its_answer_cannot_be_kept(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first caller is answered; a repeat is told that it is done and when to look again."""

    async def away(_self: Database, _answer: bytes) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(Once, "keep", away)
    assert (await relay.call("POST", "/v1/agents", {"name": "Lyon"}, headers=KEY)).status_code == 201
    again = await relay.call("POST", "/v1/agents", {"name": "Lyon"}, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "answer_not_kept")
    assert again.headers["Retry-After"] == "1"


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "caf\xe9"])
async def test_odd_keys_are_refused(relay: Relay, key: str) -> None:
    """Empty, over-long and non-ASCII keys are mistakes."""
    token = relay.tokens["manage"].encode()
    headers = {b"Authorization": b"Bearer " + token, b"Idempotency-Key": key.encode("latin-1")}
    answer = await relay.client.post("/v1/agents", json={"name": "Lyon"}, headers=headers)
    assert answer.status_code == 422
    assert (await relay.call("GET", "/v1/agents")).json()["items"] == []

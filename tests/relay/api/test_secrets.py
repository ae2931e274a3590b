"""Secrets stay secret: what was shown once, or only ever went in, comes out nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from agent.wire.enrolment import PATH
from relay.api.agent_shapes import AgentCreated
from relay.api.connection_shapes import ConnectionChange, ConnectionCreated, ConnectionCreation
from tests.relay.api.scene import STORE_KEY, Relay
from tests.relay.api.test_enrolment import Machine


def shown(secrets: Iterable[str], answer: httpx.Response) -> list[str]:
    """The telling halves of secrets that are in the answer or its headers."""
    told = answer.text + repr(answer.headers)
    return [half for secret in secrets if (half := secret[: len(secret) // 2]) in told]


async def test_what_was_shown_once_is_shown_nowhere_else(relay: Relay) -> None:
    """Agent tokens, API tokens, access keys, the store's key and the ticket, after their creation."""
    agent = await relay.agent()
    connection = await relay.connection(agent["id"])
    second = await relay.made(f"/v1/connections/{connection['id']}/access-keys", None)
    token = await relay.made("/v1/tokens", {"name": "x", "scopes": ["manage"]})
    rotated = await relay.made(f"/v1/agents/{agent['id']}/tokens", {})
    signed = Machine(agent["token"]).signed()
    ticket = (await relay.client.post(PATH, content=signed.body, headers=signed.headers)).json()["ticket"]
    secrets = [
        STORE_KEY,
        ticket,
        agent["token"],
        rotated["token"],
        token["token"],
        connection["access_key"],
        second["access_key"],
        *relay.tokens.values(),
    ]
    paths = [
        "/v1/agents",
        f"/v1/agents/{agent['id']}",
        f"/v1/agents/{agent['id']}/tokens",
        f"/v1/agents/{agent['id']}/instances",
        "/v1/connections",
        f"/v1/connections/{connection['id']}",
        "/v1/tokens",
        f"/v1/tokens/{token['id']}",
        "/v1/status",
        "/v1/audit?limit=500",
        "/openapi.json",
        "/docs",
    ]
    for path in paths:
        answer = await relay.call("GET", path, as_="operate")
        assert answer.status_code == 200
        assert shown(secrets, answer) == []
    changed = await relay.call(
        "PATCH", f"/v1/connections/{connection['id']}", {"store_url": "http://b.lan", "api_key": STORE_KEY}
    )
    assert changed.status_code == 200
    assert shown(secrets, changed) == []


@pytest.mark.parametrize(
    "form",
    [
        {"api_key": STORE_KEY + "X"},
        {"api_key": [STORE_KEY]},
        {"api_key": {"key": STORE_KEY}},
        {"api_key": STORE_KEY * 100},
        {"api_key": STORE_KEY, "store_url": ["http://shop.lan"]},
        {"api_key": STORE_KEY, "mode": STORE_KEY},
        {"api_key": STORE_KEY, "concurrency": STORE_KEY},
        {"api_key": STORE_KEY, "trust": STORE_KEY},
        {"api_key": STORE_KEY, "trust": {"ca_pem": STORE_KEY}},
        {"api_key": STORE_KEY, "store_url": f"http://{STORE_KEY.lower()}:pw@shop.lan"},
        STORE_KEY,
        [STORE_KEY],
    ],
)
@pytest.mark.one_database
async def test_what_is_refused_is_not_repeated(relay: Relay, form: Any) -> None:
    """A key of the wrong shape, or in the wrong member, is still a key: neither answers nor logs repeat it."""
    connection = await relay.connection((await relay.agent())["id"])
    base = {"name": "x", "mode": "cloud", "store_url": "https://shop.fr"}
    body = base | form if isinstance(form, dict) else form
    with capture_logs() as logs:
        for method, path in (("POST", "/v1/connections"), ("PATCH", f"/v1/connections/{connection['id']}")):
            answer = await relay.call(method, path, body)
            assert answer.status_code == 422
            assert shown([STORE_KEY, STORE_KEY.lower()], answer) == []
    assert STORE_KEY not in repr(logs)


async def test_broken_json_is_not_repeated(relay: Relay) -> None:
    """Nor where exactly it broke, which would quote what stands there."""
    headers = {"Authorization": f"Bearer {relay.tokens['manage']}", "Content-Type": "application/json"}
    answer = await relay.client.post("/v1/connections", content=f'{{"api_key": "{STORE_KEY}'.encode(), headers=headers)
    assert answer.status_code == 400
    assert shown([STORE_KEY], answer) == []


async def test_a_refused_token_is_not_repeated(relay: Relay) -> None:
    """Neither one that is mistyped nor one that was put into the path or the query."""
    token = relay.tokens["manage"]
    mistyped = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert (
        shown([mistyped], await relay.client.get("/v1/status", headers={"Authorization": f"Bearer {mistyped}"})) == []
    )
    assert shown([token], await relay.call("GET", f"/v1/status?account={token}")) == []


async def test_forms_and_answers_hide_what_they_hold(relay: Relay) -> None:
    """Printed or logged by accident, the shapes show no secret; as JSON, only the one answer does."""
    form = ConnectionCreation.model_validate(
        {"name": "x", "mode": "cloud", "store_url": "https://shop.fr", "api_key": STORE_KEY}
    )
    patch = ConnectionChange.model_validate({"api_key": STORE_KEY})
    agent = AgentCreated.model_validate(await relay.agent())
    made = ConnectionCreated.model_validate(await relay.connection(agent.id))
    secrets = [STORE_KEY, agent.token.get_secret_value(), made.access_key.get_secret_value()]
    printed = f"{form!r} {form} {form.form!r} {patch!r} {patch.patch!r} {agent!r} {made!r} {agent.model_dump()}"
    assert not [secret for secret in secrets if secret in printed]
    assert secrets[1] in agent.model_dump_json()

"""Every operation that changes something is on record, with who did it and from where, and without a secret."""

from __future__ import annotations

from typing import Any

import pytest

from agent.wire.enrolment import PATH
from relay.api import document
from tests.relay.api.scene import STORE_KEY, Relay
from tests.relay.api.test_enrolment import Machine

RECORDED = {"agents", "connections", "API tokens", "accounts", "triggers"}
"""Tags of the operations on what an account is made of."""
ELSEWHERE = {"try_connection", "run_connection_test", "replay_dead_letter"}
"""A test changes nothing; what takes a delivery that failed is among the tests of those."""
FORM = {"name": "n", "mode": "cloud", "store_url": "https://shop.fr", "api_key": STORE_KEY}
TRIGGER = {"kind": "order-updated", "url": "https://hooks.example.com/"}

STEPS: dict[str, tuple[str, str, Any, str]] = {
    "create_agent": ("POST", "/v1/agents", {"name": "new"}, "agent.create"),
    "update_agent": ("PATCH", "/v1/agents/{agent}", {"name": "other"}, "agent.update"),
    "create_agent_token": ("POST", "/v1/agents/{agent}/tokens", {}, "agent_token.create"),
    "revoke_agent_token": ("POST", "/v1/agents/{agent}/tokens/{agent_token}/revoke", None, "agent_token.revoke"),
    "release_instance": ("POST", "/v1/agents/{agent}/instances/{instance}/release", None, "instance.release"),
    "revoke_instance": ("POST", "/v1/agents/{agent}/instances/{second}/revoke", None, "instance.revoke"),
    "create_connection": ("POST", "/v1/connections", FORM, "connection.create"),
    "update_connection": ("PATCH", "/v1/connections/{connection}", {"name": "other"}, "connection.update"),
    "create_access_key": ("POST", "/v1/connections/{connection}/access-keys", None, "access_key.create"),
    "revoke_access_key": ("POST", "/v1/connections/{connection}/access-keys/{key}/revoke", None, "access_key.revoke"),
    "create_trigger": ("POST", "/v1/connections/{connection}/triggers", TRIGGER, "trigger.create"),
    "update_trigger": ("PATCH", "/v1/triggers/{trigger}", {"interval": 120}, "trigger.update"),
    "create_trigger_secret": ("POST", "/v1/triggers/{trigger}/secrets", None, "trigger.rotate_secret"),
    "run_trigger": ("POST", "/v1/triggers/{trigger}/run", None, "trigger.run"),
    "delete_trigger": ("DELETE", "/v1/triggers/{trigger}", None, "trigger.delete"),
    "delete_connection": ("DELETE", "/v1/connections/{connection}", None, "connection.delete"),
    "revoke_agent": ("POST", "/v1/agents/{agent}/revoke", None, "agent.revoke"),
    "delete_agent": ("DELETE", "/v1/agents/{agent}", None, "agent.delete"),
    "create_token": ("POST", "/v1/tokens", {"name": "n", "scopes": ["status"]}, "api_token.create"),
    "update_token": ("PATCH", "/v1/tokens/{token}", {"name": "other"}, "api_token.rename"),
    "revoke_token": ("POST", "/v1/tokens/{token}/revoke", None, "api_token.revoke"),
    "delete_token": ("DELETE", "/v1/tokens/{token}", None, "api_token.delete"),
    "create_account": ("POST", "/v1/accounts", {"name": "new"}, "account.create"),
    "update_account": ("PATCH", "/v1/accounts/{account}", {"name": "third"}, "account.rename"),
    "delete_account": ("DELETE", "/v1/accounts/{account}", None, "account.delete"),
}
"""In an order in which each can be carried out: operation, and the action that it is noted as."""


@pytest.mark.one_database
def test_the_table_is_whole() -> None:
    """An operation that is new, and that changes something of an account, needs a line in it."""
    changing = {
        described["operationId"]
        for methods in document()["paths"].values()
        for method, described in methods.items()
        if method != "get" and set(described["tags"]) & RECORDED
    }
    assert changing - ELSEWHERE == set(STEPS)


async def test_every_change_is_on_record(relay: Relay) -> None:
    """Told of by the API: the token's id, its address, the time, and what was changed."""
    ids = await belongings(relay)
    (actor,) = [each["id"] for each in await listed(relay, "/v1/tokens") if each["name"] == "for operate"]
    secrets = [STORE_KEY, *relay.tokens.values()]
    for operation, (method, path, body, action) in STEPS.items():
        before = (await listed(relay, "/v1/audit?limit=1"))[0]["seq"]
        answer = await relay.call(method, path.format(**ids), body, as_="operate")
        assert answer.status_code < 300, (operation, answer.text)
        made = answer.json() if answer.content else {}
        if operation.startswith("create_"):
            secrets += [made[name] for name in ("token", "access_key", "secret") if name in made]
        events = [each for each in await listed(relay, "/v1/audit?limit=5") if each["seq"] > before]
        assert {(each["actor"], each["source"]) for each in events} == {(actor, "198.51.100.9")}, operation
        (event,) = [each for each in events if each["action"] == action]
        assert abs(event["at"] - relay.clock()) < 60
        assert event["subject"] in {*ids.values(), made.get("id")}, operation
    told = (await relay.call("GET", "/v1/audit?limit=500", as_="operate")).text
    assert not [secret for secret in secrets if secret[: len(secret) // 2] in told]


async def belongings(relay: Relay) -> dict[str, str]:
    """One of everything."""
    agent = await relay.made("/v1/agents", {"name": "Lyon", "places": 2})
    instances = []
    for _ in range(2):
        signed = Machine(agent["token"]).signed()
        answer = await relay.client.post(PATH, content=signed.body, headers=signed.headers)
        instances.append(answer.json()["instance_id"])
    form = FORM | {"name": "Shop", "mode": "on-premise", "agent": agent["id"]}
    connection = await relay.made("/v1/connections", form)
    trigger = await relay.made(f"/v1/connections/{connection['id']}/triggers", TRIGGER)
    token = await relay.made("/v1/tokens", {"name": "x", "scopes": ["status"]})
    account = await relay.made("/v1/accounts", {"name": "x"}, as_="operate")
    return {
        "agent": agent["id"],
        "agent_token": agent["token_id"],
        "instance": instances[0],
        "second": instances[1],
        "connection": connection["id"],
        "key": connection["access_keys"][0]["id"],
        "trigger": trigger["id"],
        "token": token["id"],
        "account": account["id"],
    }


async def listed(relay: Relay, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await relay.call("GET", path, as_="operate")).json()["items"]
    return items

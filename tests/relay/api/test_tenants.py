"""Tenants never meet: what belongs to another account answers exactly as what does not exist."""

from __future__ import annotations

from typing import Any

import pytest

from agent.wire.enrolment import PATH
from tests.relay.api.scene import STORE_KEY, Relay
from tests.relay.api.test_enrolment import Machine

UNKNOWN = "a" * 16
EACH_ITS_OWN = {"date", "postern-request"}
FORM = {"name": "Mine now", "mode": "cloud", "store_url": "https://evil.example", "api_key": STORE_KEY}


async def belongings(relay: Relay) -> dict[str, str]:
    """Something of every kind that the other account owns."""
    agent = await relay.agent(as_="other")
    connection = await relay.connection(agent["id"], as_="other")
    machine = Machine(agent["token"])
    signed = machine.signed()
    enrolled = await relay.client.post(PATH, content=signed.body, headers=signed.headers)
    token = await relay.made("/v1/tokens", {"name": "theirs", "scopes": ["status"]}, as_="other")
    return {
        "agent": agent["id"],
        "agent_token": agent["token_id"],
        "instance": enrolled.json()["instance_id"],
        "connection": connection["id"],
        "key": connection["access_keys"][0]["id"],
        "token": token["id"],
        "account": relay.other,
    }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/agents/{agent}", None),
        ("PATCH", "/v1/agents/{agent}", {"name": "Mine now"}),
        ("DELETE", "/v1/agents/{agent}", None),
        ("POST", "/v1/agents/{agent}/revoke", None),
        ("GET", "/v1/agents/{agent}/tokens", None),
        ("POST", "/v1/agents/{agent}/tokens", {}),
        ("POST", "/v1/agents/{agent}/tokens/{agent_token}/revoke", None),
        ("GET", "/v1/agents/{agent}/instances", None),
        ("POST", "/v1/agents/{agent}/instances/{instance}/release", None),
        ("POST", "/v1/agents/{agent}/instances/{instance}/revoke", None),
        ("GET", "/v1/connections/{connection}", None),
        ("PATCH", "/v1/connections/{connection}", {"store_url": "http://evil.lan", "api_key": STORE_KEY}),
        ("DELETE", "/v1/connections/{connection}", None),
        ("POST", "/v1/connections/{connection}/test", None),
        ("POST", "/v1/connections/{connection}/access-keys", None),
        ("POST", "/v1/connections/{connection}/access-keys/{key}/revoke", None),
        ("GET", "/v1/tokens/{token}", None),
        ("PATCH", "/v1/tokens/{token}", {"name": "Mine now"}),
        ("DELETE", "/v1/tokens/{token}", None),
        ("POST", "/v1/tokens/{token}/revoke", None),
        ("GET", "/v1/agents?account={account}", None),
        ("GET", "/v1/connections?account={account}", None),
        ("GET", "/v1/tokens?account={account}", None),
        ("GET", "/v1/status?account={account}", None),
        ("GET", "/v1/audit?account={account}", None),
        ("POST", "/v1/agents", {"name": "x", "account": "{account}"}),
        ("POST", "/v1/tokens", {"name": "x", "scopes": ["status"], "account": "{account}"}),
        ("POST", "/v1/connections", FORM | {"account": "{account}"}),
    ],
)
async def test_foreign_ids_answer_as_unknown_ones(relay: Relay, method: str, path: str, body: Any) -> None:
    """Status, headers and every byte but the id are the same, with and without a tag to match."""
    theirs = await belongings(relay)
    nobodys = {name: value[:4] + UNKNOWN for name, value in theirs.items()}
    before = await everything(relay)
    for tag in ({}, {"If-Match": '"0"'}):
        answers = []
        for ids in (theirs, nobodys):
            filled = {k: v.format(**ids) if isinstance(v, str) else v for k, v in body.items()} if body else body
            answers.append(await relay.call(method, path.format(**ids), filled, headers=tag))
        foreign, unknown = answers
        assert unknown.status_code == 404
        text = foreign.text
        for name, value in theirs.items():
            text = text.replace(value, nobodys[name])
        assert (foreign.status_code, text) == (404, unknown.text)
        assert {k: v for k, v in foreign.headers.items() if k not in EACH_ITS_OWN} == {
            k: v for k, v in unknown.headers.items() if k not in EACH_ITS_OWN
        }
    assert await everything(relay) == before


async def everything(relay: Relay) -> list[Any]:
    """All that the other account sees of its own."""
    paths = ("/v1/agents", "/v1/connections", "/v1/tokens", "/v1/audit")
    return [(await relay.call("GET", path, as_="other")).json()["items"] for path in paths]


async def test_nested_ids_must_belong_together(relay: Relay) -> None:
    """A token, instance or key under another parent of the same account is unknown there."""
    lyon, paris = await relay.agent("Lyon"), await relay.agent("Paris")
    token = await relay.call("POST", f"/v1/agents/{lyon['id']}/tokens/{paris['token_id']}/revoke")
    one, two = await relay.connection(lyon["id"], "One"), await relay.connection(lyon["id"], "Two")
    key = await relay.call("POST", f"/v1/connections/{one['id']}/access-keys/{two['access_keys'][0]['id']}/revoke")
    signed = Machine(paris["token"]).signed()
    instance = (await relay.client.post(PATH, content=signed.body, headers=signed.headers)).json()["instance_id"]
    moved = await relay.call("POST", f"/v1/agents/{lyon['id']}/instances/{instance}/release")
    assert [answer.status_code for answer in (token, key, moved)] == [404, 404, 404]


async def test_lists_and_counts_are_an_accounts_own(relay: Relay) -> None:
    """Nothing of another account is listed, counted, offered or told."""
    theirs = await belongings(relay)
    relay.tunnel(theirs["agent"], theirs["instance"])
    for path in ("/v1/agents", "/v1/connections", "/v1/agents?as=options", "/v1/status", "/v1/audit", "/v1/tokens"):
        text = (await relay.call("GET", path)).text
        assert not [value for value in theirs.values() if value in text], path
    status = (await relay.call("GET", "/v1/status")).json()
    assert (status["connections"], sum(status["agents"].values()), status["node"]["tunnels"]) == (0, 0, 0)
    assert (await relay.call("GET", f"/v1/audit?subject={theirs['agent']}")).json()["items"] == []

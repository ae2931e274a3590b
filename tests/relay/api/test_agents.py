"""Agents over HTTP: made, shown with how they are now, changed, and ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.wire.destination import CONTROL
from agent.wire.enrolment import PATH
from agent.wire.token import AccessToken
from relay.database import overview
from tests.relay.api.scene import Relay
from tests.relay.api.test_enrolment import Machine


async def test_a_new_agent_comes_with_its_token(relay: Relay) -> None:
    """201 with the token, its id, an address and a tag; the agent has never been seen."""
    answer = await relay.call("POST", "/v1/agents", {"name": " Lyon ", "places": 2})
    agent = answer.json()
    assert answer.status_code == 201
    assert AccessToken.parse(agent["token"]).id == agent["token_id"]
    assert answer.headers["Location"] == f"/v1/agents/{agent['id']}"
    assert (agent["name"], agent["places"], agent["account"]) == ("Lyon", 2, relay.account)
    assert (agent["state"], agent["since"]) == ("never", agent["created_at"])
    assert (agent["instances"], agent["tunnels"], agent["last_seen_at"]) == ([], [], None)
    shown = await relay.call("GET", answer.headers["Location"])
    assert shown.headers["ETag"] == answer.headers["ETag"]
    assert shown.json() == {name: agent[name] for name in agent if name not in {"token", "token_id"}}


async def test_an_agent_with_a_tunnel_is_online(relay: Relay) -> None:
    """The tunnel is shown with where it comes from and what it publishes, the reserved name left out."""
    agent = await relay.agent()
    tunnel = relay.tunnel(agent["id"], stores=("shop.lan", "b2b.shop.lan"))
    tunnel.published.add(CONTROL)
    shown = (await relay.call("GET", f"/v1/agents/{agent['id']}")).json()
    assert (shown["state"], shown["flapping"], shown["remedy"]) == ("online", False, None)
    assert abs(shown["since"] - relay.clock()) < 5
    assert abs(shown["last_seen_at"] - relay.clock()) < 5
    assert shown["tunnels"] == [
        {
            "instance": "ins_aaaaaaaaaaaaaaaa",
            "node": "local",
            "remote": "203.0.113.7",
            "transport": "tcp",
            "slot": 0,
            "since": int(tunnel.since),
            "generation": 7,
            "round_trip_ms": 12.3,
            "channels": 3,
            "stores": ["b2b.shop.lan:80", "shop.lan:80"],
        }
    ]
    assert [store["store"] for store in shown["stores"]] == ["b2b.shop.lan:80", "shop.lan:80"]
    tunnel.gone = True
    assert (await relay.call("GET", f"/v1/agents/{agent['id']}")).json()["state"] == "never"


async def test_an_agent_whose_tunnels_say_nothing_is_degraded(relay: Relay) -> None:
    """Online is a tunnel that answers; where none does at the moment, the state says so, and what to do."""
    agent = await relay.agent()
    tunnel = relay.tunnel(agent["id"])
    tunnel.silent = True
    shown = (await relay.call("GET", f"/v1/agents/{agent['id']}")).json()
    assert shown["state"] == "degraded"
    assert "postern-agent check" in shown["remedy"]["en"]
    assert [each["id"] for each in (await relay.call("GET", "/v1/agents?state=degraded")).json()["items"]] == [
        agent["id"]
    ]
    assert (await relay.call("GET", "/v1/agents?state=online")).json()["items"] == []
    status = (await relay.call("GET", "/v1/status")).json()
    assert (status["agents"]["degraded"], status["agents"]["online"]) == (1, 0)
    assert [(each["id"], each["state"]) for each in status["worst"]] == [(agent["id"], "degraded")]


async def test_agents_are_searched_for(relay: Relay) -> None:
    """By a part of the name in any case, taken literally; by version; together with the state; in whole parts."""
    names = ("Lyon nord", "Lyon sud", "Paris", "100% bio", "1000 bio")
    made = {name: await relay.agent(name) for name in names}
    for name in ("Lyon nord", "Paris"):
        signed = Machine(made[name]["token"]).signed()
        assert (await relay.client.post(PATH, content=signed.body, headers=signed.headers)).status_code == 200
    relay.tunnel(made["Lyon sud"]["id"])

    async def found(query: str) -> list[str]:
        listed, cursor = [], ""
        while True:
            part = (await relay.call("GET", f"/v1/agents?limit=1&{query}{cursor}")).json()
            listed += [each["name"] for each in part["items"]]
            if part["next"] is None:
                return listed
            assert part["items"], "a part is empty although more follow"
            cursor = f"&cursor={part['next']}"

    assert await found("q=LYON") == ["Lyon nord", "Lyon sud"]
    assert await found("q=0%25") == ["100% bio"]
    assert await found("q=_") == []
    assert await found("state=offline") == ["Lyon nord", "Paris"]
    assert await found("state=never") == ["100% bio", "1000 bio"]
    assert await found("state=online") == ["Lyon sud"]
    assert await found("q=lyon&state=offline") == ["Lyon nord"]
    assert await found("version=9.9.9") == []
    versions = (await relay.call("GET", "/v1/status")).json()["versions"]
    (version,) = versions
    assert (versions[version], await found(f"version={version}")) == (2, ["Lyon nord", "Paris"])


async def test_agents_are_listed_by_name_in_parts(relay: Relay) -> None:
    """Following `next` shows each once."""
    for name in ("Paris", "Brest", "Lyon"):
        await relay.agent(name)
    first = (await relay.call("GET", "/v1/agents?limit=2")).json()
    second = (await relay.call("GET", "/v1/agents", params={"limit": 2, "cursor": first["next"]})).json()
    assert [agent["name"] for agent in first["items"] + second["items"]] == ["Brest", "Lyon", "Paris"]
    assert second["next"] is None


async def test_agents_in_one_state(relay: Relay) -> None:
    """`state` leaves out the others; `as=options` is what a drop-down takes."""
    online, _, revoked = await relay.agent("Lyon"), await relay.agent("Paris"), await relay.agent("Brest")
    relay.tunnel(online["id"])
    await relay.call("POST", f"/v1/agents/{revoked['id']}/revoke")

    async def names(query: str) -> list[str]:
        return [agent["name"] for agent in (await relay.call("GET", f"/v1/agents?{query}")).json()["items"]]

    assert await names("state=online") == ["Lyon"]
    assert await names("state=never") == ["Paris"]
    assert await names("state=revoked") == ["Brest"]
    assert await names("state=offline") == []
    options = await relay.call("GET", "/v1/agents?state=online&as=options")
    assert options.json() == [{"value": online["id"], "label": "Lyon"}]


async def test_options_go_beyond_one_part(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """All agents are options at once, however many parts the list has."""
    monkeypatch.setattr("relay.api.agents.LIMIT_MOST", 2)
    for number in range(5):
        await relay.agent(f"Shop {number}")
    options = (await relay.call("GET", "/v1/agents?as=options")).json()
    assert [option["label"] for option in options] == [f"Shop {number}" for number in range(5)]
    monkeypatch.setattr("relay.api.agents.OPTIONS_MOST", 3)
    assert len((await relay.call("GET", "/v1/agents?as=options")).json()) == 3


async def test_an_option_is_found_behind_many_that_are_none(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what fits counts against the most that are given."""
    monkeypatch.setattr("relay.api.agents.LIMIT_MOST", 1)
    monkeypatch.setattr("relay.api.agents.OPTIONS_MOST", 1)
    for number in range(4):
        last = await relay.agent(f"Shop {number}")
    relay.tunnel(last["id"])
    query = "/v1/agents?state=online&as=options"
    assert (await relay.call("GET", query)).json() == [{"value": last["id"], "label": "Shop 3"}]


async def test_instances_are_read_for_many_agents_at_once(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """More agents than go into one statement are still all looked up."""
    monkeypatch.setattr(overview, "IDS_AT_ONCE", 2)
    agents = [await relay.agent(f"Shop {number}") for number in range(5)]
    for agent in agents:
        relay.tunnel(agent["id"])
    shown = (await relay.call("GET", "/v1/agents")).json()["items"]
    assert [agent["state"] for agent in shown] == ["online"] * 5
    assert (await relay.call("GET", "/v1/status")).json()["agents"]["online"] == 5


async def test_a_name_is_taken_once_per_account(relay: Relay) -> None:
    """409 `name_taken` within the account, none of its business in another."""
    await relay.agent("Lyon")
    again = await relay.call("POST", "/v1/agents", {"name": "Lyon"})
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    await relay.agent("Lyon", as_="other")


async def test_an_agent_is_renamed_and_given_places(relay: Relay) -> None:
    """PATCH changes what it names and nothing else."""
    agent = await relay.agent("Lyon")
    path = f"/v1/agents/{agent['id']}"
    changed = await relay.call("PATCH", path, {"name": "Lyon 2"})
    assert (changed.json()["name"], changed.json()["places"]) == ("Lyon 2", 1)
    assert (await relay.call("PATCH", path, {"places": 3})).json()["name"] == "Lyon 2"
    assert (await relay.call("GET", path)).json()["places"] == 3
    assert (await relay.call("PATCH", path, {})).status_code == 200


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({}, "name"),
        ({"name": "Lyon", "places": 0}, "places"),
        ({"name": "Lyon", "places": 65}, "places"),
        ({"name": "Lyon", "places": "two"}, "places"),
        ({"name": "Lyon", "token_expires_at": 1}, "expires_at"),
        ({"name": "Lyon", "token_expires_at": 10**30}, "expires_at"),
        ({"name": "Lyon", "plaecs": 2}, "plaecs"),
    ],
)
@pytest.mark.one_database
async def test_values_that_cannot_be_taken_are_named(relay: Relay, form: dict[str, Any], field: str) -> None:
    """422 with the member's name, so that a form can show the message beside it."""
    answer = await relay.call("POST", "/v1/agents", form)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert [each["field"] for each in problem["errors"]] == [field]
    assert (await relay.call("GET", "/v1/agents")).json()["items"] == []


async def test_a_revoked_agent_stays_in_the_list(relay: Relay) -> None:
    """Its state says so, since when, and it gets no new token."""
    agent = await relay.agent()
    relay.tunnel(agent["id"])
    revoked = (await relay.call("POST", f"/v1/agents/{agent['id']}/revoke")).json()
    assert (revoked["state"], revoked["since"]) == ("revoked", revoked["revoked_at"])
    token = await relay.call("POST", f"/v1/agents/{agent['id']}/tokens", {})
    assert (token.status_code, token.json()["code"]) == (409, "agent_revoked")


async def test_changes_are_followed_at_once(relay: Relay) -> None:
    """Whoever cuts tunnels hears of a revocation without waiting for the next look at the database."""
    agent = await relay.agent()
    await asyncio.sleep(0.05)
    told = asyncio.Event()
    relay.parts.directory.subscribe(lambda batch: told.set() if any(each.revoked for each in batch) else None)
    await relay.call("POST", f"/v1/agents/{agent['id']}/revoke")
    async with asyncio.timeout(0.3):
        await told.wait()
    assert relay.parts.directory.revocations.is_revoked(agent["id"], "ins_x", "atk_x")


async def test_an_agent_in_use_is_not_deleted(relay: Relay) -> None:
    """409 `agent_in_use` while a connection names it; 204 and gone after that."""
    agent = await relay.agent()
    connection = await relay.connection(agent["id"])
    path = f"/v1/agents/{agent['id']}"
    kept = await relay.call("DELETE", path)
    assert (kept.status_code, kept.json()["code"]) == (409, "agent_in_use")
    await relay.call("DELETE", f"/v1/connections/{connection['id']}")
    gone = await relay.call("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await relay.call("GET", path)).status_code == 404


async def test_two_tokens_are_valid_at_once(relay: Relay) -> None:
    """A second to rotate to, no third until one is revoked; revoked ones stay in the list."""
    agent = await relay.agent()
    path = f"/v1/agents/{agent['id']}/tokens"
    second = await relay.made(path, {})
    assert AccessToken.parse(second["token"]).id == second["id"]
    third = await relay.call("POST", path, {})
    assert (third.status_code, third.json()["code"]) == (409, "two_tokens_valid")
    revoked = await relay.call("POST", f"{path}/{agent['token_id']}/revoke")
    assert revoked.json()["revoked_at"] is not None
    expiring = await relay.made(path, {"expires_at": int(relay.clock()) + 600})
    listed = (await relay.call("GET", path)).json()["items"]
    assert {token["id"] for token in listed} == {agent["token_id"], second["id"], expiring["id"]}
    assert all("token" not in token for token in listed)


async def test_an_operator_makes_agents_for_others(relay: Relay) -> None:
    """`account` in the form is an operator's; a manager's own account is all that it may name."""
    made = await relay.made("/v1/agents", {"name": "Lyon", "account": relay.other}, as_="operate")
    assert made["account"] == relay.other
    assert (await relay.call("GET", f"/v1/agents/{made['id']}", as_="other")).status_code == 200
    own = await relay.made("/v1/agents", {"name": "Lyon", "account": relay.account})
    assert own["account"] == relay.account
    foreign = await relay.call("POST", "/v1/agents", {"name": "Paris", "account": relay.other})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    seen = (await relay.call("GET", "/v1/agents", as_="operate")).json()["items"]
    assert {agent["account"] for agent in seen} == {relay.account, relay.other}
    one = (await relay.call("GET", f"/v1/agents?account={relay.other}", as_="operate")).json()["items"]
    assert [agent["id"] for agent in one] == [made["id"]]


async def test_a_name_is_no_address(relay: Relay) -> None:
    """Only ids are looked up: a name would mean different agents to different callers."""
    await relay.agent("Lyon")
    assert (await relay.call("GET", "/v1/agents/Lyon")).status_code == 404

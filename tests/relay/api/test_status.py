"""Everything at a glance, and who changed what."""

from __future__ import annotations

from agent.wire.enrolment import PATH
from tests.relay.api.scene import Relay
from tests.relay.api.test_enrolment import Machine


async def test_agents_are_counted_by_state(relay: Relay) -> None:
    """Each agent in exactly one state, connections and tunnels beside them."""
    online, offline, gone = await relay.agent("a"), await relay.agent("b"), await relay.agent("c")
    await relay.agent("d")
    for agent in (online, offline, gone):
        signed = Machine(agent["token"]).signed()
        await relay.client.post(PATH, content=signed.body, headers=signed.headers)
    await relay.call("POST", f"/v1/agents/{gone['id']}/revoke")
    relay.tunnel(online["id"], "ins_" + "b" * 16)
    relay.tunnel(online["id"], "ins_" + "c" * 16)
    relay.tunnel(offline["id"]).gone = True
    await relay.connection(online["id"])
    status = (await relay.call("GET", "/v1/status", as_="status")).json()
    assert status["agents"] == {"online": 1, "degraded": 0, "offline": 1, "never": 1, "revoked": 1}
    assert status["connections"] == 1
    listed = (await relay.call("GET", "/v1/agents")).json()["items"]
    assert [agent["state"] for agent in listed] == ["online", "offline", "revoked", "never"]


async def test_the_node_describes_itself(relay: Relay) -> None:
    """Its name, version and age, and what stands on it."""
    relay.tunnel((await relay.agent())["id"])
    node = (await relay.call("GET", "/v1/status")).json()["node"]
    assert 100 <= node.pop("uptime_seconds") < 130
    assert abs(node.pop("started_at") + 100 - relay.clock()) < 30
    assert node == {"name": "local", "version": "1.2.3", "tunnels": 1, "channels": 3}


async def test_an_agent_that_never_enrolled_may_still_be_online(relay: Relay) -> None:
    """A tunnel counts, whatever the database knows; the counts still add up."""
    relay.tunnel((await relay.agent())["id"])
    status = (await relay.call("GET", "/v1/status")).json()
    assert status["agents"] == {"online": 1, "degraded": 0, "offline": 0, "never": 0, "revoked": 0}


async def test_an_operator_sees_all_or_one(relay: Relay) -> None:
    """Over all accounts, or narrowed to one."""
    await relay.agent("a")
    relay.tunnel((await relay.agent("b", as_="other"))["id"])

    async def seen(query: str) -> tuple[int, int]:
        status = (await relay.call("GET", f"/v1/status{query}", as_="operate")).json()
        return sum(status["agents"].values()), status["node"]["tunnels"]

    assert await seen("") == (2, 1)
    assert await seen(f"?account={relay.account}") == (1, 0)
    assert await seen(f"?account={relay.other}") == (1, 1)


async def test_changes_are_on_record(relay: Relay) -> None:
    """Newest first, with the token that made them and where it came from; by subject if wanted."""
    agent = await relay.agent("Lyon")
    await relay.call("PATCH", f"/v1/agents/{agent['id']}", {"name": "Paris"})
    events = (await relay.call("GET", f"/v1/audit?subject={agent['id']}")).json()["items"]
    assert [event["action"] for event in events] == ["agent.update", "agent.create"]
    tokens = {token["name"]: token["id"] for token in (await relay.call("GET", "/v1/tokens")).json()["items"]}
    assert {event["actor"] for event in events} == {tokens["for manage"]}
    assert {event["source"] for event in events} == {"198.51.100.9"}
    assert events[0]["details"]["name"] == "Paris"
    part = (await relay.call("GET", "/v1/audit?limit=1")).json()
    rest = (await relay.call("GET", "/v1/audit", params={"cursor": part["next"]})).json()
    assert part["items"][0]["seq"] > rest["items"][0]["seq"]

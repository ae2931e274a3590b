"""Updates that must not undo another's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.relay.api.scene import Relay


async def editable(relay: Relay, kind: str) -> tuple[str, dict[str, str]]:
    """A record's path, and a change to it."""
    agent = await relay.agent()
    if kind == "agent":
        return f"/v1/agents/{agent['id']}", {"name": "changed"}
    if kind == "connection":
        return f"/v1/connections/{(await relay.connection(agent['id']))['id']}", {"name": "changed"}
    if kind == "token":
        made = await relay.made("/v1/tokens", {"name": "x", "scopes": ["status"]})
        return f"/v1/tokens/{made['id']}", {"name": "changed"}
    return f"/v1/accounts/{(await relay.made('/v1/accounts', {'name': 'x'}, as_='operate'))['id']}", {"name": "changed"}


KINDS = ["agent", "connection", "token", "account"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stale_tag_stops_the_change(relay: Relay, kind: str) -> None:
    """412 `edited_meanwhile` for PATCH and DELETE alike, and nothing happens; the new tag lets it through."""
    path, change = await editable(relay, kind)

    async def call(method: str, tag: str | None = None, body: Any = None) -> Any:
        return await relay.call(method, path, body, as_="operate", headers={"If-Match": tag} if tag else {})

    stale = (await call("GET")).headers["ETag"]
    first = await call("PATCH", stale, change)
    assert first.status_code == 200
    assert first.headers["ETag"] == (await call("GET")).headers["ETag"] != stale
    for method, body in (("PATCH", {"name": "again"}), ("DELETE", None)):
        answer = await call(method, stale, body)
        assert (answer.status_code, answer.json()["code"]) == (412, "edited_meanwhile")
        assert answer.json()["retryable"] is False
    assert (await call("GET")).json()["name"] == "changed"
    assert (await call("DELETE", first.headers["ETag"])).status_code == 204


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tag_is_optional(relay: Relay, kind: str) -> None:
    """Without one, or with `*`, the change is made to whatever is there."""
    path, change = await editable(relay, kind)
    assert (await relay.call("PATCH", path, change, as_="operate")).status_code == 200
    anything = await relay.call("PATCH", path, {"name": "more"}, as_="operate", headers={"If-Match": "*"})
    assert anything.status_code == 200


async def test_several_tags_and_weak_ones(relay: Relay) -> None:
    """One of a list is enough; a weak tag never matches (RFC 9110 §13.1.1)."""
    path, change = await editable(relay, "agent")
    tag = (await relay.call("GET", path)).headers["ETag"]
    weak = await relay.call("PATCH", path, change, headers={"If-Match": f"W/{tag}"})
    assert weak.status_code == 412
    listed = await relay.call("PATCH", path, change, headers={"If-Match": f'"0", {tag}'})
    assert listed.status_code == 200


async def test_a_tag_does_not_change_by_itself(relay: Relay) -> None:
    """An agent that comes and goes keeps its tag: only what is stored counts."""
    agent = await relay.agent()
    path = f"/v1/agents/{agent['id']}"
    before = (await relay.call("GET", path)).headers["ETag"]
    relay.tunnel(agent["id"])
    assert (await relay.call("GET", path)).headers["ETag"] == before


@pytest.mark.parametrize("kind", KINDS)
async def test_of_two_at_once_one_goes_through(relay: Relay, kind: str) -> None:
    """Two changes with the same tag: one is made, the other told."""
    path, _ = await editable(relay, kind)
    tag = (await relay.call("GET", path, as_="operate")).headers["ETag"]
    answers = await asyncio.gather(
        *(
            relay.call("PATCH", path, {"name": f"name {number}"}, as_="operate", headers={"If-Match": tag})
            for number in range(6)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]

"""Accounts over HTTP, for operators."""

from __future__ import annotations

from tests.relay.api.scene import Relay


async def test_accounts_come_and_go(relay: Relay) -> None:
    """Made, shown, renamed, listed by name, deleted."""
    made = await relay.made("/v1/accounts", {"name": "acme"}, as_="operate")
    path = f"/v1/accounts/{made['id']}"
    assert (await relay.call("GET", path, as_="operate")).json() == made
    renamed = await relay.call("PATCH", path, {"name": "zenith"}, as_="operate")
    assert renamed.json() == made | {"name": "zenith"}
    listed = (await relay.call("GET", "/v1/accounts", as_="operate")).json()["items"]
    assert [account["name"] for account in listed] == ["default", "other", "zenith"]
    assert (await relay.call("DELETE", path, as_="operate")).status_code == 204
    assert (await relay.call("GET", path, as_="operate")).status_code == 404


async def test_a_deleted_accounts_tokens_end(relay: Relay) -> None:
    """Nobody goes on in the name of an account that is gone."""
    assert (await relay.call("GET", "/v1/agents", as_="other")).status_code == 200
    assert (await relay.call("DELETE", f"/v1/accounts/{relay.other}", as_="operate")).status_code == 204
    await relay.changes_followed()
    assert (await relay.call("GET", "/v1/agents", as_="other")).status_code == 401


async def test_what_stands_in_the_way_is_named(relay: Relay) -> None:
    """409 with a code of its own for each reason."""
    await relay.agent(as_="other")

    async def code(method: str, account: str, body: object = None) -> tuple[int, str]:
        answer = await relay.call(method, f"/v1/accounts/{account}", body, as_="operate")
        return answer.status_code, answer.json()["code"]

    assert await code("DELETE", relay.other) == (409, "account_in_use")
    assert await code("DELETE", relay.account) == (409, "account_default")
    assert await code("PATCH", relay.account, {"name": "x"}) == (409, "account_default")
    assert await code("PATCH", relay.other, {"name": "default"}) == (409, "name_taken")
    assert await code("PATCH", "default", {"name": "x"}) == (404, "not_found")
    assert await code("PATCH", relay.other, {"name": " "}) == (422, "invalid")

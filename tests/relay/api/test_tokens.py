"""API tokens over HTTP: nobody hands out, or takes away, more than they have."""

from __future__ import annotations

from typing import Any

import pytest

from relay.database import uses
from relay.database.credentials import digest, new_api_token
from relay.records import Scope
from tests.relay.api.scene import Relay


async def test_a_new_token_works_at_once(relay: Relay) -> None:
    """Its text is shown once; the highest of its scopes counts."""
    made = await relay.made("/v1/tokens", {"name": "dashboards", "scopes": ["status", "read"]})
    assert (made["scope"], made["account"], made["revoked_at"]) == ("read", relay.account, None)
    relay.tokens["new"] = made["token"]
    assert (await relay.call("GET", "/v1/agents", as_="new")).status_code == 200
    shown = (await relay.call("GET", f"/v1/tokens/{made['id']}")).json()
    assert shown == {name: made[name] for name in made if name != "token"}


async def test_what_is_accepted_is_remembered_as_used(relay: Relay) -> None:
    """Its digest waits to be written down; that of a token that was refused does not."""
    made = await relay.made("/v1/tokens", {"name": "t", "scopes": ["status"]})
    relay.tokens["new"] = made["token"]
    assert digest(made["token"]) not in relay.parts.used
    assert (await relay.call("GET", "/v1/status", as_="new")).status_code == 200
    assert digest(made["token"]) in relay.parts.used
    relay.tokens["wrong"] = new_api_token().get_secret_value()
    assert (await relay.call("GET", "/v1/status", as_="wrong")).status_code == 401
    assert digest(relay.tokens["wrong"]) not in relay.parts.used
    await uses.note(relay.database, relay.parts.used, 1_800_000_000)
    assert (await relay.call("GET", f"/v1/tokens/{made['id']}")).json()["last_used_at"] == 1_800_000_000


async def test_a_revoked_token_ends_at_once(relay: Relay) -> None:
    """Also where it was remembered; it stays in the list."""
    made = await relay.made("/v1/tokens", {"name": "brief", "scopes": ["status"]})
    relay.tokens["brief"] = made["token"]
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 200
    revoked = await relay.call("POST", f"/v1/tokens/{made['id']}/revoke")
    assert revoked.json()["revoked_at"] is not None
    await relay.changes_followed()
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 401
    assert made["id"] in [token["id"] for token in (await relay.call("GET", "/v1/tokens")).json()["items"]]


async def test_a_deleted_token_ends_at_once(relay: Relay) -> None:
    """And is forgotten."""
    made = await relay.made("/v1/tokens", {"name": "brief", "scopes": ["status"]})
    relay.tokens["brief"] = made["token"]
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 200
    assert (await relay.call("DELETE", f"/v1/tokens/{made['id']}")).status_code == 204
    await relay.changes_followed()
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 401
    assert (await relay.call("GET", f"/v1/tokens/{made['id']}")).status_code == 404


async def test_a_token_is_renamed(relay: Relay) -> None:
    """PATCH takes a name and nothing else."""
    made = await relay.made("/v1/tokens", {"name": "brief", "scopes": ["status"]})
    path = f"/v1/tokens/{made['id']}"
    assert (await relay.call("PATCH", path, {"name": "long"})).json()["name"] == "long"
    assert (await relay.call("PATCH", path, {"name": "x", "scope": "operate"})).status_code == 422


@pytest.mark.parametrize("scope", [scope.value for scope in Scope])
async def test_a_scope_is_given_by_those_who_have_it(relay: Relay, scope: str) -> None:
    """A manager cannot make an operator."""
    form = {"name": "x", "scopes": ["status", scope]}
    answer = await relay.call("POST", "/v1/tokens", form)
    assert answer.status_code == (403 if scope == "operate" else 201)
    assert (await relay.call("POST", "/v1/tokens", form, as_="operate")).status_code == 201


@pytest.mark.parametrize(
    ("method", "end", "body"), [("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/revoke", None)]
)
async def test_an_operators_token_is_out_of_a_managers_reach(relay: Relay, method: str, end: str, body: Any) -> None:
    """A manager sees it, and can neither rename nor end it."""
    made = await relay.made("/v1/tokens", {"name": "root", "scopes": ["operate"]}, as_="operate")
    path = f"/v1/tokens/{made['id']}"
    answer = await relay.call(method, path + end, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await relay.call("GET", path)).json() == {name: made[name] for name in made if name != "token"}


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "scopes": ["status"] * 6}, "scopes"),
        ({"name": "", "scopes": ["status"]}, "name"),
        ({"name": "x", "scopes": ["status"], "expires_at": 0}, "expires_at"),
    ],
)
@pytest.mark.one_database
async def test_values_that_cannot_be_taken_are_named(relay: Relay, form: dict[str, Any], field: str) -> None:
    """422 with the member's name."""
    answer = await relay.call("POST", "/v1/tokens", form)
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])


async def test_an_operator_makes_tokens_for_others(relay: Relay) -> None:
    """The first token of a new account has to come from somewhere."""
    form = {"name": "first", "scopes": ["manage"], "account": relay.other}
    made = await relay.made("/v1/tokens", form, as_="operate")
    assert made["account"] == relay.other
    nobody = await relay.call("POST", "/v1/tokens", form | {"account": "acc_" + "a" * 16}, as_="operate")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")

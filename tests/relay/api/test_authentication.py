"""Who may ask: API tokens, and how far each scope reaches."""

from __future__ import annotations

import pytest

from relay.api.parts import Parts
from relay.database import tokens
from relay.database.credentials import new_api_token
from relay.records import Scope
from tests.relay.api.scene import BY, STORE_KEY, Relay

pytestmark = pytest.mark.one_database

UNKNOWN = "aaaaaaaaaaaaaaaa"
REACH = {
    Scope.STATUS: [
        "GET /v1/agents",
        "GET /v1/agents/{agent}",
        "GET /v1/agents/{agent}/tokens",
        "GET /v1/agents/{agent}/instances",
        "GET /v1/connections",
        "GET /v1/connections/{connection}",
        "GET /v1/connections/{connection}/triggers",
        "GET /v1/triggers/{trigger}",
        "GET /v1/alerts",
        "GET /v1/alerts/{alert}",
        "GET /v1/status",
    ],
    Scope.READ: [
        "GET /v1/connections/{connection}/actions/list-products",
        "GET /v1/connections/{connection}/actions/get-product",
        "GET /v1/connections/{connection}/actions/list-orders",
        "GET /v1/connections/{connection}/actions/get-order",
        "GET /v1/connections/{connection}/actions/list-customers",
        "GET /v1/connections/{connection}/actions/list-carts",
        "GET /v1/connections/{connection}/actions/order-states",
        "GET /v1/triggers/{trigger}/events",
        "GET /v1/triggers/{trigger}/dead-letters",
        "GET /v1/triggers/{trigger}/snapshot",
        "GET /v1/alerts/{alert}/events",
        "GET /v1/alerts/{alert}/dead-letters",
        "GET /v1/connections/{connection}/images/products/{product}/{image}",
        "GET /v1/connections/{connection}/images/products/{product}/{image}/{size}",
    ],
    Scope.FORWARD: ["POST /v1/connections/{connection}/actions/update-order-state"],
    Scope.MANAGE: [
        "POST /v1/agents",
        "PATCH /v1/agents/{agent}",
        "DELETE /v1/agents/{agent}",
        "POST /v1/agents/{agent}/revoke",
        "POST /v1/agents/{agent}/tokens",
        "POST /v1/agents/{agent}/tokens/{token}/revoke",
        "POST /v1/agents/{agent}/instances/{instance}/release",
        "POST /v1/agents/{agent}/instances/{instance}/revoke",
        "POST /v1/connections",
        "PATCH /v1/connections/{connection}",
        "DELETE /v1/connections/{connection}",
        "POST /v1/connections/test",
        "POST /v1/connections/{connection}/test",
        "POST /v1/connections/{connection}/access-keys",
        "POST /v1/connections/{connection}/access-keys/{key}/revoke",
        "POST /v1/connections/{connection}/triggers",
        "PATCH /v1/triggers/{trigger}",
        "DELETE /v1/triggers/{trigger}",
        "POST /v1/triggers/{trigger}/secrets",
        "POST /v1/triggers/{trigger}/run",
        "POST /v1/triggers/{trigger}/dead-letters/{event}/replay",
        "POST /v1/alerts",
        "PATCH /v1/alerts/{alert}",
        "DELETE /v1/alerts/{alert}",
        "POST /v1/alerts/{alert}/secrets",
        "POST /v1/alerts/{alert}/dead-letters/{event}/replay",
        "GET /v1/tokens",
        "POST /v1/tokens",
        "GET /v1/tokens/{token}",
        "PATCH /v1/tokens/{token}",
        "DELETE /v1/tokens/{token}",
        "POST /v1/tokens/{token}/revoke",
        "GET /v1/audit",
    ],
    Scope.OPERATE: [
        "GET /v1/accounts",
        "POST /v1/accounts",
        "GET /v1/accounts/{account}",
        "PATCH /v1/accounts/{account}",
        "DELETE /v1/accounts/{account}",
    ],
}
ELSEWHERE = {"GET /v1/events", "GET /metrics"}
"""For whoever may see the status; one has no end (tests/system/test_events.py), one is of all accounts together
(tests/relay/api/test_metrics.py)."""
OPERATIONS = [(operation, scope) for scope, operations in REACH.items() for operation in operations]


def concrete(path: str) -> str:
    """The path with ids that nobody has."""
    ids = {"agent": "agt", "connection": "con", "account": "acc", "token": "tok", "instance": "ins", "key": "key"}
    ids |= {"trigger": "trg", "event": "evt", "alert": "alr"}
    for name, prefix in ids.items():
        path = path.replace(f"{{{name}}}", f"{prefix}_{UNKNOWN}")
    return path


async def test_the_table_names_every_operation(relay: Relay) -> None:
    """What needs a token is exactly what the table of reach lists."""
    document = relay.surface.openapi()
    secured = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") == [{"api_token": []}]
    }
    assert secured == {operation for operation, _ in OPERATIONS} | ELSEWHERE


@pytest.mark.parametrize(("operation", "needed"), OPERATIONS)
async def test_a_scope_reaches_so_far(relay: Relay, operation: str, needed: Scope) -> None:
    """Every smaller scope is 403 `forbidden`, the needed one and those above it are let in."""
    method, path = operation.split()
    for scope in Scope:
        answer = await relay.call(method, concrete(path), as_=scope.value)
        if scope.allows(needed):
            assert answer.status_code not in {401, 403}, scope
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), scope


@pytest.mark.parametrize(("operation", "needed"), OPERATIONS)
async def test_nothing_is_done_without_a_token(relay: Relay, operation: str, needed: Scope) -> None:
    """401 with the challenge, before the body is looked at."""
    method, path = operation.split()
    answer = await relay.call(method, concrete(path), as_=None, content=b"{" * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic cHRrXw==",
        "Bearer ptk_",
        "Bearer ptk_" + "a" * 58,
        "Bearer " + "A" * 32,
        "Bearer ptk_\xe9",
        "Bearer  ",
        "Token x",
    ],
)
async def test_what_is_no_token_is_401(relay: Relay, shown: str) -> None:
    """Whatever the header holds, the answer is the same and tells nothing."""
    answer = await relay.client.get("/v1/status", headers={b"Authorization": shown.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_two_tokens_at_once_are_none(relay: Relay) -> None:
    """Two `Authorization` fields are ambiguous, even if one would do."""
    good = f"Bearer {relay.tokens['manage']}"
    both = [("Authorization", good), ("Authorization", good)]
    assert (await relay.client.get("/v1/status", headers=both)).status_code == 401


async def test_the_scheme_is_spelled_in_any_case(relay: Relay) -> None:
    """`bearer` is `Bearer` (RFC 9110 §11.1)."""
    answer = await relay.client.get("/v1/status", headers={"Authorization": f"bEARER {relay.tokens['status']}"})
    assert answer.status_code == 200


async def test_a_well_formed_token_that_nobody_has_is_401(relay: Relay) -> None:
    """Unknown and mistyped tokens answer alike."""
    unknown = await relay.client.get(
        "/v1/status", headers={"Authorization": f"Bearer {new_api_token().get_secret_value()}"}
    )
    mistyped = await relay.client.get("/v1/status", headers={"Authorization": f"Bearer {relay.tokens['manage'][:-1]}"})
    assert (unknown.status_code, unknown.content) == (401, mistyped.content)
    assert unknown.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_an_expired_token_is_401(relay: Relay) -> None:
    """From its second on."""
    at = int(relay.clock()) + 60
    new = await tokens.create(relay.database, relay.account, "brief", [Scope.STATUS], by=BY, expires_at=at)
    relay.tokens["brief"] = new.text.get_secret_value()
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 200
    relay.clock.ahead = 61
    assert (await relay.call("GET", "/v1/status", as_="brief")).status_code == 401


async def test_an_access_key_opens_nothing_here(relay: Relay) -> None:
    """A connection's access key works only under its own /to/."""
    made = await relay.connection((await relay.agent())["id"])
    for shown in (made["access_key"], STORE_KEY):
        answer = await relay.client.get("/v1/status", headers={"Authorization": f"Bearer {shown}"})
        assert answer.status_code == 401


async def test_a_database_that_is_away_is_not_401(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown tokens are 503 then, never refused; known ones are known still."""
    assert (await relay.call("GET", "/v1/status", as_="status")).status_code == 200
    relay.break_database(monkeypatch)
    answer = await relay.call("GET", "/v1/status", as_="forward")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    known = await relay.call("GET", "/v1/accounts", as_="status")
    assert known.status_code == 403


async def test_an_account_that_has_too_much_under_way_is_put_off(relay: Relay) -> None:
    """429 `account_busy` for that account alone, and only for as long as it lasts."""
    relay.parts.callers._each = 1
    with relay.parts.callers.one(relay.account):
        answer = await relay.call("GET", "/v1/status")
        assert (answer.status_code, answer.json()["code"]) == (429, "account_busy")
        assert (answer.headers["Retry-After"], answer.json()["retryable"]) == ("1", True)
        assert (await relay.call("GET", "/v1/status", as_="other")).status_code == 200
    assert (await relay.call("GET", "/v1/status")).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs"])
async def test_what_needs_no_token(relay: Relay, path: str) -> None:
    """Probes and developers need none, and a bad one does not hurt."""
    assert (await relay.call("GET", path, as_=None)).status_code == 200
    assert (await relay.client.get(path, headers={"Authorization": "Bearer nonsense"})).status_code == 200


def test_parts_do_not_print_what_they_hold(relay: Relay) -> None:
    """A logged `Parts` holds no secret."""
    assert isinstance(relay.parts, Parts)
    assert "PRIVATE KEY" not in repr(relay.parts)

"""Who may use a connection: credentials that are wrong, foreign, expired or too weak, and what each is told."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass

import pytest

from tests.system import caller
from tests.system.caller import Answer, basic, bearer
from tests.system.lan import DOMAIN, Lan
from tests.system.programs import eventually
from tests.system.road import Connection, Road, Shop

NOBODY = "con_aaaaaaaaaaaaaaaa"  # an id as ids are, of no connection
UNAUTHENTICATED = (401, "unauthenticated", "caller", "not_sent")
FORBIDDEN = (403, "forbidden", "caller", "not_sent")
WRITES = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """Another customer of the same relay, with an agent and a connection of its own."""

    account: str
    token: str
    agent: str
    connection: Connection


@pytest.fixture(scope="module")
def tenant(road: Road) -> Tenant:
    account = road.cli("accounts", "create", "other")["id"]
    _, token = road.new_token("manage", account=account)
    agent = road.new_agent(account=account)
    connection = road.connect(agent.id, f"http://{DOMAIN}", "T" * 32, account=account)
    return Tenant(account, token, agent.id, connection)


@pytest.fixture(scope="module")
def tokens(road: Road) -> dict[str, str]:
    """One API token of the account per scope."""
    return {scope: road.new_token(scope)[1] for scope in ("status", "read", "forward")}


def headers_of(answer: Answer) -> list[tuple[str, str]]:
    """All that could tell, so without the time and the request's own name."""
    return [(name, value) for name, value in answer.headers if name.lower() not in {"date", "postern-request"}]


def wrong_credentials(con: Connection, shop: Shop) -> dict[str, tuple[str, str]]:
    key = con.access_key
    return {
        "another key": basic("W" * 32),
        "empty": basic(""),
        "as password": basic("", key),
        "cut": basic(key[:-1]),
        "longer": basic(key + "A"),
        "lower case": basic(key.lower()),
        "a blank": basic(" " + key),
        "a NUL": basic(key + "\x00"),
        "the connection's id": basic(con.id),
        "the store's key": basic(shop.key),
        "key as Bearer": bearer(key),
        "another token": bearer("ptk_" + "a" * 58),
        "empty Bearer": bearer(""),
        "no base64": ("Authorization", "Basic not base64!"),
        "no text": ("Authorization", "Basic " + base64.b64encode(b"\xff\xfe").decode()),
        "Digest": ("Authorization", f"Digest {key}"),
        "no scheme": ("Authorization", key),
        "another field": ("X-Api-Key", key),
    }


def test_wrong_credentials(connection: Connection, shop: Shop) -> None:
    """Anything but the access key as Basic user is refused alike, and the store hears nothing of it."""
    before = shop.counts()["requests"]
    wrong = wrong_credentials(connection, shop)
    told = {name: connection.bare("/api/orders", headers=[header]).verdict for name, header in wrong.items()}
    assert told == dict.fromkeys(wrong, UNAUTHENTICATED)
    assert shop.counts()["requests"] == before


def test_an_access_key_opens_its_own_connection_only(road: Road, lan: Lan, connection: Connection) -> None:
    """The key of a sister connection of the same agent and store is as good as none."""
    sister = road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key)
    assert sister.ask("/api/orders?limit=1").status == 200
    assert connection.ask("/api/orders", key=sister.access_key).verdict == UNAUTHENTICATED
    assert connection.bare(f"/api/orders?ws_key={sister.access_key}").verdict == UNAUTHENTICATED


def test_as_with_prestashop_basic_wins_over_ws_key(connection: Connection) -> None:
    """A wrong Basic with a right `ws_key` is refused; a right Basic with a wrong one works."""
    assert connection.ask(f"/api/orders?ws_key={connection.access_key}", key="W" * 32).verdict == UNAUTHENTICATED
    assert connection.ask("/api/orders?ws_key=WRONG").status == 200
    assert connection.bare(f"/api/orders?ws_key={connection.access_key}").status == 200


def test_an_api_token_is_no_access_key(road: Road, connection: Connection, tokens: dict[str, str]) -> None:
    """A token works as Bearer only, and an access key on /to/ only."""
    assert connection.ask("/api/orders", key=tokens["forward"]).verdict == UNAUTHENTICATED
    assert connection.bare(f"/api/orders?ws_key={tokens['forward']}").verdict == UNAUTHENTICATED
    for credential in (bearer(connection.access_key), basic(connection.access_key)):
        assert road.ask("/v1/agents", headers=[credential]).json["code"] == "unauthenticated"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("credential", [None, basic("W" * 32), bearer("ptk_" + "a" * 58)], ids=str)
def test_a_stranger_cannot_tell_a_connection_from_none(
    connection: Connection, method: str, credential: tuple[str, str] | None
) -> None:
    """Without a good credential, an existing connection and an unknown one answer with the same bytes."""
    given = [credential] if credential else []
    nobody = Connection(NOBODY, "", connection.relay_port, "")
    known, unknown = (each.bare("/api/orders", method, given) for each in (connection, nobody))
    assert known.verdict == UNAUTHENTICATED
    assert (known.status, headers_of(known), known.body) == (unknown.status, headers_of(unknown), unknown.body)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_another_accounts_connection_answers_exactly_as_an_unknown_one(
    connection: Connection, tenant: Tenant, shop: Shop, method: str
) -> None:
    """A good token of another account: 404 for ours as for one that does not exist, byte for byte."""
    before = shop.counts()["requests"]
    nobody = Connection(NOBODY, "", connection.relay_port, "")
    ours, unknown = (each.ask("/api/orders", method, token=tenant.token) for each in (connection, nobody))
    assert ours.verdict == (404, "not_found", "caller", "not_sent")
    assert (ours.status, headers_of(ours), ours.body) == (unknown.status, headers_of(unknown), unknown.body)
    assert connection.ask("/api/orders", key=tenant.connection.access_key).verdict == UNAUTHENTICATED
    assert shop.counts()["requests"] == before


@pytest.mark.parametrize(
    "call",
    [
        ("GET", "/v1/agents/{agent}"),
        ("PATCH", "/v1/agents/{agent}"),
        ("DELETE", "/v1/agents/{agent}"),
        ("POST", "/v1/agents/{agent}/revoke"),
        ("POST", "/v1/agents/{agent}/tokens"),
        ("GET", "/v1/agents/{agent}/instances"),
        ("GET", "/v1/connections/{connection}"),
        ("PATCH", "/v1/connections/{connection}"),
        ("DELETE", "/v1/connections/{connection}"),
        ("POST", "/v1/connections/{connection}/access-keys"),
    ],
)
def test_ids_of_another_account_answer_exactly_as_unknown_ids(
    road: Road, lan: Lan, connection: Connection, tenant: Tenant, call: tuple[str, str]
) -> None:
    """On /v1 too: what belongs to somebody else does not exist."""
    method, path = call
    body = {"PATCH": {"name": "mine now"}, "POST": {}}.get(method)
    told = []
    for agent, con in ((lan.agent.entry.id, connection.id), ("agt_aaaaaaaaaaaaaaaa", NOBODY)):
        answer = road.api(method, path.format(agent=agent, connection=con), body, tenant.token)
        assert answer.status == 404, answer
        told.append(re.sub(rb"(agt|con)_[a-z2-7]{16}", b"ID", answer.body))
    assert told[0] == told[1]


def test_a_tenant_cannot_borrow_anothers_agent(road: Road, lan: Lan, tenant: Tenant) -> None:
    """A connection is not made with an agent of another account, named by its id or by its account."""
    form = {"name": "theft", "mode": "on-premise", "store_url": f"http://{DOMAIN}", "api_key": "K" * 32}
    for more in ({}, {"account": "default"}):
        answer = road.api("POST", "/v1/connections", {**form, "agent": lan.agent.entry.id, **more}, tenant.token)
        assert answer.status in {404, 422}, answer
    listed = road.api("GET", "/v1/connections", token=tenant.token).json["items"]
    assert [item["id"] for item in listed] == [tenant.connection.id]


@pytest.mark.parametrize("method", ["GET", "HEAD", *WRITES])
def test_scopes(connection: Connection, shop: Shop, tokens: dict[str, str], method: str) -> None:
    """`status` may nothing, `read` may GET and HEAD, `forward` everything; what is forbidden is not sent."""
    reads = method in {"GET", "HEAD"}
    tag = f"/api/nosuch?scope={method}"
    assert connection.ask(tag, method, token=tokens["status"]).verdict == FORBIDDEN
    read = connection.ask(tag, method, token=tokens["read"])
    assert (read.code is None) if reads else (read.verdict == FORBIDDEN)
    assert connection.ask(tag, method, token=tokens["forward"]).code is None
    assert len(shop.seen(tag)) == (2 if reads else 1)


@pytest.mark.parametrize(
    "target",
    [
        "/api/customers/1?ps_method=DELETE",
        "/api/customers/1?PS_METHOD=DELETE",
        "/api/customers/1?x=1&ps_method=DELETE",
        "/api/customers/1&ps_method=DELETE",
        "/api/customers/1?ps.method=DELETE",
        "/api/customers/1?ps+method=DELETE",
        "/api/customers/1?ps%20method=DELETE",
        "/api/customers/1?ps[method=DELETE",
        "/api/customers/1?ps%5Bmethod=DELETE",
        "/api/customers/1?%70%73%5f%6d%65%74%68%6f%64=DELETE",
        "/api/customers/1?%2570s_method=DELETE",
        "/api/customers/1%26ps_method=DELETE",
        "/api/customers/1%3Fps_method=DELETE",
        "/api/customers/1?+ps_method=DELETE",
        "/api/customers/1?%00ps_method=DELETE",
        "/api/customers?url=customers/1",
        "/api/orders?a=1&url=customers",
        "/api/orders&url=customers",
        "/api/orders?%75rl=customers",
        "/api/orders%26url=customers%2F1",
    ],
)
def test_a_reading_token_cannot_be_talked_into_writing(
    connection: Connection, shop: Shop, tokens: dict[str, str], target: str
) -> None:
    """No spelling of `ps_method` or `url` gets through with the scope `read`."""
    before = shop.counts()["requests"]
    answer = connection.ask(target, token=tokens["read"])
    assert answer.verdict in {FORBIDDEN, (400, "path_refused", "caller", "not_sent")}
    assert shop.counts()["requests"] == before


def test_scopes_on_the_typed_surface(road: Road, tokens: dict[str, str], tenant: Tenant) -> None:
    """Only `manage` may change things, only `operate` sees other accounts, nobody mints more than they have."""
    for scope in ("status", "read", "forward"):
        assert road.api("POST", "/v1/agents", {"name": f"by {scope}"}, tokens[scope]).status == 403
        assert road.api("GET", "/v1/agents", token=tokens[scope]).status == 200
    assert road.api("POST", "/v1/accounts", {"name": "third"}, tenant.token).status == 403
    more = road.api("POST", "/v1/tokens", {"name": "more", "scopes": ["operate"]}, tenant.token)
    assert more.status == 403, more
    events = road.api("GET", "/v1/agents", token=tenant.token).json["items"]
    assert [item["id"] for item in events] == [tenant.agent]


def test_an_expired_token_is_refused(road: Road, connection: Connection) -> None:
    """From the second on in which it expires."""
    _, token = road.new_token("forward", expires_at=int(time.time()) + 2)
    assert connection.ask("/api/orders?limit=1", token=token).status == 200
    eventually(
        "the token expires",
        lambda: connection.ask("/api/orders?limit=1", token=token).verdict == UNAUTHENTICATED,
        4.0,
    )


def test_what_needs_no_token_tells_nothing_of_tenants(road: Road, lan: Lan, connection: Connection) -> None:
    """Probes, the description and its page are open, and name neither agents, connections nor shops."""
    for path in ("/livez", "/readyz", "/openapi.json", "/docs"):
        answer = road.ask(path)
        assert answer.status == 200, answer
        for word in (lan.agent.entry.id, connection.id, DOMAIN, str(road.state_dir)):
            assert word.encode() not in answer.body
    for path in ("/v1/agents", "/v1/status", "/v1/connections", "/v1/tokens", "/v1/accounts", "/metrics", "/v1/nosuch"):
        assert road.ask(path).status in {401, 404}, path
    assert caller.ask(road.http_port, "GET", "/v1/status", [bearer("x")]).status == 401

"""Every way of saying no: one shape, no HTML, no traceback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from relay.api import bodies
from relay.api.problems import KINDS
from relay.database import agents, connections
from relay.database.errors import Conflict, DatabaseUnusable
from relay.database.secrets import DoesNotOpen, Place
from tests.relay.api.scene import Relay

pytestmark = pytest.mark.one_database

STANDARD = {"type", "title", "status", "detail", "code", "origin", "retryable"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem, checked for what all problems have in common."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    members: dict[str, Any] = answer.json()
    assert set(members) >= STANDARD
    assert members["status"] == status
    assert members["type"] == f"/docs#problem-{code}"
    assert "<" not in answer.text
    assert "Traceback" not in answer.text
    return members


async def raw(relay: Relay, body: bytes, content_type: str | None = "application/json") -> httpx.Response:
    headers = {"Authorization": f"Bearer {relay.tokens['manage']}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return await relay.client.post("/v1/agents", content=body, headers=headers)


async def test_unknown_addresses_are_404(relay: Relay) -> None:
    """As a problem, with or without a token, whatever the path holds."""
    for path in ("/", "/v1", "/v1/", "/v1/agents/", "/v2/agents", "/v1/agents/agt_x/", "/%3Cscript%3E", "/docs/x"):
        assert problem(await relay.call("GET", path, as_=None), 404, "not_found")
    long = await relay.call("GET", "/" + "x" * 5000, as_=None)
    assert len(problem(long, 404, "not_found")["detail"]) < 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/agents", "GET, POST"),
        ("POST", "/v1/agents/agt_x", "GET, PATCH, DELETE"),
        ("GET", "/v1/agents/agt_x/revoke", "POST"),
        ("GET", "/v1/agent/enrolment", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET"),
    ],
)
async def test_wrong_methods_are_405(relay: Relay, method: str, path: str, allowed: str) -> None:
    """With all that the address takes in `Allow` (RFC 9110 §15.5.6)."""
    answer = await relay.call(method, path)
    assert problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": 1e', b"\x00"])
async def test_what_is_not_json_is_400(relay: Relay, body: bytes) -> None:
    """Truncated, badly encoded or absurdly deep: the body cannot be read."""
    assert problem(await raw(relay, body), 400, "malformed")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "json", "*/*"])
async def test_what_is_not_called_json_is_415(relay: Relay, content_type: str | None) -> None:
    """A cross-site form can send no `application/json`."""
    assert problem(await raw(relay, b'{"name": "x"}', content_type), 415, "not_json")


async def test_json_is_called_so_in_several_ways(relay: Relay) -> None:
    """Parameters and case do not matter."""
    assert (await raw(relay, b'{"name": "x"}', "Application/JSON; charset=utf-8")).status_code == 201


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"7", b"NaN"])
async def test_json_that_is_no_form_is_422(relay: Relay, body: bytes) -> None:
    """Readable, and not what is wanted."""
    members = problem(await raw(relay, body), 422, "invalid")
    assert [each["field"] for each in members["errors"]] == ["body"]


async def test_an_odd_members_name_is_repeated_in_part(relay: Relay) -> None:
    """Half a character, or a very long name, does not break the answer."""
    for name in ("\\ud800", "x" * 5000, "<script>"):
        answer = await raw(relay, f'{{"name": "x", "{name}": 1}}'.encode())
        assert answer.status_code == 422
        assert len(answer.content) < 1000


async def test_many_mistakes_are_named_in_part(relay: Relay) -> None:
    """An answer complains of at most twenty values."""
    body = "{" + ", ".join(f'"m{number}": 1' for number in range(1000)) + "}"
    assert len(problem(await raw(relay, body.encode()), 422, "invalid")["errors"]) == 20


async def test_large_bodies_are_413(relay: Relay) -> None:
    """Declared or not, 1 MiB is the end, and what is declared is not read."""
    assert problem(await raw(relay, b" " * (bodies.BODY_BYTES + 1)), 413, "body_too_large")
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 65536
            yield b" " * 65536

    headers = {"Authorization": f"Bearer {relay.tokens['manage']}", "Content-Type": "application/json"}
    chunked = await relay.client.post("/v1/agents", content=endless(), headers=headers)
    assert problem(chunked, 413, "body_too_large")
    assert read <= bodies.BODY_BYTES + 2 * 65536
    read = 0
    declared = headers | {"Content-Length": str(bodies.BODY_BYTES + 1)}
    assert problem(await relay.client.post("/v1/agents", content=endless(), headers=declared), 413, "body_too_large")
    assert read <= 65536


async def test_a_body_that_stops_coming_is_400(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow sender keeps no place beyond the deadline."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/agents",
        "raw_path": b"/v1/agents",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {relay.tokens['manage']}".encode())],
        "client": ("198.51.100.9", 1),
        "server": ("relay.example.com", 443),
        "scheme": "https",
    }
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    await relay.surface(scope, receive, send)
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=" + "x" * 2000])
async def test_bad_cursors_and_limits_are_422(relay: Relay, query: str) -> None:
    """Named as what they are."""
    members = problem(await relay.call("GET", f"/v1/agents?{query}"), 422, "invalid")
    assert [each["field"] for each in members["errors"]] == [query.partition("=")[0]]


async def test_a_fault_is_500_without_a_trace(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is the log's business."""

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret of /root/.ssh")

    monkeypatch.setattr(agents, "page", broken)
    answer = await relay.call("GET", "/v1/agents")
    members = problem(answer, 500, "relay_fault")
    assert (members["origin"], members["retryable"]) == ("relay", False)
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "error",
    [DatabaseUnusable("cannot read the key file /etc/x"), DoesNotOpen(Place("connections", "con_x", "key_sealed", ()))],
)
async def test_faults_of_keys_and_files_stay_in_the_log(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """500, and not a word about paths and keys."""

    async def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(agents, "page", broken)
    answer = await relay.call("GET", "/v1/agents")
    assert problem(answer, 500, "relay_fault")
    assert "/etc" not in answer.text
    assert "sealed" not in answer.text


async def test_a_database_that_is_away_is_503(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `Retry-After`, and known callers known still."""
    await relay.call("GET", "/v1/status")
    relay.break_database(monkeypatch)
    answer = await relay.call("GET", "/v1/agents")
    members = problem(answer, 503, "database_unavailable")
    assert (members["origin"], members["retryable"]) == ("relay", True)
    assert answer.headers["Retry-After"] == "5"


async def test_a_conflict_keeps_its_own_code(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the table does not know the code; a code of another status never changes the status."""

    def refusing(code: str) -> Any:
        async def refuse(*_: Any, **__: Any) -> None:
            raise Conflict(code, "not now")

        return refuse

    for code in ("quite_new", "not_found", "instance_revoked"):
        monkeypatch.setattr(agents, "page", refusing(code))
        answer = await relay.call("GET", "/v1/agents")
        assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_types_lead_to_an_explanation(relay: Relay) -> None:
    """Each problem's `type` is an anchor on the page at /docs."""
    page = (await relay.call("GET", "/docs", as_=None)).text
    for kind in KINDS.values():
        assert f'id="{kind.type.partition("#")[2]}"' in page


def test_the_table_is_consistent() -> None:
    """Whatever says when to come back says that it helps, and 503 always does."""
    for kind in KINDS.values():
        assert kind.code.isidentifier()
        assert kind.code == kind.code.lower()
        assert kind.retryable or kind.retry_after is None
        assert kind.retry_after is not None or kind.status != 503


async def test_a_store_key_that_no_longer_opens_is_asked_for_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of its connection says what to do: 409, in words."""

    async def broken(*_: Any, **__: Any) -> None:
        raise DoesNotOpen(Place("connections", "con_x", "key_sealed", ()))

    agent = (await relay.call("POST", "/v1/agents", json={"name": "Keys"})).json()
    made = await relay.connection(agent["id"], "Keys")
    monkeypatch.setattr(connections, "load", broken)
    answer = await relay.call("POST", f"/v1/connections/{made['id']}/test")
    assert "api_key" in problem(answer, 409, "store_key_lost")["detail"]

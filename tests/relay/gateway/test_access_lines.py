"""The line that is left of a request under /to/."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay import request_ids
from relay.access_log import AccessLog, Which, tell
from relay.log_stream import PIECE_BYTES
from tests.relay.gateway.scene import ACCESS_KEY, API, ID, STORE_KEY, Scene, basic, request
from tests.relay.gateway.store import OK, Visit, answering, silent
from tests.relay.gateway.test_retries import lost

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def logged(scene: Scene, which: Which = "all") -> list[dict[str, Any]]:
    """Where the lines of a scene come as they are written."""
    found: list[dict[str, Any]] = []

    def put(line: str) -> None:
        assert line.endswith("\n")
        assert line.count("\n") == 1
        assert len(line) < PIECE_BYTES
        found.append(json.loads(line))

    log = AccessLog(which, put, clock=lambda: 1_795_000_000.25)
    scene.gateway.on_over, scene.gateway.on_refused = log.over, log.refused
    return found


async def one(scene: Scene, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The only line that there is, or soon will be."""
    await scene.until(lambda: lines)
    assert len(lines) == 1
    return lines[0]


async def test_an_answered_request(scene: Scene) -> None:
    """Who asked for what of whom, what it was answered with, how much went through, and how long each hop took."""
    lines = logged(scene)

    async def behave(visit: Visit) -> None:
        await visit.request()
        scene.clock.forward(2)
        visit.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n")
        await scene.until(lambda: next(iter(scene.gateway._entered)).first_at)
        scene.clock.forward(1)
        visit.send(b"nope!")

    scene.store.behave = behave
    scene.route.open_gate.clear()
    client = await scene.client()
    trace = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
    client.send(request(trace, "Content-Length: 3", method="PUT", target=f"{API}/orders/7?x=SECRET", body=b"abc"))
    await scene.until(lambda: scene.route.waiting)
    scene.clock.forward(4)
    scene.route.open_gate.set()
    assert (await client.answer()).status == 404
    line = await one(scene, lines)
    assert line.pop("request").startswith("req_")
    assert line == {
        "event": "request",
        "level": "info",
        "timestamp": "2026-11-18T11:06:40.250Z",
        "method": "PUT",
        "connection": ID,
        "path": "/api/orders/7",
        "status": 404,
        "account": "acc_one",
        "agent": "agt_one",
        "waited_ms": 4000.0,
        "store_ms": 2000.0,
        "trace": TRACE,
        "bytes_in": 3,
        "bytes_out": 5,
        "total_ms": 7000.0,
    }


async def test_a_failed_request_has_the_answers_own_id(scene: Scene) -> None:
    """With code, origin and outcome as the connector was told them."""
    lines = logged(scene)
    scene.store.behave = lost(2)
    failed = await scene.ask()
    line = await one(scene, lines)
    assert line["request"] == (failed.value("Postern-Request") or b"").decode()
    assert (line["status"], line["code"], line["origin"]) == (None, "store_closed_early", "store")
    assert (line["outcome"], line["retried"]) == ("sent_unknown", True)


@pytest.mark.parametrize("auth", [None, basic("WRONGKEYWRONGKEYWRONGKEYWRONGKEY")])
async def test_a_request_that_is_not_let_in(scene: Scene, auth: str | None) -> None:
    """Has a line without account: whose it is nobody knows."""
    lines = logged(scene)
    assert (await scene.ask(auth=auth)).status == 401
    line = await one(scene, lines)
    assert (line["code"], line["connection"]) == ("unauthenticated", ID)
    assert "account" not in line


@pytest.mark.parametrize(
    "asked",
    [{"target": f"{API}/../x"}, {"target": f"/to/{ID}/admin/{ACCESS_KEY}"}],
)
async def test_a_request_that_goes_nowhere(scene: Scene, asked: dict[str, str]) -> None:
    """Is named in answer and line, and its address is not repeated."""
    lines = logged(scene)
    answer = await scene.ask(**asked)
    line = await one(scene, lines)
    assert line["request"] == (answer.value("Postern-Request") or b"").decode()
    assert (line["path"], line["origin"], line["outcome"]) == (None, "caller", "not_sent")
    assert ACCESS_KEY not in json.dumps(line)


async def test_what_is_no_request_has_an_id_and_no_line(scene: Scene) -> None:
    """It was answered; there is nothing to say of it."""
    lines = logged(scene)
    client = await scene.client()
    client.send(b"rubbish\r\n\r\n")
    answer = await client.answer()
    assert answer.status == 400
    assert (answer.value("Postern-Request") or b"").startswith(b"req_")
    assert lines == []
    assert scene.gateway.traffic.refused["malformed", "caller"] == 1


async def test_a_body_that_ends_badly_counts_once(scene: Scene) -> None:
    """The request had become an exchange: it is one line and one error, with the answer's id."""
    lines = logged(scene)
    scene.store.behave = silent
    client = await scene.client()
    client.send(request("Transfer-Encoding: chunked", method="POST") + b"zz\r\n")
    answer = await client.answer()
    line = await one(scene, lines)
    assert line["request"] == (answer.value("Postern-Request") or b"").decode()
    assert line["code"] == "malformed"
    assert scene.gateway.traffic.refused == {}


async def test_a_connector_that_left(scene: Scene) -> None:
    """Is told from one that was answered."""
    lines = logged(scene)
    scene.store.behave = silent
    client = await scene.client()
    client.send(request())
    await scene.until(lambda: scene.store.received)
    client.leave()
    line = await one(scene, lines)
    assert (line["left"], line["status"]) == (True, None)
    assert "code" not in line


async def test_later_requests_on_a_channel(scene: Scene) -> None:
    """Name the one for which it was opened, which the agent knows."""
    lines = logged(scene)
    scene.store.behave = answering(OK)
    client = await scene.client()
    for _ in range(3):
        await client.ask()
    first, second, third = lines
    assert "channel_of" not in first
    assert second["channel_of"] == third["channel_of"] == first["request"]
    assert len({line["request"] for line in lines}) == 3


@pytest.mark.parametrize(("which", "codes"), [("all", 3), ("failed", 2), ("none", 0)])
async def test_which_requests_have_lines(scene: Scene, which: Which, codes: int) -> None:
    """`failed`: not what was answered, whatever the store said below 500."""
    lines = logged(scene, which)
    scene.store.behave = answering(OK)
    assert (await scene.ask()).status == 200
    assert (await scene.ask(auth=None)).status == 401
    assert (await scene.ask(target=f"/to/{ID}/admin")).status == 400
    assert len(lines) == codes


async def test_a_key_at_the_end_of_what_is_looked_at_is_not_repeated_either(scene: Scene) -> None:
    """A path is cut before it is looked through; not in the middle of a key."""
    lines = logged(scene)
    await scene.ask(target=f"{API}/{'x' * 763}/{STORE_KEY}")
    assert STORE_KEY[:8] not in (await one(scene, lines))["path"]


async def test_nothing_that_may_be_a_key_is_repeated(scene: Scene) -> None:
    """Query, `ws_key` in the path, and any part of a path of 32 characters or more; the line stays short and JSON."""
    lines = logged(scene)
    scene.store.behave = answering(OK)
    wild = "%22%0x,\"'<é>{}"
    for target in (
        f"{API}/products?ws_key={ACCESS_KEY}",
        f"{API}/products&ws_key={ACCESS_KEY}",
        f"{API}/x/{STORE_KEY}",
        f"{API}/x={STORE_KEY}",
        f"{API}/{'a' * 15_000}",
        f"{API}/{'a/' * 7_000}",
        f"{API}/{wild.encode().decode('latin-1')}".replace("é", "e"),
    ):
        await scene.ask(target=target)
    await scene.ask(method="M" * 1000)
    told = json.dumps(lines)
    assert ACCESS_KEY not in told
    assert STORE_KEY not in told
    assert [line["path"] for line in lines[:4]] == ["/api/products", "/api/products", "/api/x/…", "/api/…"]


def test_people_read_the_line_as_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal it is said in the ordinary log's own form."""
    tell('{"event":"request","level":"info","timestamp":"x","request":"req_1","path":"/api","status":200}\n')
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "request" in said
    assert "/api" in said
    assert "{" not in said


async def test_an_exchange_of_the_relays_own_bears_the_request_that_needs_it(scene: Scene) -> None:
    """While a request to the typed surface is served, what is asked of stores for it has its id."""
    from relay.gateway.call import call  # noqa: PLC0415 - for this alone

    lines = logged(scene)
    scene.store.behave = answering(OK)
    connection = scene.directory.connections[ID]
    with request_ids.naming(7):
        await call(scene.gateway, connection, "/api/products", limit=10_000, deadline=5)
    await call(scene.gateway, connection, "/api/products", limit=10_000, deadline=5)
    assert lines[0]["request"] == "req_0000000000000007"
    assert lines[1]["request"] != lines[0]["request"]

"""`/metrics` on the main listener, its size and time, and the name that every request has."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from relay.access_log import AccessLog
from relay.api import metrics
from relay.database import agents, figures
from relay.gateway.errors import FAILURES, GatewayError
from relay.gateway.gateway import Gateway
from relay.gateway.holding import Holding
from relay.gateway.routes import Routes
from relay.metrics.loop_lag import LoopLag
from relay.metrics.node import Figures
from tests.relay.api.scene import BY, Relay

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def gateway(relay: Relay) -> Gateway:
    """The relay's figures, told."""
    made = Gateway(relay.parts.directory, Routes(relay.parts.registry), time.monotonic)
    metrics.measure(relay.parts, gateway=made, holding=Holding(), lag=LoopLag())
    return made


def values(text: str) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in read_text(text) for s in family.samples}


@pytest.mark.parametrize(
    ("as_", "status"), [(None, 401), ("status", 200), ("manage", 200), ("operate", 200), ("other", 403)]
)
async def test_who_may_read_the_figures_of_all(relay: Relay, gateway: Gateway, as_: str | None, status: int) -> None:
    """Whoever operates, and the operator's own account `default`; no customer, whatever their scope."""
    answer = await relay.call("GET", "/metrics", as_=as_)
    assert answer.status_code == status
    assert (await relay.call("HEAD", "/metrics", as_=as_)).status_code == status
    if status == 403:
        assert answer.json()["code"] == "forbidden"


async def test_agents_by_state_and_events_that_wait(
    relay: Relay, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the database knows them, less those who are here."""
    made = await relay.agent("here")
    await relay.agent("never")
    await agents.revoke(relay.database, relay.account, (await relay.agent("gone"))["id"], by=BY)
    relay.tunnel(made["id"], "agk_stock")
    told = values((await relay.call("GET", "/metrics", as_="status")).text)
    states = {
        state: told["postern_relay_agents", state] for state in ("online", "degraded", "offline", "never", "revoked")
    }
    assert states == {"online": 1, "degraded": 0, "offline": 0, "never": 1, "revoked": 1}
    assert told["postern_relay_deliveries", "waiting"] == 0
    assert told["postern_relay_agents_connected",] == 1
    (tunnel,) = relay.parts.registry.of(made["id"])
    monkeypatch.setattr(tunnel, "silent", True)
    told = values((await relay.call("GET", "/metrics", as_="status")).text)
    assert (told["postern_relay_agents", "online"], told["postern_relay_agents", "degraded"]) == (0, 1)
    counted: Figures = await figures.figures(relay.database)
    assert (counted.never, counted.revoked, counted.dead) == (2, 1, 0)


@pytest.mark.one_database
async def test_the_database_may_be_away(relay: Relay, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just then metrics are wanted: all the rest is told."""
    assert (await relay.call("GET", "/metrics", as_="status")).status_code == 200
    relay.break_database(monkeypatch)
    monkeypatch.setattr(relay.parts.metrics, "_looked_at", float("-inf"))
    answer = await relay.call("GET", "/metrics", as_="status")
    assert answer.status_code == 200
    assert "postern_relay_agents{" not in answer.text
    assert "postern_relay_agents_connected 0.0" in answer.text


@pytest.mark.one_database
async def test_a_scrape_is_as_long_for_thousands_as_for_one(relay: Relay, gateway: Gateway) -> None:
    """10,000 agents, connections and failures of every kind: the same lines, in a tenth of a second."""
    few = (await relay.parts.metrics.page()).body
    for number in range(10_000):
        relay.tunnel(f"agt_{number}", f"ins_{number}")
        connection: Any = SimpleNamespace(id=f"con_{number}", agent=f"agt_{number}", account=f"acc_{number}")
        traffic = gateway.traffic.of(connection)
        traffic.note(exchange(number))
        relay.parts.enrolled["enrolled"] += 1
        relay.parts.surface.note(200, 0.001)
    gateway.traffic.refuse(GatewayError("unauthenticated"))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        many = (await relay.parts.metrics.page()).body
        seconds.append(time.perf_counter() - began)
    assert names(many) == names(few)
    assert len(many) < len(few) + 2000
    assert min(seconds) < 0.1
    told = values(many.decode())
    assert told["postern_relay_requests_total", "2xx"] == 10_000
    assert told["postern_relay_request_duration_seconds_count",] == 10_000
    assert told["postern_relay_request_errors_total", "unauthenticated", "caller"] == 1
    assert told["postern_relay_agents_connected",] == 10_000
    assert values((await relay.parts.metrics.page()).body.decode())["postern_relay_requests_total", "2xx"] == 10_000


def names(text: bytes) -> list[bytes]:
    """Every sample's name and labels."""
    return [line.rpartition(b" ")[0] for line in text.splitlines() if not line.startswith(b"#")]


def exchange(number: int) -> Any:
    codes = list(FAILURES)
    return SimpleNamespace(
        status=200, bytes_in=0, bytes_out=2000, began=0.0, ended=time.monotonic(), left=False, retried=False,
        error=GatewayError(codes[number % len(codes)]) if number % 2 else None,
    )  # fmt: skip


@pytest.mark.one_database
async def test_enrolments_are_counted_by_what_came_of_them(relay: Relay, gateway: Gateway) -> None:
    """A refusal by its code."""
    assert (await relay.client.post("/v1/agent/enrolment", content=b"rubbish")).status_code == 400
    told = values((await relay.call("GET", "/metrics", as_="status")).text)
    assert told["postern_relay_enrolments_total", "request_invalid"] == 1
    assert told["postern_relay_enrolments_total", "enrolled"] == 0


@pytest.mark.one_database
async def test_every_answer_names_its_request(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good ones, refusals and faults, each with a name of its own; the line about it has the same."""
    lines: list[dict[str, Any]] = []
    log = AccessLog("all", lambda line: lines.append(json.loads(line)))
    object.__setattr__(relay.parts, "access_log", log)

    def fails() -> None:
        raise RuntimeError

    relay.surface.add_api_route("/v1/broken", fails)
    asked = [("GET", "/v1/agents"), ("GET", "/v1/agents/agt_aaaaaaaaaaaaaaaa"), ("GET", "/nosuch/SECRET"),
             ("PUT", "/v1/agents"), ("GET", "/v1/broken"), ("POST", "/v1/agents")]  # fmt: skip
    answers = [await relay.call(*each, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}) for each in asked]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 405, 500, 422]
    assert [line["request"] for line in lines] == [answer.headers["postern-request"] for answer in answers]
    assert len({line["request"] for line in lines}) == len(asked)
    assert [line["status"] for line in lines] == [answer.status_code for answer in answers]
    assert lines[1]["path"] == "/v1/agents/{agent}"
    assert "SECRET" not in json.dumps(lines)
    assert {line["trace"] for line in lines} == {TRACE}
    assert lines[0]["account"] == relay.account
    assert lines[0]["caller"].startswith("tok_")
    assert relay.parts.surface.answers[4] == 4
    assert relay.parts.surface.answers[5] == 1


@pytest.mark.one_database
async def test_probes_fill_no_log(relay: Relay) -> None:
    """They come every few seconds; one that fails has its line."""
    lines: list[str] = []
    object.__setattr__(relay.parts, "access_log", AccessLog("all", lines.append))
    for _ in range(3):
        assert (await relay.call("GET", "/livez", as_=None)).status_code == 200
        assert (await relay.call("GET", "/readyz", as_=None)).status_code == 200
    assert lines == []
    relay.readiness["database"] = "away"
    assert (await relay.call("GET", "/readyz", as_=None)).status_code == 503
    assert len(lines) == 1

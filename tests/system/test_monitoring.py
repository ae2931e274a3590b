"""What an operator's tools see of a real relay and a real agent: metrics, rules, the dashboard, and log lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from relay.alert_records import AlertKind
from relay.metrics.node import EVENTS
from tests.system import caller
from tests.system.caller import Answer, bearer
from tests.system.programs import HOST, ROOT, eventually, free_ports
from tests.system.promtool import lint, promtool
from tests.system.road import Agent, Connection, NewRoad, Road, Shop

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "postern-relay.json"
ABSENT = {"postern_relay_certificate_expiry_timestamp_seconds"}  # where TLS is not the relay's
PROMETHEUS_OWN = {"up"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Watched:
    road: Road
    shop: Shop
    doomed: Shop
    agent: Agent
    connection: Connection
    metrics_port: int
    agent_port: int

    def scrape(self, accept: str = "") -> Answer:
        answer = caller.ask(self.metrics_port, "GET", "/metrics", [("Accept", accept)] if accept else [])
        assert answer.status == 200
        return answer

    def value(self, name: str, **labels: str) -> float:
        """The one sample of that name with these labels."""
        found = [
            sample.value
            for family in read_text(self.scrape().body.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) == 1, (name, labels, found)
        return float(found[0])

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """Lines of the relay's log with these fields; the access log comes in batches."""
        return said(self.road.relay.log, **fields)

    def line(self, **fields: Any) -> dict[str, Any]:
        return eventually(f"a line with {fields}", lambda: self.lines(**fields))[0]


def said(log: Path, **fields: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [line for line in lines if fields.items() <= line.items()]


@pytest.fixture(scope="module")
def watched(new_road: NewRoad) -> Iterator[Watched]:
    """A relay and an agent with metrics ports of their own, and some traffic through both."""
    metrics_port, agent_port = free_ports(2)
    road = new_road("watched", settings=["--metrics-http", f"{HOST}:{metrics_port}"])
    shop = road.start_shop("--domain", "shop.test")
    doomed = road.start_shop("--domain", "doomed.test")
    stores = [f"http://shop.test={HOST}:{shop.port}", f"http://doomed.test={HOST}:{doomed.port}"]
    agent = road.start_agent(road.new_agent("Lyon"), stores, options=["--metrics-http", f"{HOST}:{agent_port}"])
    connection = road.connect(agent.entry.id, "http://shop.test", shop.key)
    for _ in range(3):
        assert connection.ask("/api/products").status == 200
    assert connection.ask("/api/nosuch").status >= 400
    assert connection.ask("/api", key="X" * 32).status == 401
    yield Watched(road, shop, doomed, agent, connection, metrics_port, agent_port)
    road.close()


def test_the_figures_are_of_what_happened(watched: Watched) -> None:
    """Answers by class, errors by code and origin, durations, tunnels, channels, agents, enrolments, the database."""
    assert watched.value("postern_relay_requests_total", answer="2xx") >= 3
    assert watched.value("postern_relay_requests_total", answer="5xx") == 0
    assert watched.value("postern_relay_request_errors_total", code="unauthenticated", origin="caller") >= 1
    assert watched.value("postern_relay_request_duration_seconds_count") >= 4
    assert watched.value("postern_relay_answer_bytes_total") > 100
    eventually("both tunnels", lambda: watched.value("postern_relay_tunnels", transport="tcp") >= 1)
    assert watched.value("postern_relay_agents_connected") == 1
    assert watched.value("postern_relay_enrolments_total", result="enrolled") >= 1
    assert watched.value("postern_relay_database_up") == 1
    assert watched.value("postern_relay_database_silence_seconds") < 5
    assert watched.value("postern_relay_event_loop_lag_seconds_count") > 0
    assert watched.value("process_resident_memory_bytes") > 10_000_000
    eventually("the agent is counted", lambda: watched.value("postern_relay_agents", state="online") == 1, 30)


def test_both_formats_satisfy_their_judges(watched: Watched) -> None:
    """promtool finds nothing to say of the text format, of relay and agent; OpenMetrics can be read strictly."""
    text = watched.scrape()
    assert (text.header("Content-Type") or "").startswith("text/plain; version=0.0.4")
    assert lint(text.body.decode()) == ""
    agents = caller.ask(watched.agent_port, "GET", "/metrics").body.decode()
    assert lint(agents) == ""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    openmetrics = watched.scrape(accept)
    assert (openmetrics.header("Content-Type") or "").startswith("application/openmetrics-text; version=1.0.0")
    assert len(list(read_openmetrics(openmetrics.body.decode()))) > 30  # type: ignore[no-untyped-call]  # theirs has no types


def names_in(text: str) -> set[str]:
    """Metrics that an expression asks for; not what stands in quotes, brackets, or behind by and on."""
    bare = re.sub(r"\b(?:by|on|without)\s*\([^)]*\)|\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\{[^}]*\}", " ", text)
    words = set(re.findall(r"[a-z_][a-z0-9_]*(?![a-z0-9_(]|\s*\()", bare))
    return words - {"and", "or", "unless", "bool", "group_left", "group_right"}


def rules() -> list[str]:
    return [line.split("expr: ", 1)[1] for line in RULES.read_text().splitlines() if "expr: " in line]


def panels() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [target["expr"] for target in targets]


def test_rules_and_dashboard_ask_for_what_there_is(watched: Watched) -> None:
    """Every name in them stands in a real scrape, and every label value of an own enumeration too."""
    scraped = watched.scrape().body.decode() + caller.ask(watched.agent_port, "GET", "/metrics").body.decode()
    there = {sample.name for family in read_text(scraped) for sample in family.samples} | ABSENT | PROMETHEUS_OWN
    there |= {"postern_agent_last_error_timestamp_seconds"}
    for expression in rules() + panels():
        assert names_in(expression), expression
        assert names_in(expression) <= there, expression
        for label, value in re.findall(r'\b(origin|code|state|answer|result|kind|reason)="([^"$]+)"', expression):
            assert f'{label}="{value}"' in scraped, (expression, label, value)
    assert len(rules()) > 15
    assert len(panels()) > 30
    variable = json.loads(DASHBOARD.read_text())["templating"]["list"][1]["query"]["query"]
    assert re.findall(r"postern_\w+", variable) == ["postern_relay_build_info"]


def test_every_rule_says_what_to_do() -> None:
    """Severity, what is wrong, and a sentence for who was woken."""
    text = RULES.read_text()
    alerts = re.split(r"\n      - alert: ", text)[1:]
    assert len(alerts) == len(rules())
    for alert in alerts:
        assert re.search(r"labels: \{severity: (critical|warning|info)\}", alert), alert
        assert re.search(r'summary: "[^"]+\."', alert), alert
        assert len(re.findall(r"runbook: (.+\.)$", alert, re.MULTILINE)[0]) > 60, alert


def test_prometheus_takes_the_rules_and_they_ring_when_they_should(tmp_path: Path) -> None:
    """promtool check rules, and its unit tests: quiet when all is well, loud when not."""
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done
    done = promtool("check", "config", DEPLOY / "prometheus" / "scrape.yml")
    assert done.returncode == 0, done
    told = Path(__file__).with_name("alerts_test.yml").read_text()
    test = tmp_path / "alerts_test.yml"
    test.write_text(told.replace("alerts.yml", str(RULES)))
    done = promtool("test", "rules", test)
    assert done.returncode == 0, done


def test_every_kind_of_alert_is_counted() -> None:
    """The counter of events stands at 0 for each from the beginning."""
    assert {str(kind) for kind in AlertKind} <= set(EVENTS)


def test_probes_need_no_token_on_the_port_of_their_own(watched: Watched) -> None:
    """/livez and /readyz as on the main listener, and nothing else of the relay."""
    assert caller.ask(watched.metrics_port, "GET", "/livez").json == {"status": "alive"}
    assert caller.ask(watched.metrics_port, "GET", "/readyz").json["items"]["database"] == "ok"
    assert caller.ask(watched.metrics_port, "GET", "/v1/status").status == 404
    assert caller.ask(watched.agent_port, "GET", "/readyz").json == {"status": "ready", "state": "online"}


def test_on_the_main_listener_a_token_is_asked_for(watched: Watched) -> None:
    """None: 401. `status` of the operator's own account: as on the other port. Of a customer: 403, in words."""
    road = watched.road
    assert road.ask("/metrics").status == 401
    _, own = road.new_token("status")
    answer = road.ask("/metrics", headers=[bearer(own)])
    assert answer.status == 200
    assert b"postern_relay_build_info" in answer.body
    road.cli("accounts", "create", "customer")
    theirs = road.cli("tokens", "create", "--name", "theirs", "--scope", "manage", "--account", "customer")["token"]
    refused = road.ask("/metrics", headers=[bearer(theirs)])
    assert refused.status == 403
    assert "account `default`" in refused.json["detail"]


def test_a_request_has_a_line_with_its_hops(watched: Watched) -> None:
    """Path without query, connection, account, agent, status, bytes, and where the time went; the caller's trace id."""
    answer = watched.connection.ask(
        "/api/products?limit=2&display=full", headers=[("Traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]
    )
    assert answer.status == 200
    line = watched.line(trace=TRACE)
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/api/products", 200)
    assert (line["connection"], line["agent"]) == (watched.connection.id, watched.agent.entry.id)
    assert line["account"].startswith("acc_")
    assert len(answer.body) <= line["bytes_out"] < len(answer.body) + 100  # with the framing of chunks
    assert 0 <= line["waited_ms"] <= line["total_ms"]
    assert 0 < line["store_ms"] <= line["total_ms"]
    assert watched.shop.seen("/api/products?limit=2")[0].values("traceparent") == [f"00-{TRACE}-00f067aa0ba902b7-01"]


def test_one_id_goes_through_relay_tunnel_and_agent(watched: Watched) -> None:
    """The id in the relay's answer is in its line and in what the agent logs of the store that it could not reach."""
    connection = watched.road.connect(watched.agent.entry.id, "http://doomed.test", watched.doomed.key)
    watched.doomed.program.stop()
    answer = connection.ask("/api/products")
    id_ = answer.header("Postern-Request")
    assert id_
    line = watched.line(request=id_)
    assert (line["code"], line["origin"], line["outcome"]) == ("store_refused", "store", "not_sent")
    assert (line["status"], line["path"]) == (None, "/api/products")
    told = eventually("the agent's line", lambda: said(watched.agent.program.log, event="store not reached"))
    assert (told[0]["request"], told[0]["connection"], told[0]["code"]) == (id_, connection.id, "store_refused")


def test_later_requests_on_a_channel_name_the_one_that_opened_it(watched: Watched) -> None:
    """So that a line of the agent's can be joined with all of them."""
    paths = [f"/api/products?id={number}" for number in range(900, 903)]
    for path in paths:
        watched.connection.ask(path, headers=[("Traceparent", f"00-{TRACE[:-3]}{path[-3:]}-00f067aa0ba902b7-01")])
    lines = [watched.line(trace=f"{TRACE[:-3]}{path[-3:]}") for path in paths]
    opener = lines[1]["channel_of"]
    assert opener == lines[2]["channel_of"]
    assert opener in {lines[0]["request"], lines[0].get("channel_of")}


def test_a_request_to_the_api_has_its_line_too(watched: Watched) -> None:
    """With the address as it is described, never as it was sent, and with who asked."""
    answer = watched.road.api("GET", f"/v1/agents/{watched.agent.entry.id}")
    line = watched.line(request=answer.header("Postern-Request"))
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/agents/{agent}", 200)
    assert line["caller"].startswith("tok_")
    answer = watched.road.api("GET", "/v1/nosuch/SECRET")
    line = watched.line(request=answer.header("Postern-Request"))
    assert line["status"] == 404
    assert "SECRET" not in json.dumps(line)


def test_an_action_and_its_own_requests_to_the_store_have_one_id(watched: Watched) -> None:
    """What the relay asks of a store while it serves a request to /v1 bears that request's id."""
    answer = watched.road.api("GET", f"/v1/connections/{watched.connection.id}/actions/list-products")
    assert answer.status == 200
    id_ = answer.header("Postern-Request")
    lines = eventually("both lines", lambda: found if len(found := watched.lines(request=id_)) > 1 else [])
    assert {line.get("connection") for line in lines} >= {watched.connection.id, None}


def test_neither_log_nor_metrics_hold_a_secret(watched: Watched) -> None:
    """Wherever a careless caller put it: in the query, in the path, as a method, under /v1."""
    connection, key = watched.connection, watched.shop.key
    secret, token = connection.access_key, watched.road.new_token("manage")[1]
    query = f"ws_key={secret}&x={key}"
    for path in (f"/api/products?{query}", f"/api/{secret}", f"/api/products&{query}", f"/api/{key}/{token}"):
        connection.ask(path)
    for path in (f"/v1/agents/{token}", f"/v1/{token}", f"/to/{secret}/api", f"/to/{connection.id}/admin/{token}"):
        watched.road.ask(path, headers=[bearer(token)])
    last = watched.road.ask("/v1/agents", headers=[bearer(token)])
    watched.line(request=last.header("Postern-Request"))
    told = watched.road.relay.text() + watched.agent.program.text() + watched.scrape().body.decode()
    for name, text in {"access key": secret, "store key": key, "token": token}.items():
        assert text not in told, name


@pytest.mark.parametrize(("which", "lines"), [("failed", 1), ("none", 0)])
def test_fewer_lines_are_written_if_asked(new_road: NewRoad, which: str, lines: int) -> None:
    """ACCESS_LOG = failed leaves out what succeeded and what the store refused; none writes none."""
    road = new_road(f"access-{which}", settings=["--access-log", which])
    shop = road.start_shop("--domain", "shop.test")
    agent = road.start_agent(
        road.new_agent(), [f"http://shop.test={HOST}:{shop.port}", f"http://refused.test={HOST}:1"]
    )
    road.connect(agent.entry.id, "http://shop.test", shop.key).ask("/api/products")
    road.connect(agent.entry.id, "http://refused.test", shop.key).ask("/api/products")
    program = road.relay
    program.end_soon()
    program.ends()
    assert len(said(program.log, event="request")) == lines
    road.close()


def test_a_setting_that_is_none_is_refused(new_road: NewRoad) -> None:
    """In one sentence, with status 78."""
    road = new_road("access-wrong", start=False, settings=["--access-log", "some"])
    done = road.command("status")
    assert done.status == 78
    assert "ACCESS_LOG" in done.err + done.out
    road.close()

"""Whose fault is it: each failure under /to/ has its code, its hop, its outcome, and PrestaShop's own shape."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from tests.system import caller
from tests.system.caller import JSON, Answer, BrokenOffError, Line, basic, request
from tests.system.certificates import Certificates
from tests.system.lan import DOMAIN, Lan
from tests.system.programs import HOST
from tests.system.road import Agent, Connection, Road, Shop

DIAL_SECONDS = 10.0  # what the agent gives a store to take a connection
KEY = "K" * 32
GUARD = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def check_shape(answer: Answer, *, json: bool) -> str:
    """The sentence of an error that has PrestaShop's shape, in the format that was asked for."""
    assert answer.header("Content-Type") == ("application/json" if json else "text/xml;charset=utf-8")
    assert answer.header("Content-Length") == str(len(answer.body))
    assert {name: answer.header(name) for name in GUARD} == GUARD
    if json:
        assert list(answer.json) == ["errors"]
        assert set(answer.json["errors"][0]) == {"code", "message"}
    else:
        assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink=')
    ((code, sentence),) = answer.errors
    assert code > 999, "none of PrestaShop's own numbers"
    assert sentence.endswith(".")
    assert len(sentence) > 20
    return sentence


@dataclass(frozen=True, slots=True)
class Case:
    """A store, or a caller, that something is wrong with, and what the relay says of it."""

    store: str
    verdict: tuple[int, str, str, str]
    words: str  # that its sentence has
    retry: bool


NOT_PUBLISHED = (502, "store_not_published", "agent", "not_sent")
CASES = {
    "store_not_published": Case("http://other.test", NOT_PUBLISHED, "other.test", False),
    "another port": Case(f"http://{DOMAIN}:8080", NOT_PUBLISHED, ":8080", False),
    "another scheme": Case(f"https://{DOMAIN}", NOT_PUBLISHED, ":443", False),
    "store_refused": Case("http://refused.test", (502, "store_refused", "store", "not_sent"), "refuses", False),
    "store_dns": Case("http://nowhere.test", (502, "store_dns", "store", "not_sent"), "nosuch.invalid", False),
}


@pytest.mark.parametrize("json", [False, True], ids=["xml", "json"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_with_the_way_to_the_store(road: Road, lan: Lan, name: str, json: bool) -> None:
    """A name that is not published, a closed port, an unknown name: told apart, nothing was sent."""
    case = CASES[name]
    connection = road.connect(lan.agent.entry.id, case.store, KEY)
    answer = connection.ask("/api/products", headers=[JSON] if json else [])
    assert answer.verdict == case.verdict
    assert case.words in check_shape(answer, json=json)
    assert (answer.header("Retry-After") is not None) == case.retry


def test_agent_offline(road: Road) -> None:
    """An agent that never came, at once: 503, not sent, with a time to come back; for HEAD without a body."""
    connection = road.connect(road.new_agent().id, f"http://{DOMAIN}", KEY)
    began = time.monotonic()
    answer = connection.ask("/api/products")
    assert time.monotonic() - began < 1.0
    assert answer.verdict == (503, "agent_offline", "agent", "not_sent")
    assert "agent" in check_shape(answer, json=False)
    assert int(answer.header("Retry-After") or "") > 0
    check_shape(connection.ask("/api/products", "DELETE", [JSON]), json=True)
    head = connection.ask("/api/products", "HEAD")
    assert (head.verdict, head.body) == (answer.verdict, b"")


def test_the_reserved_name_of_the_control_channel_is_no_store(road: Road, lan: Lan) -> None:
    """`control.postern.invalid:1` is spoken on between relay and agent alone: no connection leads there."""
    form = {"name": "control", "mode": "on-premise", "agent": lan.agent.entry.id, "api_key": KEY}
    made = road.api("POST", "/v1/connections", {**form, "store_url": "http://control.postern.invalid:1"})
    if made.status != 422:
        connection = Connection(made.json["id"], made.json["access_key"], road.http_port, KEY)
        assert connection.ask("/api/products").code == "store_not_published"


CLOSED_EARLY = ("store_closed_early", "sent_unknown", 2)  # code, outcome, how often it was sent
BAD_ANSWER = ("store_bad_answer", "answered", 1)
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"


@pytest.mark.parametrize(
    ("knobs", "wanted"),
    [
        ({"hang_up": "before_answer"}, CLOSED_EARLY),
        ({"hang_up": "reset"}, CLOSED_EARLY),
        ({"raw_answer": b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"}, BAD_ANSWER),
        ({"raw_answer": TWO_LENGTHS}, BAD_ANSWER),
        ({"raw_answer": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"}, BAD_ANSWER),
        ({"raw_answer": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"}, BAD_ANSWER),
    ],
)
def test_what_is_wrong_with_the_stores_answer(
    connection: Connection, shop: Shop, knobs: dict[str, object], wanted: tuple[str, str, int]
) -> None:
    """No answer is told from a bad one; a GET without a byte of answer was tried a second time, no more."""
    code, outcome, times = wanted
    before = len(shop.seen("/api/orders?wrong"))
    with shop.troubled(**knobs):
        answer = connection.ask("/api/orders?wrong")
    assert answer.verdict == (502, code, "store", outcome)
    check_shape(answer, json=False)
    assert len(shop.seen("/api/orders?wrong")) - before == times


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_may_have_changed_something_is_never_sent_twice(connection: Connection, shop: Shop, method: str) -> None:
    """A write whose store hangs up is answered with `sent_unknown`, without Retry-After, and reaches the store once."""
    tag = f"/api/nosuch?once={method}"
    with shop.troubled(hang_up="before_answer"):
        answer = connection.ask(tag, method, body=b"<prestashop/>")
    assert answer.verdict == (502, "store_closed_early", "store", "sent_unknown")
    assert answer.header("Retry-After") is None
    assert len(shop.seen(tag)) == 1


@pytest.mark.parametrize("tag", ["ps_method=DELETE", "ps%5Fmethod=PUT", "ps.method=PUT", "%70s_method=PUT"])
def test_a_get_that_may_write_is_not_sent_twice_either(connection: Connection, shop: Shop, tag: str) -> None:
    """`ps_method`, in any spelling that PHP takes for it, makes a GET something else."""
    with shop.troubled(hang_up="before_answer"):
        answer = connection.ask(f"/api/nosuch?{tag}&twice")
    assert answer.verdict == (502, "store_closed_early", "store", "sent_unknown")
    assert len(shop.seen(f"{tag}&twice")) == 1


@pytest.mark.parametrize("transfer", ["chunked", "length"])
def test_an_answer_that_breaks_off_never_looks_complete(connection: Connection, shop: Shop, transfer: str) -> None:
    """Half an answer goes to the caller as half an answer: the connection ends before the framing does."""
    body = b"5\r\nhello\r\n" if transfer == "chunked" else b"hello"
    framing = b"Transfer-Encoding: chunked" if transfer == "chunked" else b"Content-Length: 10"
    raw = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body
    with shop.troubled(raw_answer=raw), pytest.raises(BrokenOffError) as caught:
        connection.ask("/api/orders")
    assert caught.value.got.startswith(b"HTTP/1.1 200 OK\r\n")


def test_unauthenticated(connection: Connection) -> None:
    """No credential and a wrong one: 401 with a challenge; JSON where it was asked for."""
    for json in (False, True):
        answer = connection.bare("/api/products", headers=[JSON] if json else [])
        assert answer.verdict == (401, "unauthenticated", "caller", "not_sent")
        assert "access key" in check_shape(answer, json=json)
        assert (answer.header("WWW-Authenticate") or "").startswith("Basic realm=")
    assert connection.ask("/api/products", key="W" * 32).verdict == answer.verdict


def test_forbidden_and_not_found(road: Road, connection: Connection) -> None:
    """A reading token that writes: 403; a good token and no such connection: 404."""
    _, token = road.new_token("read")
    forbidden = connection.ask("/api/orders/1", "DELETE", token=token)
    assert forbidden.verdict == (403, "forbidden", "caller", "not_sent")
    assert "forward" in check_shape(forbidden, json=False)
    unknown = road.ask("/to/con_aaaaaaaaaaaaaaaa/api/orders", headers=[caller.bearer(token), JSON])
    assert unknown.verdict == (404, "not_found", "caller", "not_sent")
    check_shape(unknown, json=True)


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /to/{id}/api/orders HTTP/1.1\r\n\r\n",
        b"GET /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /to/{id}/api/orders HTTP/1.1\nHost: a\n\n",
        b"GET /to/{id}/api/or ders HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /to/{id}/api/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /to/{id}/api/orders HTTP/2.0\r\nHost: a\r\n\r\n",
        b"POST /to/{id}/api HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"TRACE /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT /to/{id}/api/orders HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_malformed(connection: Connection, shop: Shop, wrong: bytes) -> None:
    """What is not plain HTTP/1.1 is refused, never repaired, and the connection ends; the store sees nothing of it."""
    before = shop.counts()["requests"]
    credential = ": ".join(basic(connection.access_key)).encode()
    data = wrong.replace(b"{id}", connection.id.encode()).replace(b"Host: a", b"Host: a\r\n" + credential, 1)
    with Line(connection.relay_port) as line:
        line.send(data)
        answer = line.read()
        assert answer.verdict == (400, "malformed", "caller", "not_sent")
        check_shape(answer, json=False)
        assert line.closed()
    assert shop.counts()["requests"] == before


def test_path_refused(connection: Connection) -> None:
    """What is not under the store's /api: 400, told in words."""
    for json in (False, True):
        answer = connection.ask("/admin", headers=[JSON] if json else [])
        assert answer.verdict == (400, "path_refused", "caller", "not_sent")
        assert "/api" in check_shape(answer, json=json)


def test_upgrade_is_not_forwarded(connection: Connection, shop: Shop) -> None:
    """A request that wants another protocol on the connection is refused as it is."""
    before = shop.counts()["requests"]
    answer = connection.ask("/api/orders", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert answer.verdict == (400, "path_refused", "caller", "not_sent")
    assert shop.counts()["requests"] == before


@pytest.fixture(scope="module")
def secured(road: Road, tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificates, Agent]:
    """A shop with TLS, by a CA of its own, published under its domain."""
    certificates = Certificates.make(tmp_path_factory.mktemp("tls"), "secure.test")
    tls = ["--tls-cert", str(certificates.chain), "--tls-key", str(certificates.key), "--domain", "secure.test"]
    shop = road.start_shop(*tls, scheme="https")
    store = f"https://secure.test={HOST}:{shop.port}"
    other = f"https://misnamed.test={HOST}:{shop.port}"
    return certificates, road.start_agent(road.new_agent(), [store, other])


def test_tls_to_the_store_is_always_verified(road: Road, secured: tuple[Certificates, Agent]) -> None:
    """By the connection's own CA it is trusted, by its pinned key too; by public roots, or with another name, never."""
    certificates, agent = secured
    by_ca, by_pin = {"ca_pem": certificates.ca.read_text()}, {"pinned_spki_sha256": certificates.pin}
    for trust in (by_ca, by_pin):
        trusted = road.connect(agent.entry.id, "https://secure.test", KEY, trust=trust)
        answer = trusted.ask("/api")
        assert (answer.status, answer.code, answer.errors[0][0]) == (401, None, 20), "the shop itself refuses the key"
    for store, trust in (
        ("https://secure.test", {}),
        ("https://misnamed.test", by_ca),
        ("https://secure.test", {"pinned_spki_sha256": "0" * 64}),
    ):
        refused = road.connect(agent.entry.id, store, KEY, trust=trust).ask("/api")
        assert refused.verdict == (502, "store_tls", "store", "not_sent"), (store, trust)
        assert "certificate" in check_shape(refused, json=False)


def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    """Two requests in one packet, the first of which fails: two answers, in that order, on one connection."""
    credential = [basic(connection.access_key)]
    first = request("GET", f"/to/{connection.id}/nothing", credential)
    second = request("GET", f"/to/{connection.id}/api/orders?limit=1", credential)
    with Line(connection.relay_port) as line:
        line.send(first + second)
        assert line.read().code == "path_refused"
        assert line.read().status == 200


def test_store_timeout(lan: Lan) -> None:
    """A store that answers no dial: 504, not sent, after the agent's ten seconds."""
    answer = lan.unanswered.result(2 * DIAL_SECONDS)
    assert answer.verdict == (504, "store_timeout", "store", "not_sent")
    assert "time" in check_shape(answer, json=False)


def test_the_log_of_the_agent_names_the_store_and_the_connection(road: Road, lan: Lan) -> None:
    """Who reads the agent's log learns which store could not be reached, why, and on whose behalf."""
    for store in ("refused.test", "nowhere.test"):
        road.connect(lan.agent.entry.id, f"http://{store}", KEY).ask("/api/orders")
    lan.unanswered.result(2 * DIAL_SECONDS)
    lines = [line for line in lan.agent.program.text().splitlines() if "store not reached" in line]
    text = "\n".join(lines)
    for code in ("store_refused", "store_dns", "store_timeout"):
        assert code in text
    assert text.count('"con_') == len(lines)

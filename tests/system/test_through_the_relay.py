"""Assertions 91 to 94: what the shop sees of a request, and what the caller sees of its answer, bytes compared."""

from __future__ import annotations

import base64
import re

import pytest

from tests.system.caller import JSON, Answer, Line, basic, request
from tests.system.lan import DOMAIN, Lan
from tests.system.road import Connection, Road, Shop

TARGETS = [
    "/api",
    "/api/",
    "//api/orders",
    "///api//orders//41",
    "/api/orders/41&display=[id]",
    "/api&limit=1",
    "/api/products?filter[id]=[1|3]&display=[id,name]&sort=[id_ASC]&limit=0,2",
    "/api/products?filter%5Bid%5D=%5b1%7c3%5D&price%5bmy%5D%5Buse_tax%5d=1",
    "/api/customers?filter[email]=%[a+b%20c]%25&x=%2B&date=1",
    "/api/orders?&&a=&=b&a=b?c=d#".removesuffix("#"),
    "/api/orders;v=1/x;y?z;q",
    "/api/orders/%34%31",
    "/api/orders%2F41",
    "/api/%C3%A9/%e9?%C3%A9=%e9",
    "/api/'\"<>^`{|}~!*()_,:@$",
    "/api/products?ws=1&wskey=2&xws_key=3&ws_keys=4",
    "/api/orders?filter[date_upd]=[2026-01-01 00:00:00,2026-12-31]&date=1".replace(" ", "%20"),
    "/api/products?" + "&".join(f"filter[{n}]=[{n}]" for n in range(400)),
]
# of the connection, of the clock, or added by the relay on purpose (design section 5)
NOT_COMPARED = {"date", "expires", "access-time", "execution-time", "connection", "keep-alive", "transfer-encoding"}
ADDED = {"content-security-policy", "x-content-type-options"}
TAKEN_OUT = {"set-cookie"}


@pytest.fixture(scope="module")
def by_query(road: Road, lan: Lan) -> Connection:
    """The main shop, its key in the query."""
    return road.connect(lan.agent.entry.id, f"http://{DOMAIN}", lan.shop.key, key_place="ws_key")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:40])
def test_91_the_target_reaches_the_shop_byte_for_byte(connection: Connection, shop: Shop, target: str) -> None:
    """91. Path and query after the prefix arrive as they were sent: nothing decoded, collapsed or encoded."""
    answer = connection.ask(target)
    assert answer.code is None, answer
    assert shop.seen()[-1].line == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/api/orders?ws_key={key}", "/api/orders"),
        ("/api/orders?ws_key={key}&limit=%31", "/api/orders?limit=%31"),
        ("/api/orders?limit=%31&ws_key={key}&display=[id]", "/api/orders?limit=%31&display=[id]"),
        ("/api/orders&ws_key={key}&limit=1", "/api/orders&limit=1"),
    ],
)
def test_91_only_the_parameter_ws_key_differs(connection: Connection, shop: Shop, sent: str, seen: str) -> None:
    """91. The caller's `ws_key` goes no further than the relay, and takes nothing else with it."""
    answer = connection.bare(sent.format(key=connection.access_key))
    assert answer.status == 200, answer
    assert shop.seen()[-1].target == seen


@pytest.mark.parametrize("target", ["/api/orders", "/api/orders?limit=%31", "//api/orders?ws_key={key}&limit=%31"])
def test_91_with_the_key_in_the_query(by_query: Connection, shop: Shop, target: str) -> None:
    """91. Where the connection says so, the store's key stands in the query, once, and the rest is as it was sent."""
    answer = by_query.ask(target.format(key=by_query.access_key))
    assert answer.status == 200, answer
    seen = shop.seen()[-1]
    assert seen.values("Authorization") == []
    assert re.findall(r"ws_key=(\w+)", seen.target) == [shop.key]
    rest = re.sub(r"[?&]ws_key=\w+", "", seen.target)
    assert rest.replace("&", "?", "?" not in rest) == target.replace("ws_key={key}&", "")


@pytest.mark.parametrize("way", ["basic", "ws_key", "bearer"])
def test_92_the_shop_sees_its_own_name_and_key(
    road: Road, connection: Connection, shop: Shop, way: str, forward_token: str
) -> None:
    """92. Host and key are the store's own; the caller's credential and whatever it said of hosts are not there."""
    claims = [("X-Forwarded-Host", "evil.test"), ("X-Forwarded-For", "1.2.3.4"), ("User-Agent", "connector/1")]
    if way == "ws_key":
        answer = connection.bare(f"/api/orders?ws_key={connection.access_key}", headers=claims)
    else:
        answer = connection.ask("/api/orders", headers=claims, token=forward_token if way == "bearer" else None)
    assert answer.status == 200, answer
    seen = shop.seen()[-1]
    assert seen.values("Host") == [DOMAIN]
    assert seen.values("Authorization") == [basic(shop.key)[1]]
    assert seen.names() == {"host", "authorization", "user-agent"}
    for secret in (connection.access_key, forward_token):
        for form in (secret, *(base64.b64encode(text.encode()).decode() for text in (secret, f"{secret}:"))):
            assert form not in seen.text


@pytest.fixture(scope="module")
def forward_token(road: Road) -> str:
    return road.new_token("forward")[1]


READS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("GET", "/api", []),
    ("GET", "/api", [JSON]),
    ("HEAD", "/api", []),
    ("GET", "/api/orders", []),
    ("GET", "/api/products?display=full", [JSON]),
    ("HEAD", "/api/products?display=full", []),
    ("GET", "/api/products/1", [("Accept-Encoding", "gzip")]),
    ("GET", "/api/products/99999", []),
    ("HEAD", "/api/products/99999", []),
    ("GET", "/api/products?filter[nosuch]=[1]", [JSON]),
    ("GET", "/api/nosuch", []),
    ("GET", "/api/images/products/1/1", []),
    ("GET", "/api/products?id_shop=99", []),
    ("FOO", "/api/products", []),
    ("OPTIONS", "/api/products", []),
    ("DELETE", "/api/stock_availables/1", []),
    ("GET", "/api/orders%2F41", []),
]


@pytest.mark.parametrize(("method", "path", "headers"), READS)
def test_93_answers_are_those_of_a_direct_call(
    connection: Connection, shop: Shop, method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    """93. Status, reason, body, and every header with its spelling and order; no Content-Type where there was none."""
    direct = shop.ask(method, path, [basic(shop.key), *headers], host=DOMAIN)
    relayed = connection.ask(path, method, headers)
    assert (relayed.status, relayed.reason, relayed.body) == (direct.status, direct.reason, direct.body)
    assert _compared(relayed, ADDED) == _compared(direct, TAKEN_OUT)
    assert relayed.names() - direct.names() <= ADDED | NOT_COMPARED


@pytest.mark.parametrize("knobs", [{"header_case": "lower"}, {"transfer": "gzip"}, {"transfer": "length"}])
def test_93_however_the_shop_writes_its_answer(connection: Connection, shop: Shop, knobs: dict[str, str]) -> None:
    """93. Lower-case names, compressed bodies and counted ones pass as they are."""
    with shop.troubled(**knobs):
        headers = [("Accept-Encoding", "gzip")]
        direct = shop.ask("GET", "/api/products?display=full", [basic(shop.key), *headers], host=DOMAIN)
        relayed = connection.ask("/api/products?display=full", headers=headers)
    assert relayed.body == direct.body
    assert _compared(relayed, ADDED) == _compared(direct, TAKEN_OUT)


def test_93_a_redirect_comes_back_without_the_stores_key(by_query: Connection, shop: Shop) -> None:
    """93. PrestaShop repeats every parameter in Location, `ws_key` too: the store's key is not among them."""
    direct = shop.ask("GET", f"/api/products?id_shop=99&limit=1&ws_key={shop.key}", host=DOMAIN)
    assert (direct.status, direct.header("Location")) == (
        302,
        f"http://{DOMAIN}/?url=products&limit=1&ws_key={shop.key}",
    )
    for answer in (
        by_query.ask("/api/products?id_shop=99&limit=1"),
        by_query.bare(f"/api/products?id_shop=99&limit=1&ws_key={by_query.access_key}"),
        by_query.bare(f"/api/products?ws_key={by_query.access_key}&id_shop=99&limit=1"),
    ):
        assert answer.status == 302
        assert shop.key.encode() not in answer.everything
        location = (answer.header("Location") or "").replace(by_query.access_key, "")
        assert location.removesuffix("&ws_key=") == f"http://{DOMAIN}/?url=products&limit=1"


def test_94_empty_answers_stay_empty(connection: Connection, shop: Shop) -> None:
    """94. 404 and DELETE without body, 304 and HEAD, one after the other on one connection: no body, no type added."""
    made = connection.ask("/api/customers", "POST", body=CUSTOMER.encode())
    assert made.status == 201, made
    number = made.xml.findtext("./customer/id")
    sha1 = connection.ask("/api/orders").header("Content-Sha1") or ""
    asked = [
        ("GET", "/api/orders/99999", [], 404),
        ("HEAD", "/api/orders/99999", [], 404),
        ("GET", "/api/orders/99999", [JSON], 404),
        ("HEAD", "/api/orders", [], 200),
        ("GET", "/api/orders", [("Local-Content-Sha1", sha1)], 304),
        ("DELETE", f"/api/customers/{number}", [], 200),
        ("GET", "/api/orders", [], 200),
    ]
    with Line(connection.relay_port) as line:
        for method, path, headers, status in asked:
            head = [basic(connection.access_key), *headers]
            line.send(request(method, f"/to/{connection.id}{path}", head))
            answer = line.read(bodiless=method == "HEAD")
            assert answer.status == status, (method, path, answer)
            if (method, status) != ("GET", 200):
                assert answer.body == b""
            if status in {404, 304} or method == "DELETE":
                assert answer.header("Content-Type") is None
    assert answer.body.startswith(b"<?xml")


CUSTOMER = (
    "<prestashop><customer><passwd>Sup3r-Secret-Pw!</passwd><lastname>Empty</lastname><firstname>Ninety</firstname>"
    "<email>ninety.four@example.com</email></customer></prestashop>"
)


def _compared(answer: Answer, but: set[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers if name.lower() not in NOT_COMPARED | but]

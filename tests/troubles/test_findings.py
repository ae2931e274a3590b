"""What a test that passes says of the shop, and how it behaves towards the shop, whatever that does to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agent.wire.limits import DIAL_SECONDS
from relay.cli import relay_asked
from relay.gateway.direct import DirectRoute
from relay.gateway.pool import QUEUE_SECONDS
from relay.prestashop import connection_test
from relay.prestashop.remedies import NOTES
from relay.prestashop.report import WANTED, Report
from relay.records import Connection, KeyPlace, Mode
from tests.store import Store
from tests.troubles.cells import PASSING, SHOP, Cell, error, raw, webservice
from tests.troubles.cloud import Cloud, connection_of, on_this_machine, shaped
from tests.troubles.premise import Premise
from tests.troubles.premises import opened

KEY = "QK7D2M9XW4HVZB6TNRJC3YGF8PLSQK5A"
BASIC = base64.b64encode(f"{KEY}:".encode()).decode()
HEADS = ("GET", "HEAD")
VERSIONS = {"1.6.1": "1.6.1.24", "1.7.4": "1.7.4.4", "1.7.8": "1.7.8.11", "8.1": "8.1.7", "9.1": "9.1.4"}


def connection_to(port: int, key: str = KEY, **more: Any) -> Connection:
    return connection_of({"name": "x", "mode": "cloud", "store_url": f"http://{SHOP}:{port}", "api_key": key, **more})


@contextlib.asynccontextmanager
async def shop(**knobs: Any) -> AsyncIterator[Store]:
    async with Store.serve(knobs={"domain": SHOP, **knobs}, keys={"full": KEY}) as store:
        yield store


async def report_of(store: Store, key: str = KEY, **more: Any) -> Report:
    return await Cloud().run(connection_to(store.port, key, **more))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_shop_of_each_version_passes(version: str) -> None:
    """Name and version are told, all that the key may, nothing is missing, nothing to note."""
    async with shop(version=version) as store:
        store.knobs.domain = f"{SHOP}:{store.port}"  # up to 1.7.6 the port is part of the name
        report = shaped(await report_of(store))
        assert (report["ok"], report["notes"], report["offer"]) == (True, [], None)
        assert report["shop"] == {"name": store.shop.name, "version": VERSIONS[version]}
        assert report["permissions"]["missing"] == {}
        assert set(report["permissions"]["granted"]) >= set(WANTED)
        assert ("PATCH" in report["permissions"]["granted"]["orders"]) == (version in {"8.1", "9.1"})
        statuses = {step["name"]: step["status"] for step in report["steps"]}
        skipped = {"agent", "online", "published", "tls"}
        assert {name for name, status in statuses.items() if status == "skipped"} == skipped
        timed = {step["name"] for step in report["steps"] if step["ms"] is not None}
        assert timed == {"tcp", "http"}


async def test_it_only_reads(premise: Premise) -> None:
    """GET and nothing else, without a body, in the name of the shop; saved or not, through agent or not."""
    async with shop() as store:
        await report_of(store)
        seen = list(store.requests)
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        report = (await premise.ask(f"/v1/connections/{made.id}/test")).json
        assert report["ok"]
        seen += store.requests
    assert [one.target for one in seen] == [b"/api", b"/api/orders?limit=1&display=[id]"] * 2
    for one in seen:
        assert (one.method, one.body_length) == ("GET", 0)
        assert one.all("User-Agent") == [b"Postern"]
        assert one.header("Accept-Encoding") == b"identity"


async def test_missing_grants_are_findings_of_a_test_that_passed() -> None:
    """A key that may only read products: passed, and every box that is still to tick is named."""
    async with shop() as store:
        report = await report_of(store, store.grant("reader", {"products": HEADS, "orders": ["GET"]}))
        assert report.ok
        assert report.granted == {"products": HEADS, "orders": ("GET",)}
        wanted = {name: methods for name, methods in WANTED.items() if name != "products"}
        assert report.missing == {**wanted, "orders": ("HEAD",)}
        reading = store.grant("all", dict.fromkeys(WANTED, HEADS))
        assert (await report_of(store, reading)).missing == {"order_histories": ("POST",)}


@pytest.mark.parametrize(("trouble", "code", "knobs"), PASSING)
@pytest.mark.parametrize("mode", list(Mode))
async def test_small_troubles_are_notes(
    premise: Premise, trouble: str, code: str, knobs: Mapping[str, Any], mode: Mode
) -> None:
    """The test passes, and says what should be mended all the same."""
    if mode is Mode.CLOUD:
        async with shop(**knobs) as store:
            report = shaped(await report_of(store))
    else:
        met = await premise.meet(Cell(trouble, "", "", knobs))
        report = dict(met.report)
    assert report["ok"] is True
    (note,) = report["notes"]
    assert note["code"] == code
    sentence = NOTES[code].about(note["detail"])
    assert note["remedy"] == {"en": sentence.en, "fr": sentence.fr}


async def test_a_mark_and_a_blank_line_together() -> None:
    """Both are noted."""
    root = '<api shopName="x"><carts get="true"/></api>'
    body = webservice("200 OK", root)["raw_answer"].partition(b"\r\n\r\n")[2]
    async with shop(**raw("200 OK", b"\n\xef\xbb\xbf" + body, kind="text/xml")) as store:
        assert [note.code for note in (await report_of(store)).notes] == ["byte_order_mark", "blank_before_xml"]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (raw("500 Internal Server Error", '{"errors":[{"code":3,"message":"[PHP Warning #2] count()"}]}'), "count()"),
        (raw("500 Internal Server Error"), "500"),
        (raw("200 OK", '<b>Warning</b>{"orders":[]}'), "Warning"),
        (raw("200 OK", "[" * 100_000), "200"),
        ({"raw_answer": b"nonsense\r\n\r\n"}, ""),
        ({"raw_answer": b""}, ""),
    ],
)
async def test_json_that_does_not_arrive_whole_is_a_note(answer: Mapping[str, Any], detail: str) -> None:
    """XML works, JSON does not: the test passes and says so, with the store's own words."""
    async with scripted(answer["raw_answer"]) as port:
        report = await Cloud().run(connection_to(port))
    assert report.ok
    (note,) = report.notes
    assert note.code == "json_fails"
    assert detail in note.detail


async def test_a_redirect_is_not_followed() -> None:
    """The place that the shop sends us on to is named, and not called."""
    async with shop() as other, shop(moved_to=f"http://{SHOP}:{other.port}") as store:
        report = await report_of(store)
        assert report.offer
        assert report.offer.store_url == f"http://{SHOP}:{other.port}"
        assert other.connections_total == 0


async def test_a_redirect_to_itself_offers_nothing() -> None:
    """What the connection has already would mend nothing."""
    async with shop() as store:
        store.knobs.moved_to = f"http://{SHOP}:{store.port}"
        report = await report_of(store)
        assert report.step(report.steps[7].name).code == "store_redirects"
        assert report.offer is None


ECHOES = (
    raw(f"403 {KEY}", f"<html>{KEY}</html>"),
    raw("302 Found", "", f"Location: http://a.example/?url=&ws_key={KEY}"),
    raw("302 Found", "", f"Location: http://a.example/{KEY}/api"),
    raw("302 Found", "", f"Location: http://{KEY}.example/?url="),
    raw("302 Found", "", f"Location: http://a.example/{'x' * 170}/{KEY}"),
    raw("401 No", "", f'WWW-Authenticate: Basic realm="{KEY}"'),
    raw("401 No", "", f'WWW-Authenticate: Basic realm="{"x" * 90}{KEY}"'),
    raw("200 OK", f"<br />{'x' * 140}{KEY}<?xml version='1.0'?><prestashop><api/></prestashop>"),
    raw("200 OK", f"<b>Fatal error</b> {'x' * 130} {KEY}"),
    webservice("500 No", error(3, "x" * 180 + KEY)),
    webservice("500 No", error(3, f"Authorization: Basic {BASIC}")),
    webservice("500 No", error(3, f"{'x' * 150} Authorization: Basic {BASIC}")),
    webservice("500 No", f"<errors><error><message>&#81;&#75;{KEY[2:]}</message></error></errors>"),
    webservice("200 OK", f'<api shopName="{KEY}"><orders get="true"/><carts get="true"/></api>'),
    webservice("200 OK", f'<api shopName="x"><{KEY.lower()} get="true"/></api>'),
)


@pytest.mark.parametrize("place", list(KeyPlace))
@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
async def test_the_key_is_in_no_report(echo: Mapping[str, Any], place: KeyPlace) -> None:
    """However a store repeats it, whole or in the form of HTTP Basic, nor a part of it where a text was cut."""
    async with shop(**echo) as store:
        report = json.dumps(shaped(await report_of(store, key_place=place))).lower()
    for secret in (KEY, BASIC):
        for start in range(0, len(secret) - 8, 4):
            assert secret[start : start + 8].lower() not in report, report


async def test_a_store_that_is_slow_takes_no_longer_than_it_may() -> None:
    """A first byte that does not come, an answer that drips, a dial that hangs: each ends by its own clock."""
    cloud = Cloud(answer_seconds=0.3)
    async with shop(first_byte_delay=5) as store:
        began = time.monotonic()
        report = await cloud.run(connection_to(store.port))
        assert (report.step(report.steps[6].name).code, time.monotonic() - began < 2) == ("store_timeout", True)
    async with opened(Cell("", "", "", shown="dripping")) as place:
        began = time.monotonic()
        report = await cloud.run(connection_to(place.port))
        assert (report.step(report.steps[6].name).code, time.monotonic() - began < 2) == ("store_timeout", True)


def test_the_deadlines_fit_into_each_other() -> None:
    """Who gets no turn hears so before the answer is given up, that before the test, and that before its caller."""
    assert DIAL_SECONDS + QUEUE_SECONDS < connection_test.ANSWER_SECONDS + DIAL_SECONDS < connection_test.TEST_SECONDS
    assert connection_test.TEST_SECONDS < 60 < relay_asked.ANSWER_SECONDS


async def test_the_whole_test_has_a_deadline() -> None:
    """What has passed by then is told; the hop that was being tried has failed."""
    hanging = asyncio.Event()

    async def look_up(host: str, port: int) -> Any:
        await hanging.wait()
        return await on_this_machine(host, port)

    cloud = Cloud(DirectRoute(look_up))
    cloud.test._test_seconds = 0.2
    report = await cloud.run(connection_to(1))
    assert (report.steps[4].code, report.steps[4].status) == ("store_timeout", "failed")
    assert "0 s" in report.steps[4].detail
    cloud = Cloud()
    cloud.test._test_seconds = 0.3
    async with scripted(None) as port:
        report = await cloud.run(connection_to(port))
    assert report.ok
    assert [note.code for note in report.notes] == ["json_fails"]


async def test_the_pool_of_a_saved_connection_is_left_alone() -> None:
    """Trying the key in another place takes no idle line away, and leaves no line with the key in the address."""
    async with shop(auth_stripped=True) as store:
        cloud = Cloud()
        connection = connection_to(store.port)
        await cloud.run(connection)
        pool = cloud.gateway._pools[connection.id]
        await cloud.run(connection)
        assert cloud.gateway._pools[connection.id] is pool
        assert not pool.retired


@contextlib.asynccontextmanager
async def scripted(second: bytes | None) -> AsyncIterator[int]:
    """A store whose root is good, and whose further answers are these bytes; None: there are none."""
    root = webservice("200 OK", '<api shopName="x"><orders get="true"/></api>')["raw_answer"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                answer = root if b" /api HTTP" in head else second
                if answer is None:
                    await reader.read()
                    break
                writer.write(answer)
                if not answer.startswith(b"HTTP"):
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]

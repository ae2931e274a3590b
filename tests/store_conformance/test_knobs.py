"""The troubles that the stand-in can be told to have, one by one."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
from typing import TYPE_CHECKING

import pytest

from tests.store import KnobError, Knobs
from tests.store_conformance.asking import ask, basic, get, get_json, histories, send

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop


@pytest.mark.parametrize(
    ("waf", "method", "target", "status"),
    [
        ("verbs", "PATCH", "/api/orders/41", 403),
        ("verbs", "GET", "/api/orders/41", 200),
        ("verbs_405", "DELETE", "/api/orders/41", 405),
        ("brackets", "GET", "/api/orders?filter[id]=1", 403),
        ("brackets", "GET", "/api/orders?filter%5Bid%5D=1", 200),
        ("challenge", "GET", "/api/orders", 403),
        ("rate", "GET", "/api/orders", 429),
    ],
)
async def test_firewalls(shop: Shop, store: Store, *, waf: str, method: str, target: str, status: int) -> None:
    """A firewall's page is HTML and has no header of the webservice."""
    store.knobs.set("waf", waf)
    answer = await ask(shop, target, method=method)
    assert answer.status == status
    if status != 200:
        assert (answer.header("Content-Type") or "").startswith("text/html")
        assert answer.header("X-Powered-By") is None


async def test_marks_of_each_firewall(shop: Shop, store: Store) -> None:
    """A verb filter names what it allows, a challenge and a rate limit say what they are."""
    store.knobs.waf = "verbs_405"
    assert (await ask(shop, "/api/orders/1", method="DELETE")).header("Allow") is not None
    store.knobs.waf = "challenge"
    assert (await get(shop, "/api")).header("cf-mitigated") == "challenge"
    store.knobs.waf = "rate"
    assert (await get(shop, "/api")).header("Retry-After") == "1"


async def test_merchants_own_redirect(shop: Shop, store: Store) -> None:
    """A redirect to https keeps the path and the query."""
    store.knobs.moved_to = "https://www.shop.example"
    answer = await get(shop, "/api/orders?limit=1")
    assert (answer.status, answer.header("Location")) == (301, "https://www.shop.example/api/orders?limit=1")


async def test_gzip(shop: Shop, store: Store) -> None:
    """The web server compresses for those who accept it; Content-Sha1 stays that of the document."""
    store.knobs.transfer = "gzip"
    answer = await get(shop, "/api/orders", headers=[("Accept-Encoding", "gzip")])
    assert answer.header("Content-Encoding") == "gzip"
    plain = await get(shop, "/api/orders")
    assert gzip.decompress(answer.body) == plain.body
    assert answer.header("Content-Sha1") == plain.sha1


async def test_counted_answers(shop: Shop, store: Store) -> None:
    """transfer=length: Content-Length in place of chunks."""
    store.knobs.transfer = "length"
    answer = await get(shop, "/api/orders")
    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.header("Transfer-Encoding") is None


async def test_cut_answers(shop: Shop, store: Store) -> None:
    """transfer=cut: the body ends before its framing says so."""
    store.knobs.transfer = "cut"
    with pytest.raises(asyncio.IncompleteReadError):
        await get(shop, "/api/orders")


@pytest.mark.parametrize("mood", ["before_answer", "reset"])
async def test_hanging_up_before_the_answer(shop: Shop, store: Store, mood: str) -> None:
    """The request is read, and not a byte is answered."""
    store.knobs.set("hang_up", mood)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)) as caught:
        await get(shop, "/api/orders")
    assert not getattr(caught.value, "partial", b"")
    assert store.requests_total == 1


async def test_the_work_is_done_although_the_answer_is_lost(shop: Shop, store: Store) -> None:
    """A write whose answer never comes was a write: to send it again is to do it twice."""
    store.knobs.hang_up = "before_answer"
    row = "<order_history><id_order>41</id_order><id_order_state>4</id_order_state></order_history>"
    with pytest.raises(asyncio.IncompleteReadError):
        await send(shop, "POST", "/api/order_histories", row)
    assert histories(store, 41) == 2


async def test_a_hook_spoils_the_answer_of_a_write(shop: Shop, store: Store) -> None:
    """hook_warning: 500 with a PHP error, and the row is there."""
    store.knobs.hook_warning = True
    row = "<order_history><id_order>41</id_order><id_order_state>4</id_order_state></order_history>"
    answer = await send(shop, "POST", "/api/order_histories", row)
    assert (answer.status, answer.codes) == (500, [15])
    assert histories(store, 41) == 2
    assert (await get(shop, "/api/orders")).status == 200


async def test_shop_in_a_folder(shop: Shop, store: Store) -> None:
    """The base path is part of the address, of hrefs and of redirects; /api at the root is not there."""
    store.knobs.base_path = "/prestashop"
    answer = await get(shop, "/prestashop/api/orders")
    assert answer.hrefs[0] == "http://shop.example/prestashop/api/orders/1"
    wrong = await get(shop, "/prestashop/api/orders", headers=[("Host", "other")])
    assert wrong.header("Location") == "http://shop.example/prestashop/?url=orders"
    assert (await get(shop, "/api/orders")).status == 404
    assert (await get(shop, "/prestashop/webservice/dispatcher.php?url=orders")).status == 200


async def test_every_row_can_be_patched(shop: Shop, store: Store) -> None:
    """The shop's own rows pass its validation: PATCH of the id alone is 200 for each."""
    for name, table in list(store.shop.tables.items()):
        if name == "images" or not len(table):
            continue
        node = (await get(shop, f"/api/{name}?limit=1&display=[id]")).xml[0][0].tag
        for key in list(table.rows):
            answer = await send(shop, "PATCH", f"/api/{name}", f"<{node}><id>{key}</id></{node}>")
            assert answer.status == 200, (name, key, answer.text)


@pytest.mark.parametrize(
    "target",
    [
        "/api/orders/" + "9" * 5000,
        "/api/orders?limit=" + "9" * 5000,
        "/api/orders?id_shop=%C2%B2",
        "/api/orders?language=%C2%B2",
        "/api/products?filter[name]=%FF%FE",
        "/api/products?filter[name]=[%",
        "/api/products?display=[",
        "/api/products?display=[[[]]]",
        "/api/products?display[]=full",
        "/api/products?sort=,",
        "/api/products?price[x]=1",
        "/api/products?filter[id][]=1&filter[][]=2",
        "/api/?url=orders&url[]=x",
        "/api/images/products/%C2%B2/%C2%B2",
        "/%61pi/orders",
        "/api/orders/./../orders",
    ],
)
async def test_odd_targets_are_answered(shop: Shop, target: str) -> None:
    """Nothing that a caller writes leaves the store without an answer."""
    assert (await get(shop, target)).status in (200, 302, 400, 404, 500)


async def test_hanging_up_after_the_answer(shop: Shop, store: Store) -> None:
    """The answer does not announce the end of the connection, which comes at once."""
    store.knobs.hang_up = "after_answer"
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.header("Connection")) == (200, None)
    reader, writer = await asyncio.open_connection(store.host, store.port)
    name, value = basic(store.keys["full"])
    writer.write(f"GET /api/orders HTTP/1.1\r\nHost: shop.example\r\n{name}: {value}\r\n\r\n".encode())
    async with asyncio.timeout(2):
        assert (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()


async def test_raw_answer(shop: Shop, store: Store) -> None:
    """The store answers exactly the bytes it is told to."""
    store.knobs.raw_answer = b"HTTP/1.1 299 Odd\r\nX-y:z\r\nContent-Length: 2\r\n\r\nok"
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.reason, answer.headers[0], answer.body) == (299, "Odd", ("X-y", "z"), b"ok")


async def test_hostile_store(shop: Shop, store: Store) -> None:
    """The hostile page carries what must not reach a browser on the relay's origin."""
    store.knobs.hostile = True
    answer = await get(shop, "/api/orders")
    names = [name for name, _ in answer.headers]
    assert names.count("Set-Cookie") == 2
    assert {"Service-Worker-Allowed", "Alt-Svc", "Clear-Site-Data", "Postern-Error"} <= set(names)
    assert (answer.header("Content-Type") or "").startswith("text/html")


async def test_workers(shop: Shop, store: Store) -> None:
    """With two workers, six requests of 0.1 s take three rounds, and never more than two are served at once."""
    store.knobs.update(workers=2, latency=0.1)
    before = time.perf_counter()
    answers = await asyncio.gather(*(get(shop, "/api/orders") for _ in range(6)))
    assert [answer.status for answer in answers] == [200] * 6
    assert store.serving_most == 2
    assert store.serving == 0
    assert time.perf_counter() - before >= 0.29


async def test_slow_first_byte(shop: Shop, store: Store) -> None:
    """first_byte_delay holds the answer back."""
    store.knobs.first_byte_delay = 0.2
    assert (await get(shop, "/api/orders")).first_byte >= 0.19


async def test_time_limit_of_php(shop: Shop, store: Store) -> None:
    """A call that would take longer than max_execution_time ends there, in an empty 500."""
    store.knobs.update(latency=30.0, fatal_after=0.1)
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.body) == (500, b"")
    assert answer.first_byte < 5


async def test_lower_case_headers(shop: Shop, store: Store) -> None:
    """A front end that lower-cases names."""
    store.knobs.header_case = "lower"
    answer = await get(shop, "/api/orders")
    assert ("psws-version", "9.1.4") in answer.headers
    assert all(name == name.lower() for name, _ in answer.headers)


async def test_php_types(shop: Shop, store: Store) -> None:
    """Native: integers are numbers; strings (PHP before 8.1): all but `id` are texts; auto follows the release."""
    target = "/api/orders/41?display=[id,current_state,total_paid]"
    native = {"id": 41, "current_state": 1, "total_paid": "35.700000"}
    assert (await get_json(shop, target)).json["orders"] == [native]
    store.knobs.php_types = "strings"
    assert (await get_json(shop, target)).json["orders"] == [native | {"current_state": "1"}]
    product = (await get_json(shop, "/api/products/6?display=[name,categories]")).json["products"][0]
    assert product["name"][0]["id"] == "1"
    assert product["associations"]["categories"][0] == {"id": "2"}
    store.knobs.update(php_types="auto", version="1.7.8")
    assert (await get_json(shop, target)).json["orders"] == [native | {"current_state": "1"}]


async def test_booleans_are_of_mixed_types(shop: Shop) -> None:
    """Within one list a boolean may be "0" or 0."""
    answer = await get_json(shop, "/api/orders?display=[gift]&filter[id]=[1|2]")
    assert [order["gift"] for order in answer.json["orders"]] == ["0", 0]


async def test_older_releases(shop: Shop, store: Store) -> None:
    """What the table of versions says of 1.6 and 1.7."""
    store.knobs.version = "1.7.4"
    short = await get(shop, "/api", key="SHORT")
    assert short.header("PSWS-Version") == "1.7.4.4"
    assert b"<note>" not in (await get(shop, "/api/orders/41")).body
    assert b"\t<gift_message></gift_message>\n" in (await get(shop, "/api/orders/41")).body
    assert "gift" in (await get_json(shop, "/api/orders/41")).json["order"]
    assert (await get(shop, "/api/orders?filter[nosuch]=[1]")).status == 400
    assert (await get(shop, "/api/orders", headers=[("Host", "shop.example:80")])).status == 302
    whole = (await get(shop, "/api/orders/41")).text
    bad = whole.replace("<current_state", "<x>").replace("</current_state>", "</x><current_state>99</current_state>")
    bad = bad.replace("<x> ", "<x ")
    answer = await ask(shop, "/api/orders/41", method="PUT", body=bad)
    assert (answer.status, answer.body) == (200, b"Invalid new order status")
    store.knobs.version = "1.6.1"
    names = [one.tag for one in (await get(shop, "/api")).xml[0]]
    assert "order_discounts" in names
    assert "order_cart_rules" not in names


async def test_debug_mode_warns_before_the_document(shop: Shop, store: Store) -> None:
    """Basic without a colon: fine in production, a PHP warning before the XML in debug mode."""
    bare = ("Authorization", basic(shop.key("FULL"))[1])
    no_colon = (bare[0], "Basic " + _coded(shop.key("FULL")))
    assert (await ask(shop, "/api/orders", key=None, headers=[no_colon])).body.startswith(b"<?xml")
    store.knobs.error_mode = "debug"
    assert (await ask(shop, "/api/orders", key=None, headers=[no_colon])).body.startswith(b"<br />\n<b>Warning")
    assert (await ask(shop, "/api/orders", key=None, headers=[bare])).body.startswith(b"<?xml")


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_unknown_knobs_are_refused() -> None:
    """A knob that does not exist, a value out of its choice, and a bad number say what would be right."""
    knobs = Knobs()
    with pytest.raises(KnobError, match=r"there is no knob 'nosuch'; there are: .*webservice"):
        knobs.set("nosuch", "1")
    with pytest.raises(KnobError, match="can be: none, warning, bom, blank, script"):
        knobs.set("noise", "loud")
    with pytest.raises(KnobError, match="needs a number"):
        knobs.set("latency", "slow")
    with pytest.raises(KnobError, match="on or off"):
        knobs.set("webservice", "perhaps")
    with pytest.raises(KnobError, match="no knob"):
        knobs.update(nosuch=1)
    knobs.set("raw_answer", "HTTP/1.1 200 OK\\r\\n\\r\\n")
    assert knobs.raw_answer == b"HTTP/1.1 200 OK\r\n\r\n"


async def test_keys_granted_by_a_test(shop: Shop, store: Store) -> None:
    """A key may be made for just some resources and verbs."""
    value = store.grant("narrow", {"orders": ["GET"]})
    assert (await get(shop, "/api/orders", key=value)).status == 200
    assert (await get(shop, "/api/products", key=value)).codes == [26]
    assert (await ask(shop, "/api/orders/1", method="DELETE", key=value)).codes == [25]

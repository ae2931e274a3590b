"""Assertions 77 to 87: the Host rule, redirects, several shops, rewriting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store_conformance.asking import ask, get, send
from tests.store_conformance.test_writes import zoe

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop

WRONG = ("Host", "127.0.0.1:8089")


async def test_77_wrong_host(shop: Shop) -> None:
    """77. 302, empty, to the front office, no PSWS headers; without a key the same; the root and a single too."""
    for key in ("FULL", None):
        answer = await get(shop, "/api/orders?limit=1", key=key, headers=[WRONG])
        assert (answer.status, answer.body) == (302, b"")
        assert answer.header("Location") == "http://shop.example/?url=orders&limit=1"
        assert answer.header("PSWS-Version") is None
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert answer.header("Set-Cookie") is None
    assert (await get(shop, "/api", headers=[WRONG])).header("Location") == "http://shop.example/?url="
    single = await get(shop, "/api/orders/1", headers=[WRONG])
    assert single.header("Location") == "http://shop.example/?url=orders%2F1"


async def test_78_post_with_wrong_host(shop: Shop, store: Store) -> None:
    """78. POST: 302 and nothing created."""
    body = f"<prestashop>{zoe()}</prestashop>"
    answer = await ask(shop, "/api/customers", method="POST", headers=[WRONG], body=body)
    assert (answer.status, answer.header("Location")) == (302, "http://shop.example/?url=customers")
    assert len(store.shop["customers"]) == 2


async def test_79_settings_of_the_redirect(shop: Shop, store: Store) -> None:
    """79. PS_CANONICAL_REDIRECT 0 or 2: 301; SSL flag: Location in https; friendly URLs off: index.php."""
    for setting in (0, 2):
        store.knobs.canonical = setting
        assert (await get(shop, "/api/orders", headers=[WRONG])).status == 301
    store.knobs.ssl = True
    answer = await get(shop, "/api/orders", headers=[WRONG])
    assert answer.header("Location") == "https://shop.example/?url=orders"
    store.knobs.friendly_urls = False
    answer = await get(shop, "/api/orders", headers=[WRONG])
    assert answer.header("Location") == "https://shop.example/index.php?url=orders"


async def test_80_www_variant(shop: Shop) -> None:
    """80. www.shop.example: Location keeps the path, with two question marks."""
    answer = await get(shop, "/api/orders?limit=1", headers=[("Host", "www.shop.example")])
    assert answer.header("Location") == "http://shop.example/api/orders?limit=1?url=orders&limit=1"
    bare = await get(shop, "/api/products", headers=[("Host", "www.shop.example")])
    assert bare.header("Location") == "http://shop.example/api/products?url=products"


async def test_81_forwarded_host(shop: Shop) -> None:
    """81. X-Forwarded-Host is used instead of Host, whole."""
    forwarded = "X-Forwarded-Host"
    assert (await get(shop, "/api/orders", headers=[(forwarded, "other")])).status == 302
    right = await get(shop, "/api/orders", headers=[WRONG, (forwarded, "shop.example")])
    assert (right.status, right.hrefs[0]) == (200, "http://shop.example/api/orders/1")
    assert (await get(shop, "/api/orders", headers=[(forwarded, "shop.example, other")])).status == 302


async def test_82_id_shop_switches_the_check_off(shop: Shop) -> None:
    """82. Wrong Host with id_shop=1: 200, hrefs with the wrong host."""
    answer = await get(shop, "/api/orders?id_shop=1", headers=[WRONG])
    assert (answer.status, answer.hrefs[0]) == (200, "http://127.0.0.1:8089/api/orders/1")


async def test_83_ws_key_leaks(shop: Shop) -> None:
    """83. ws_key of the request appears in Location."""
    full = shop.key("FULL")
    answer = await get(shop, f"/api/orders?ws_key={full}", key=None, headers=[WRONG])
    assert answer.header("Location") == f"http://shop.example/?url=orders&ws_key={full}"


@pytest.mark.parametrize("host", ["SHOP.example:8443", "shop.example:80", "SHOP.example"])
async def test_84_case_and_port(shop: Shop, host: str) -> None:
    """84. Case and port do not matter, and hrefs repeat them."""
    answer = await get(shop, "/api/orders", headers=[("Host", host)])
    assert (answer.status, answer.hrefs[0]) == (200, f"http://{host}/api/orders/1")
    assert (await get(shop, "/api/orders", headers=[("Host", "shop.example.")])).status == 302


async def test_85_what_does_not_redirect(shop: Shop, store: Store) -> None:
    """85. SSL flag on a plain request: 200, hrefs in https; maintenance: /api 200 while / is 503."""
    store.knobs.ssl = True
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.hrefs[0]) == (200, "https://shop.example/api/orders/1")
    store.knobs.maintenance = True
    assert (await get(shop, "/api/orders")).status == 200
    if shop.direct:
        front = await get(shop, "/")
        assert (front.status, front.header("Retry-After")) == (503, "3600")


async def test_86_several_shops(shop: Shop, store: Store) -> None:
    """86. Unknown id_shop 302, unknown group 500/999, a product not in the shop 404/131 with body."""
    unknown = await get(shop, "/api/products?id_shop=99")
    assert (unknown.status, unknown.header("Location")) == (302, "http://shop.example/?url=products")
    group = await get(shop, "/api/products?id_group_shop=99")
    assert (group.status, group.errors) == (500, [(999, "This shop group doesn't have shops")])
    store.knobs.shops = 2
    absent = await get(shop, "/api/products/5?id_shop=2")
    assert (absent.status, absent.errors) == (404, [(131, "This Product (5) does not exists on this shop")])
    assert (await get(shop, "/api/products?id_shop=2")).ids == [1, 2, 3]
    if shop.direct:
        assert (await get(shop, "/second/api/products")).hrefs[0] == "http://shop.example/second/api/products/1"
    assert (await get(shop, "/api/products?id_shop=2", key="PROD")).codes == [132]
    assert (await get(shop, "/api/orders/1?id_shop=2")).status == 200
    assert (await get(shop, "/api/orders?id_shop=2")).ids == []
    for union in ("id_shop=all", "id_group_shop=1", "id_shop_group=1"):
        assert len((await get(shop, f"/api/products?{union}")).ids) == 20
    store.knobs.version = "8.1"
    assert (await get(shop, "/api/products?id_shop=all")).status == 302


async def test_87_rewriting(shop: Shop, store: Store) -> None:
    """87. Rules missing: Apache's 404 HTML, while the dispatcher URL works; nginx without a rule: the front page."""
    store.knobs.rewrite = "missing"
    answer = await get(shop, "/api/orders")
    assert (answer.status, answer.header("Content-Type")) == (404, "text/html; charset=iso-8859-1")
    assert (await get(shop, "/webservice/dispatcher.php?url=orders/41&display=full")).status == 200
    store.knobs.rewrite = "nginx"
    front = await get(shop, "/api/orders")
    assert front.body.startswith(b"<!doctype html>")


async def test_writes_by_a_wrong_host_never_run(shop: Shop, store: Store) -> None:
    """A PATCH or DELETE sent to the wrong name changes nothing either."""
    await ask(shop, "/api/customers/1", method="DELETE", headers=[WRONG])
    assert 1 in store.shop["customers"].rows
    assert (
        await send(shop, "PATCH", "/api/customers/1", "<customer><id>1</id><note>x</note></customer>")
    ).status == 200

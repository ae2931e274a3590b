"""A store's webservice as the relay reads it: rows, bounds, and every answer that is none, each with its code."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from relay.gateway.errors import GatewayError
from relay.prestashop import shop
from relay.prestashop.json_rows import NotRowsError, rows_of_json
from relay.prestashop.query import Query, equals
from relay.prestashop.shop import ANSWER_BYTES, APART_BYTES
from relay.prestashop.store_errors import StoreError
from tests.relay.prestashop.scene import Place, place

VERSIONS = ("1.6.1", "1.7.4", "1.7.8", "8.1", "9.1")


def answered(place: Place, body: bytes, *, status: str = "200 OK", kind: str = "text/xml;charset=utf-8") -> None:
    """From now on the store's answer to everything is this one."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nPSWS-Version: 9.1.4\r\nContent-Length: {len(body)}\r\n\r\n"
    place.store.knobs.raw_answer = head.encode() + body


async def code_of(place: Place, query: Query | None = None) -> str:
    with pytest.raises(StoreError) as caught:
        await place.shop.rows(query or Query("orders"))
    return caught.value.code


@pytest.mark.parametrize("version", VERSIONS)
async def test_rows_are_the_same_in_all_versions(version: str) -> None:
    """Plain fields, translations and associations, an empty one included."""
    async with place(version=version) as here:
        here.store.shop["order_details"].rows.clear()
        here.store.shop["order_details"]._by.clear()
        (order,) = await here.shop.rows(Query("orders", filters=(("id", equals(1)),)))
        assert (order.id, order.text("reference"), order.number("current_state")) == (1, "XKBKNABJK", 6)
        assert order.associations["order_rows"] == []
        state = await here.shop.one("order_states", 4)
        assert state is not None
        assert state.fields["name"] == {1: "Shipped", 2: "Enviado"}
        assert await here.shop.one("orders", 4711) is None


async def test_texts_that_break_the_xml() -> None:
    """A `]]>` in a description makes PrestaShop's XML unreadable: the same rows come in JSON."""
    async with place() as here:
        described = {1: "<script>//<![CDATA[\nlet a = 1;//]]></script>", 2: ""}
        here.store.shop["products"].update(2, {"description": described})
        first, second = await here.shop.rows(Query("products", limit=2))
        assert second.fields["description"] == described
        assert first.fields["name"] == {1: "Hummingbird printed t-shirt", 2: "Camiseta con estampado de colibrí"}
        one = await here.shop.one("products", 2)
        assert one is not None
        assert one.fields == second.fields
        assert one.associations == second.associations


async def test_entity_bombs() -> None:
    """A doctype is refused before anything in it is expanded."""
    entities = b'<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">'
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [' + entities + b"]><prestashop>&b;</prestashop>"
    async with place() as here:
        answered(here, bomb)
        assert await code_of(here) == "store_not_xml"


async def test_too_many_elements() -> None:
    """A document of more elements than may be held is refused."""
    async with place() as here:
        answered(here, b"<prestashop><orders>" + b"<order/>" * 200_000 + b"</orders></prestashop>")
        assert await code_of(here) == "store_not_xml"


async def test_too_large() -> None:
    """An answer of more bytes than may be held is broken off."""
    async with place() as here:
        answered(here, b" " * (ANSWER_BYTES + 1))
        with pytest.raises(GatewayError) as caught:
            await here.shop.rows(Query("orders"))
        assert caught.value.failure.code == "store_bad_answer"


@pytest.mark.parametrize("noise", ["warning", "bom", "blank", "script"])
async def test_noise(noise: str) -> None:
    """What a module or debug mode puts around the document is cut off."""
    async with place(noise=noise) as here:
        assert len(await here.shop.rows(Query("orders"))) == 5


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        (b"<prestashop><orders><order><id>1</id>", "200 OK", "text/xml", "store_not_xml"),
        (b"Invalid new order status", "200 OK", "text/html", "front_page"),
        (b"", "200 OK", "text/xml", "store_not_xml"),
        (b"", "500 Internal Server Error", "text/html", "php_fatal"),
        (b"", "404 Not Found", "text/html", "not_in_store"),
        (b"<b>Fatal error</b>: Uncaught Exception", "200 OK", "text/html", "php_fatal"),
        (b"<prestashop><errors><error><message>Internal error.</message></error></errors></prestashop>",
         "401 Unauthorized", "text/xml", "key_refused"),
        (b"<html>slow down</html>", "429 Too Many Requests", "text/html", "rate_limited"),
        (b"<html>bad gateway</html>", "502 Bad Gateway", "text/html", "store_proxy_failed"),
        (b"<html>no</html>", "403 Forbidden", "text/html", "firewall_blocks"),
        (b"<prestashop><errors><error><code>3</code><message>[PHP Warning] x</message></error></errors></prestashop>",
         "500 Internal Server Error", "text/xml", "php_error"),
        (b'{"errors":[{"code":26,"message":"no"}]}', "401 Unauthorized", "application/json", "permission_missing"),
        (b"<other/>", "200 OK", "text/xml", "store_not_xml"),
    ],
)  # fmt: skip
async def test_answers_that_are_none(body: bytes, status: str, kind: str, code: str) -> None:
    """Whatever the store, or what stands before it, answers has a code."""
    async with place() as here:
        answered(here, body, status=status, kind=kind)
        assert await code_of(here) == code


async def test_the_key_is_in_no_error() -> None:
    """An error that repeats the store's key comes without it."""
    async with place() as here:
        key = here.store.keys["full"]
        message = f"<error><code>41</code><message>Original XML : {key}</message></error>".encode()
        answered(here, b"<prestashop><errors>" + message + b"</errors></prestashop>", status="400 Bad Request")
        with pytest.raises(StoreError) as caught:
            await here.shop.rows(Query("orders"))
        assert key not in f"{caught.value} {caught.value.detail} {caught.value.faults}"


async def test_a_warning_after_the_first_error_hides_nothing() -> None:
    """PHP 8 in production answers 500 and adds errors of its own: the first one counts."""
    async with place() as here:
        assert await code_of(here, Query("orders", "[id,nosuch]")) == "query_refused"
        assert await code_of(here, Query("nosuch")) == "resource_missing"


async def test_retry_after() -> None:
    """What the store asks for is passed on, within bounds."""
    async with place() as here:
        for text, seconds in (("7", 7), ("999999", 3600), ("soon", None), ("-1", None)):
            head = f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n"
            here.store.knobs.raw_answer = head.encode()
            with pytest.raises(StoreError) as caught:
                await here.shop_with("full", account=text).rows(Query("orders"))
            assert caught.value.retry_after == seconds


@pytest.mark.parametrize("sound", [True, False], ids=["rows", "no document"])
async def test_a_long_answer_is_read_apart(sound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes of it, in JSON as well: everybody else's bytes go on meanwhile."""
    threads: set[int] = set()
    for name in ("document_of", "rows_of_json"):
        monkeypatch.setattr(shop, name, _noting(getattr(shop, name), threads))
    async with place() as here:
        row = b"<order><id>1</id><note>" + b"x" * APART_BYTES + b"</note></order>"
        answered(here, b"<prestashop><orders>" + row + (b"</orders></prestashop>" if sound else b""))
        if sound:
            await here.shop.rows(Query("orders"))
        else:
            assert await code_of(here) == "store_not_xml"
    assert threads
    assert threading.get_ident() not in threads


def _noting(call: Callable[..., object], threads: set[int]) -> Callable[..., object]:
    def noted(*given: object, **named: object) -> object:
        threads.add(threading.get_ident())
        return call(*given, **named)

    return noted


@pytest.mark.parametrize(
    "body", [b'{"orders":[{"id":"1","name":[{"value":"x"}]}]}', b'{"orders":[7]}', b'{"a":1,"b":2}']
)
def test_json_that_is_no_list_of_rows(body: bytes) -> None:
    """A translated text without its language, say: it is told as no list, as any other."""
    with pytest.raises(NotRowsError):
        rows_of_json(body)

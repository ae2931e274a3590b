"""Assertions 22 to 40: the shapes and headers of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store_conformance.asking import ask, get, get_json

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop

PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink="http://www.w3.org/1999/xlink">\n'


async def test_22_list_of_ids_in_xml(shop: Shop) -> None:
    """22. GET /api/orders: XML, children with only `id` and an href in the shop's name."""
    answer = await get(shop, "/api/orders")
    assert answer.header("Content-Type") == "text/xml;charset=utf-8"
    assert answer.body.startswith(PROLOG)
    assert answer.body.endswith(b"</prestashop>\n")
    orders = answer.xml[0]
    assert orders.tag == "orders"
    assert [one.get("id") for one in orders] == ["1", "2", "3", "4", "5", "41", "42"]
    assert all(len(one) == 0 and len(one.attrib) == 2 for one in orders)
    assert answer.hrefs[-2] == "http://shop.example/api/orders/41"


async def test_23_json_by_every_way_of_asking(shop: Shop) -> None:
    """23. Output-Format, Io-Format, output_format, io_format: the same JSON, ids as numbers."""
    expected = b'{"orders":[{"id":41},{"id":42}]}'
    target = "/api/orders?filter[id]=[41|42]"
    for header in ("Output-Format", "Io-Format"):
        answer = await get(shop, target, headers=[(header, "JSON")])
        assert (answer.header("Content-Type"), answer.body) == ("application/json", expected)
    for parameter in ("output_format", "io_format"):
        answer = await get(shop, f"{target}&{parameter}=JSON")
        assert (answer.header("Content-Type"), answer.body) == ("application/json", expected)


async def test_24_anything_else_is_xml(shop: Shop) -> None:
    """24. `json`, `CSV`, Accept: application/json: XML."""
    for header in (("Output-Format", "json"), ("Accept", "application/json"), ("Output-Format", "CSV")):
        answer = await get(shop, "/api/orders", headers=[header])
        assert answer.header("Content-Type") == "text/xml;charset=utf-8"
        assert answer.body.startswith(PROLOG)


async def test_25_empty_lists(shop: Shop) -> None:
    """25. No hits: JSON exactly `[]`, with display too; XML an element without children."""
    for display in ("", "&display=full"):
        answer = await get_json(shop, f"/api/orders?filter[id]=[9999]{display}")
        assert (answer.status, answer.body) == (200, b"[]")
    answer = await get(shop, "/api/orders?filter[id]=[9999]")
    assert answer.body == PROLOG + b"<orders>\n</orders>\n</prestashop>\n"


async def test_26_json_single_drops_falsy_fields(shop: Shop) -> None:
    """26. GET /api/orders/41 as JSON: no key whose value is empty, 0 or "0"."""
    order = (await get_json(shop, "/api/orders/41")).json["order"]
    assert not {"gift", "valid", "invoice_number", "note", "shipping_number"} & set(order)
    assert order["id"] == 41
    assert order["total_discounts"] == "0.000000"


async def test_27_json_single_with_display_keeps_them(shop: Shop) -> None:
    """27. With display=full: a list of one, with `gift`."""
    answer = await get_json(shop, "/api/orders/41?display=full")
    assert list(answer.json) == ["orders"]
    (order,) = answer.json["orders"]
    assert str(order["gift"]) == "0"
    assert order["note"] == ""


async def test_28_xml_single_with_display_has_no_plural(shop: Shop) -> None:
    """28. GET /api/orders/41?display=[id,reference] as XML: `<order>` directly under the root."""
    root = (await get(shop, "/api/orders/41?display=[id,reference]")).xml
    assert [one.tag for one in root] == ["order"]
    assert [(one.tag, one.text) for one in root[0]] == [("id", "41"), ("reference", "QWERTYUIO")]


async def test_29_display_on_a_single_in_1_7_4(shop: Shop, store: Store) -> None:
    """29. Version 1.7.4: only an id stub."""
    store.knobs.version = "1.7.4"
    answer = await get_json(shop, "/api/orders/41?display=full")
    assert answer.json == {"order": {"id": 41}}


async def test_30_empty_associations(shop: Shop) -> None:
    """30. An order without rows: JSON has no `order_rows`, XML an empty element."""
    assert "associations" not in (await get_json(shop, "/api/orders/42")).json["order"]
    answer = await get(shop, "/api/orders/42")
    assert b'<order_rows nodeType="order_row" virtualEntity="true"/>\n' in answer.body


async def test_31_translated_fields_in_json(shop: Shop) -> None:
    """31. All languages: a list; one: plain text; `[1|2]`: ids are strings; an unknown one: 400/81."""
    target = "/api/products/6?display=[name]"
    english, spanish = "Mug The best is yet to come", "Taza «Lo mejor está por venir»"

    async def name(query: str) -> object:
        return (await get_json(shop, target + query)).json["products"][0]["name"]

    assert await name("") == [{"id": 1, "value": english}, {"id": 2, "value": spanish}]
    assert await name("&language=2") == spanish
    assert await name("&language=[1|2]") == [{"id": "1", "value": english}, {"id": "2", "value": spanish}]
    unknown = await get_json(shop, f"{target}&language=99")
    assert (unknown.status, unknown.errors) == (400, [(81, "language is not available")])


async def test_32_json_values(shop: Shop) -> None:
    """32. Decimals are strings with six digits, `/` is escaped, `ñ` is raw."""
    answer = await get_json(shop, "/api/products/20?display=[price,name]&language=1")
    assert answer.body == '{"products":[{"price":"1.000000","name":"Without a picture \\/ ñ"}]}'.encode()


async def test_33_headers_of_success_and_of_errors(shop: Shop) -> None:
    """33. Success carries the five headers; DELETE and ordinary errors no Content-Sha1; image and search errors do."""
    answer = await get(shop, "/api/orders")
    assert (answer.header("Access-Time") or "").isdigit()
    assert answer.header("X-Powered-By") == "PrestaShop Webservice"
    assert answer.header("PSWS-Version") == "9.1.4"
    assert float(answer.header("Execution-Time") or "") >= 0
    assert answer.header("Content-Sha1") == answer.sha1
    assert (await ask(shop, "/api/orders/42", method="DELETE")).header("Content-Sha1") is None
    assert (await get(shop, "/api/nosuch")).header("Content-Sha1") is None
    for target in ("/api/images/products/1/999", "/api/search"):
        wrong = await get(shop, target)
        assert wrong.status == 400
        assert wrong.header("Content-Sha1") not in (None, wrong.sha1)


async def test_34_local_content_sha1(shop: Shop, store: Store) -> None:
    """34. The last Content-Sha1 sent back: 304 without body; before version 8: 200."""
    known = (await get(shop, "/api/orders")).header("Content-Sha1") or ""
    again = await get(shop, "/api/orders", headers=[("Local-Content-Sha1", known)])
    assert (again.status, again.body) == (304, b"")
    assert again.header("Content-Type") is None
    assert again.header("Content-Sha1") == known
    store.knobs.version = "1.7.8"
    older = await get(shop, "/api/orders", headers=[("Local-Content-Sha1", known)])
    assert older.status == 200


async def test_35_if_none_match_is_ignored(shop: Shop) -> None:
    """35. If-None-Match: 200."""
    known = (await get(shop, "/api/orders")).header("Content-Sha1") or ""
    assert (await get(shop, "/api/orders", headers=[("If-None-Match", f'"{known}"')])).status == 200


async def test_36_root(shop: Shop, store: Store) -> None:
    """36. GET /api: one element per granted resource with its verbs; PROD sees products only; 1.7 has no patch."""
    root = (await get(shop, "/api")).xml[0]
    assert (root.tag, root.get("shopName")) == ("api", "RealShop")
    assert len(root) == 64
    products = root.find("products")
    assert products is not None
    assert [products.get(verb) for verb in ("get", "put", "post", "patch", "delete", "head")] == ["true"] * 6
    narrow = (await get(shop, "/api", key="PROD")).xml[0]
    assert [one.tag for one in narrow] == ["products"]
    assert (narrow[0].get("get"), narrow[0].get("head"), narrow[0].get("patch")) == ("true", "false", "false")
    store.knobs.version = "1.7.8"
    older = (await get(shop, "/api")).xml[0]
    assert all(one.get("patch") is None for one in older)


async def test_37_root_in_json(shop: Shop, store: Store) -> None:
    """37. From 8 on: 500, empty, text/html; debug mode: 200 HTML "Fatal error"; on 1.7: an array of names."""
    answer = await get_json(shop, "/api")
    assert (answer.status, answer.body) == (500, b"")
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert answer.header("PSWS-Version") is None
    store.knobs.error_mode = "debug"
    debug = await get_json(shop, "/api")
    assert (debug.status, debug.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert b"Fatal error" in debug.body
    store.knobs.version = "1.7.8"
    older = await get_json(shop, "/api", key="PROD")
    assert older.json == ["products"]


async def test_38_spellings_of_the_path(shop: Shop) -> None:
    """38. /api and /api/ are the same, doubled slashes work, %2F is the web server's 404."""
    bodies = {(await get(shop, target)).body for target in ("/api", "/api/")}
    assert len(bodies) == 1
    assert (await get(shop, "//api/orders")).ids == [1, 2, 3, 4, 5, 41, 42]
    assert (await get(shop, "/api//orders/41")).xml[0].findtext("id") == "41"
    encoded = await get(shop, "/api/orders%2F41")
    assert encoded.status == 404
    assert encoded.header("Content-Type") == "text/html; charset=iso-8859-1"
    assert encoded.header("PSWS-Version") is None


async def test_39_first_format_header_decides_and_head_of_the_root(shop: Shop) -> None:
    """39. Io-Format: XML before Output-Format: JSON gives XML; HEAD /api needs no HEAD permission."""
    answer = await get(shop, "/api/orders", headers=[("Output-Format", "JSON"), ("Io-Format", "XML")])
    assert answer.header("Content-Type") == "text/xml;charset=utf-8"
    assert (await ask(shop, "/api", method="HEAD", key="PROD")).status == 200


async def test_39a_unknown_id(shop: Shop) -> None:
    """39a. GET /api/orders/99999: 404, empty body, no Content-Type, in XML and JSON; HEAD the same."""
    for answer in (
        await get(shop, "/api/orders/99999"),
        await get_json(shop, "/api/orders/99999"),
        await ask(shop, "/api/orders/99999", method="HEAD"),
    ):
        assert (answer.status, answer.body) == (404, b"")
        assert answer.header("Content-Type") is None
        assert answer.header("PSWS-Version") == "9.1.4"
        assert answer.header("Content-Sha1") is None


async def test_40_how_ids_are_read(shop: Shop) -> None:
    """40. 1abc, 1/2 and 1.json are product 1; abc, 0 and -1 are a 404."""
    for text in ("1abc", "1/2", "1.json"):
        assert (await get(shop, f"/api/products/{text}?display=[id]")).xml[0].findtext("id") == "1"
    for text in ("abc", "0", "-1"):
        answer = await get(shop, f"/api/products/{text}")
        assert (answer.status, answer.body) == (404, b"")

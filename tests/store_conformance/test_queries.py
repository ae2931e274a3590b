"""Assertions 41 to 56: filters, sorting, paging, columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store_conformance.asking import get, get_json

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop

PRODUCTS = list(range(1, 21))
MUGS = [6, 7, 8, 15, 19]


async def ids(shop: Shop, query: str) -> list[int]:
    answer = await get_json(shop, f"/api/products?{query}")
    assert answer.status == 200, answer.text
    return answer.ids


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[1|3]", [1, 3]),
        ("[1,3]", [1, 2, 3]),
        ("[3,1]", [1, 2, 3]),
        ("5", [5]),
        ("[5]", [5]),
        (">[17]", [18, 19, 20]),
        ("<[3]", [1, 2]),
        ("![1|2]", PRODUCTS[2:]),
        ("%5B1%7C3%5D", [1, 3]),
        ("%3E%5B17%5D", [18, 19, 20]),
    ],
)
async def test_41_filters_on_ids(shop: Shop, value: str, expected: list[int]) -> None:
    """41. One of, between (in any order), equal, greater, less, none of."""
    assert await ids(shop, f"filter[id]={value}&sort=[id_ASC]") == expected


async def test_42_filters_on_texts(shop: Shop) -> None:
    """42. Contains, begins, ends, whatever the case; percent signs without brackets are literal."""
    for value in ("%[mug]%", "%25[mug]%25", "%[MUG]%"):
        assert await ids(shop, f"filter[name]={value}&sort=[id_ASC]") == MUGS
    begins = [1, 6, 7, 8, 9, 10, 11, 12, 13, 18, 19]
    assert await ids(shop, "filter[reference]=[demo_1]%&sort=[id_ASC]") == begins
    assert await ids(shop, "filter[name]=%[cushion]&sort=[id_ASC]") == [9, 10, 11]
    assert await ids(shop, "filter[name]=%25mug%25") == []


async def test_43_greater_or_equal_is_no_filter(shop: Shop) -> None:
    """43. filter[id]=>=[18]: all rows, 200."""
    assert await ids(shop, "filter[id]=>=[18]&sort=[id_ASC]") == PRODUCTS


@pytest.mark.parametrize(
    ("name", "value", "code"), [("id", "", 33), ("nosuch", "[1]", 32), ("manufacturer_name", "[x]", 34)]
)
async def test_44_bad_filters(shop: Shop, store: Store, name: str, value: str, code: int) -> None:
    """44. Malformed 33, unknown 32, dynamic 34: 500 with trailing code 3 in production, 400 alone in debug mode."""
    target = f"/api/products?filter[{name}]={value}"
    production = await get(shop, target)
    assert production.status == 500
    assert production.codes[0] == code
    assert set(production.codes[1:]) == {3}
    assert all(text.startswith("[PHP ") for _, text in production.errors[1:])
    store.knobs.error_mode = "debug"
    debug = await get(shop, target)
    assert (debug.status, debug.codes) == (400, [code])


async def test_45_date_filter_needs_date_1(shop: Shop) -> None:
    """45. Without date=1, or with date=0: code 32; with date=1: 200."""
    filtered = "/api/orders?filter[date_upd]=>[2020-01-01%2000:00:00]"
    assert (await get(shop, filtered)).codes[0] == 32
    assert (await get(shop, f"{filtered}&date=0")).codes[0] == 32
    assert (await get(shop, f"{filtered}&date=1")).ids == [1, 2, 3, 4, 5, 41, 42]


async def test_46_date_sort_needs_date_1(shop: Shop, store: Store) -> None:
    """46. sort=[date_upd_ASC]: code 38 without date=1; sorted with it."""
    assert (await get(shop, "/api/orders?sort=[date_upd_ASC]")).codes[0] == 38
    store.shop["orders"].update(3, {"date_upd": "2020-01-01 00:00:00"})
    store.shop["orders"].update(2, {"date_upd": "2021-01-01 00:00:00"})
    answer = await get(shop, "/api/orders?sort=[date_upd_ASC]&date=1")
    assert answer.ids[:2] == [3, 2]


async def test_47_iso_dates_find_nothing(shop: Shop) -> None:
    """47. A `T` in an interval empties the list silently; blanks as %20 or + work."""
    with_t = "filter[date_upd]=[2020-01-01T00:00:00,2099-01-01T00:00:00]&date=1"
    assert (await get_json(shop, f"/api/orders?{with_t}")).body == b"[]"
    for blank in ("%20", "+"):
        answer = await get_json(shop, f"/api/orders?{with_t.replace('T', blank)}")
        assert answer.ids == [1, 2, 3, 4, 5, 41, 42]


async def test_48_interval_bounds_are_inclusive(shop: Shop, store: Store) -> None:
    """48. [a,b] includes its bounds; >[x] excludes x."""
    for key, second in ((1, "01"), (2, "02"), (3, "03")):
        store.shop["orders"].update(key, {"date_upd": f"2020-01-01 00:00:{second}"})
    day = "2020-01-01%2000:00:"
    inside = await get(shop, f"/api/orders?filter[date_upd]=[{day}01,{day}03]&date=1&sort=[id_ASC]")
    assert inside.ids == [1, 2, 3]
    after = await get(shop, f"/api/orders?filter[date_upd]=>[{day}02]&date=1&sort=[id_ASC]")
    assert after.ids[:2] == [3, 4]


async def test_49_sorting(shop: Shop) -> None:
    """49. One key in three spellings; two keys; a bad direction 37; an unknown field 38."""
    for spelling in ("[id_DESC]", "id_DESC", "[id_desc]"):
        assert await ids(shop, f"sort={spelling}") == PRODUCTS[::-1]
    assert (await ids(shop, "sort=[price_DESC,id_ASC]"))[:5] == [2, 15, 3, 4, 5]
    assert (await get(shop, "/api/products?sort=[id_UP]")).codes[0] == 37
    assert (await get(shop, "/api/products?sort=[nosuch_ASC]")).codes[0] == 38


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("2", [1, 2]), ("2,3", [3, 4, 5]), (",2", [1, 2]), ("1000,5", []), ("0", []), ("abc", []), ("-1", []), ("2,", [])],
)
async def test_50_limits(shop: Shop, limit: str, expected: list[int]) -> None:
    """50. n, or offset,n; useless values give an empty list; three parts are code 39."""
    assert await ids(shop, f"sort=[id_ASC]&limit={limit}") == expected
    assert (await get(shop, "/api/products?limit=1,2,3")).codes[0] == 39


async def test_51_bad_columns_and_schema(shop: Shop) -> None:
    """51. Unknown column 35, bad syntax 36, unknown schema 28."""
    assert (await get(shop, "/api/products?display=[id,nosuch]")).codes[0] == 35
    assert (await get(shop, "/api/products?display=id,name")).codes[0] == 36
    assert (await get(shop, "/api/products?schema=wrong")).codes[0] == 28


async def test_52_columns_of_an_association(shop: Shop) -> None:
    """52. display=[id,order_rows[product_id,product_quantity]]: only these two in each row."""
    answer = await get_json(shop, "/api/orders/41?display=[id,order_rows[product_id,product_quantity]]")
    rows = {"order_rows": [{"product_id": 6, "product_quantity": 3}]}
    assert answer.json == {"orders": [{"id": 41, "associations": rows}]}


async def test_53_what_is_ignored(shop: Shop) -> None:
    """53. Unknown parameters, and filters on a single entity."""
    assert await ids(shop, "nosuch=1&limit=1") == [1]
    single = await get(shop, "/api/orders/41?filter[id]=[1]")
    assert single.xml[0].findtext("id") == "41"


async def test_54_parameters_in_the_path(shop: Shop) -> None:
    """54. /api/orders/41&display=[id] (no `?`) is like ?display=[id]."""
    answer = await get_json(shop, "/api/orders/41&display=[id]")
    assert answer.json == {"orders": [{"id": 41}]}


async def test_55_dispatcher(shop: Shop) -> None:
    """55. /webservice/dispatcher.php?url=orders&limit=1 is like /api/orders?limit=1."""
    answer = await get(shop, "/webservice/dispatcher.php?url=orders&limit=1")
    assert (answer.status, answer.ids) == (200, [1])
    assert answer.body == (await get(shop, "/api/orders?limit=1")).body


async def test_56_request_line_limit(shop: Shop) -> None:
    """56. A request line above 8,190 bytes: 414 HTML; one of just that length is served."""
    frame = len("GET  HTTP/1.1")
    target = "/api/orders?x="
    fits = target + "x" * (8190 - frame - len(target))
    assert (await get(shop, fits)).status == 200
    answer = await get(shop, fits + "x")
    assert answer.status == 414
    assert (answer.header("Content-Type") or "").startswith("text/html")

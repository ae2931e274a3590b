"""Actions as the typed surface serves them: shapes, paging, scopes, problems; the store is the stand-in, no tunnel."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from relay.api.streams import NDJSON
from relay.gateway.errors import GatewayError, Outcome
from tests.relay.api.scene import Relay
from tests.relay.api.shop_scene import Place, problem, shop_of


@pytest.fixture
def backend() -> str:
    """Reading actions ask the database for nothing but the connection: one kind of it tells all."""
    return "sqlite"


@pytest.fixture
async def place(relay: Relay) -> AsyncIterator[Place]:
    async with shop_of(relay) as place:
        yield place


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith(NDJSON), answer.headers
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("action", "members"),
    [
        ("list-products", {"id", "reference", "name", "price", "active", "date_upd"}),
        ("list-orders", {"id", "reference", "current_state", "total_paid", "id_customer", "date_add", "date_upd"}),
        ("list-customers", {"id", "firstname", "lastname", "email", "active", "date_add", "date_upd"}),
        ("list-carts", {"id", "id_customer", "cart_rows", "date_upd"}),
        ("order-states", {"id", "name", "send_email", "deleted"}),
    ],
)
async def test_lists(place: Place, action: str, members: set[str]) -> None:
    """A list answers `{items, next}`, by ascending ids, and filters nothing unless asked."""
    answer = await place.get(action)
    assert set(answer.json()) == {"items", "next"}
    items = answer.json()["items"]
    assert items
    assert all(members <= set(item) for item in items)
    assert [item["id"] for item in items] == sorted(item["id"] for item in items)
    assert answer.headers["postern-shop-time-zone"] == "Europe/Madrid"


async def test_get_order(place: Place) -> None:
    """An order comes with its rows under PrestaShop's names, in values, without its secret key."""
    order = (await place.get("get-order", id=1)).json()
    assert order["order_rows"][0]["product_id"] == 1
    assert order["order_rows"][0]["unit_price_tax_incl"] == "23.900000"
    assert (order["total_paid"], order["valid"], order["gift"]) == ("61.800000", False, False)
    assert order["date_upd"][-6:] in {"+01:00", "+02:00"}
    assert "secure_key" not in order


async def test_get_product(place: Place) -> None:
    """A product's quantities are those of stock_availables, its names by ISO code."""
    product = (await place.get("get-product", id=1)).json()
    assert product["name"] == {
        "en": "Hummingbird printed t-shirt",
        "es": "Camiseta con estampado de colibrí",
    }
    stock = place.store.shop["stock_availables"].where("id_product", 1)
    assert product["quantity"] == next(row["quantity"] for row in stock if not row["id_product_attribute"])
    assert {cell["id"]: cell["quantity"] for cell in product["stock_availables"]} == {
        row["id"]: row["quantity"] for row in stock
    }


async def test_quantities_are_asked_for_in_parts(place: Place) -> None:
    """A store without memory for all rows of stock at once answers with fewer."""
    wanted = await place.items("list-products", fields="quantity")
    place.store.knobs.fatal_cells = 40
    assert await place.items("list-products", fields="quantity") == wanted
    assert len(place.store.shop["stock_availables"].rows) > 10


async def test_what_is_not_there(place: Place) -> None:
    """An unknown id is 404 with the store as origin, told from an unknown connection."""
    told = problem(await place.get("get-order", id=99999), 404, "not_in_store")
    assert (told["origin"], told["retryable"]) == ("store", False)
    place.connection = "con_aaaaaaaaaaaaaaaa"
    assert problem(await place.get("get-order", id=1), 404, "not_found")["origin"] == "caller"


async def test_pages(place: Place) -> None:
    """`next` leads through the whole list without a hole or a repeat; the last page has none."""
    found, cursor = [], None
    while True:
        query = {"limit": 4, **({"cursor": cursor} if cursor else {})}
        page = (await place.get("list-products", query)).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["items"]) == 4
    assert found == sorted(place.store.shop["products"].rows)


async def test_cursors_are_of_one_list(place: Place) -> None:
    """A cursor of another list, or none of ours, is refused instead of leading anywhere."""
    cursor = (await place.get("list-products", limit=2)).json()["next"]
    for query in ({"cursor": cursor, "active": True}, {"cursor": "WzEsIngiXQ"}, {"cursor": "!"}):
        told = problem(await place.get("list-products", query), 422, "invalid")
        assert told["errors"][0]["field"] == "cursor"


async def test_filters(place: Place) -> None:
    """Each filter selects; several select together."""
    assert [item["id"] for item in await place.items("list-products", reference="DEMO_1")] == [1]
    place.store.shop["products"].update(1, {"active": 0})
    assert [item["id"] for item in await place.items("list-products", active=False)] == [1]
    assert await place.items("list-products", active=True, reference="demo_1") == []
    assert [item["id"] for item in await place.items("list-orders", state=10)] == [5]
    assert await place.items("list-orders", customer=1) == []
    assert [item["id"] for item in await place.items("list-customers", email="pub@prestashop.com")] == [2]
    assert [item["id"] for item in await place.items("list-customers", active=False)] == [1]


@pytest.mark.parametrize("value", ["demo_1|demo_3", "%", "%demo%", "demo_1,demo_3", ">a", "![x", "[demo_1", "x]", ">["])
async def test_no_value_becomes_a_filter(place: Place, value: str) -> None:
    """What PrestaShop's filters are made of is plain text in a value: nothing but itself is found."""
    assert await place.items("list-products", reference=value) == []


@pytest.mark.parametrize("value", ["[demo_1]", "%[demo]%", ">=[a]", "x[5]", "a\x01"])
async def test_what_cannot_be_asked(place: Place, value: str) -> None:
    """A value that PrestaShop would take for an expression is refused, and the store is not asked."""
    told = problem(await place.get("list-products", reference=value), 422, "invalid")
    assert told["errors"][0]["field"] == "reference"
    assert place.sent("filter%5Breference") == []


async def test_misspelt_filters(place: Place) -> None:
    """A parameter that does not exist is refused: it must not answer with everything."""
    told = problem(await place.get("list-products", activ="true"), 422, "invalid")
    assert "active" in told["detail"]


async def test_updated_window(place: Place) -> None:
    """The window holds its first second and not its last, by the shop's clock, with or without an offset."""
    for id_, at in ((1, "2026-07-01 11:59:59"), (2, "2026-07-01 12:00:00"), (3, "2026-07-01 12:00:01")):
        place.store.shop["orders"].update(id_, {"date_upd": at})
    for id_ in (4, 5):
        place.store.shop["orders"].update(id_, {"date_upd": "2020-01-01 00:00:00"})

    async def ids(**window: str) -> list[int]:
        return [item["id"] for item in await place.items("list-orders", **window)]

    local = {"updated_from": "2026-07-01T12:00:00", "updated_before": "2026-07-01T12:00:01"}
    assert await ids(**local) == [2]
    assert await ids(updated_from="2026-07-01T10:00:00Z", updated_before="2026-07-01T10:00:01Z") == [2]
    assert await ids(updated_from="2026-07-01T12:00:00+02:00") == [2, 3]
    assert await ids(updated_before="2026-07-01T11:59:59.5") == [1, 4, 5]
    refused = await place.get("list-orders", updated_from=local["updated_before"], updated_before=local["updated_from"])
    problem(refused, 422, "invalid")


async def test_updated_windows_in_the_hour_that_comes_twice(place: Place) -> None:
    """No order is missing from the windows that follow upon each other: what can be meant twice is in both of them."""
    at = {1: "2026-10-25 02:40:00", 2: "2026-10-25 02:10:00", 3: "2026-10-25 01:59:59", 4: "2026-10-25 03:00:00"}
    for id_, text in at.items():
        place.store.shop["orders"].update(id_, {"date_upd": text})
    place.store.shop["orders"].update(5, {"date_upd": "2020-01-01 00:00:00"})

    async def ids(first: str, end: str) -> list[int]:
        window = {"updated_from": f"2026-10-25T{first}Z", "updated_before": f"2026-10-25T{end}Z"}
        return [item["id"] for item in await place.items("list-orders", **window)]

    assert await ids("00:30", "01:30") == [1, 2]
    assert await ids("00:45", "01:15") == [1, 2]
    assert await ids("01:15", "01:45") == [1]
    assert await ids("01:30", "02:30") == [1, 4]


async def test_shop_time_unknown(place: Place) -> None:
    """Without the grant for `configurations`, times carry no offset, and a window must not either."""
    await place.lacking({"orders": ["GET"]})
    answer = await place.get("list-orders")
    assert len(answer.json()["items"][0]["date_upd"]) == len("2026-07-01T12:00:00")
    assert "postern-shop-time-zone" not in answer.headers
    told = problem(await place.get("list-orders", updated_from="2026-07-01T10:00:00Z"), 422, "shop_time_unknown")
    assert "configurations" in told["detail"]
    assert (await place.get("list-orders", updated_from="2026-07-01T10:00:00")).status_code == 200


async def test_fields_and_display(place: Place) -> None:
    """`fields` and `display` say what comes; the id always does."""
    (item,) = await place.items("list-products", fields="reference,quantity", limit=1)
    assert item == {"id": 1, "reference": "demo_1", "quantity": 2400}
    order = (await place.get("get-order", id=1, display="[reference,order_rows[product_id,product_quantity]]")).json()
    assert order == {
        "id": 1,
        "reference": "XKBKNABJK",
        "order_rows": [{"product_id": 1, "product_quantity": 1}, {"product_id": 2, "product_quantity": 1}],
    }


async def test_fields_that_the_store_does_not_know(place: Place) -> None:
    """An unknown field is the store's own error, with PrestaShop's codes and sentence, whatever status it chose."""
    told = problem(await place.get("list-products", fields="id,nosuch"), 422, "query_refused")
    assert told["origin"] == "store"
    assert told["store"]["status"] == 500
    assert told["store"]["errors"][0]["code"] == 35
    assert "nosuch" in told["detail"]


@pytest.mark.parametrize("display", ["full&ws_key=x", "[id", "id,name", "[id,name]&ps_method=DELETE", "[a[b[c]]]", ""])
async def test_displays_that_are_none(place: Place, display: str) -> None:
    """What is not PrestaShop's grammar never reaches the store."""
    problem(await place.get("list-products", display=display), 422, "invalid")
    assert place.sent("/api/products") == []


async def test_raw(place: Place) -> None:
    """`raw=true` gives PrestaShop's own texts and shape; secrets stay out of it."""
    order = (await place.get("get-order", id=1, raw=True)).json()
    assert (order["id"], order["current_state"], order["gift"]) == ("1", "6", "0")
    assert order["associations"]["order_rows"][0]["product_id"] == "1"
    customers = await place.items("list-customers", display="full", raw=True)
    assert not {"passwd", "secure_key", "reset_password_token"} & set(customers[0])
    (product,) = await place.items("list-products", fields="name", raw=True, limit=1)
    assert set(product["name"]) == {"1", "2"}


async def test_language(place: Place) -> None:
    """One language, by ISO code or id; an unknown one is said to be unknown."""
    for language in ("es", "2", "ES"):
        (product,) = await place.items("list-products", fields="name", language=language, limit=1)
        assert set(product["name"]) == {"es"}
    assert "es" in problem(await place.get("list-products", language="xx"), 422, "language_unknown")["detail"]
    told = problem(await place.get("list-products", language="77"), 422, "language_unknown")
    assert told["store"]["errors"][0]["code"] == 81


async def test_shops(place: Place) -> None:
    """`id_shop` chooses a shop of a multistore; one that is not there is named as the trouble it is."""
    place.store.knobs.shops = 2
    assert [item["id"] for item in await place.items("list-products", id_shop=2)] == [1, 2, 3]
    problem(await place.get("list-products", id_shop=99), 422, "shop_unknown")
    problem(await place.get("list-products", id_group_shop=99), 422, "shop_unknown")


async def test_abandoned_carts(place: Place) -> None:
    """Abandoned is a cart without an order."""
    all_carts = {item["id"] for item in await place.items("list-carts")}
    ordered = {int(str(row["id_cart"])) for row in place.store.shop["orders"]}
    lone = place.store.shop["carts"].insert(dict(place.store.shop.row("carts", 1)) | {"id": 77})
    assert [item["id"] for item in await place.items("list-carts", abandoned=True)] == sorted(
        (all_carts - ordered) | {lone}
    )
    assert {item["id"] for item in await place.items("list-carts", abandoned=False)} == all_carts & ordered


async def test_streams(place: Place) -> None:
    """With `Accept: application/x-ndjson` the whole list comes, one item with an id a line, and nothing else."""
    found = lines(await place.get("list-products", accept=NDJSON, limit=5))
    assert [item["id"] for item in found] == sorted(place.store.shop["products"].rows)


async def test_the_ceiling(place: Place) -> None:
    """A stream that reaches its ceiling of pages says so in its last line, and how to go on."""
    *found, last = lines(await place.get("list-products", accept=NDJSON, limit=3, pages=2))
    assert [item["id"] for item in found] == [1, 2, 3, 4, 5, 6]
    assert "id" not in last
    assert (last["problem"]["code"], last["complete"]) == ("page_ceiling", False)
    rest = lines(await place.get("list-products", accept=NDJSON, limit=3, cursor=last["next"]))
    assert [item["id"] for item in found + rest] == sorted(place.store.shop["products"].rows)


async def test_a_stream_that_fails_at_once_is_a_problem(place: Place) -> None:
    """What fails before the first item is an ordinary problem."""
    place.store.knobs.webservice = False
    told = problem(await place.get("list-products", accept=NDJSON), 502, "webservice_off")
    assert told["store"]["errors"] == [{"code": 22, "message": told["store"]["errors"][0]["message"]}]


@pytest.mark.parametrize(("scope", "status"), [("status", 403), ("read", 200), ("forward", 200), ("manage", 200)])
async def test_scopes_of_reading(place: Place, scope: str, status: int) -> None:
    """`read` and above may read; `status` sees no data of a store."""
    for action in ("list-products", "list-orders", "list-customers", "list-carts", "order-states"):
        assert (await place.get(action, as_=scope)).status_code == status
    for action in ("get-product", "get-order"):
        assert (await place.get(action, id=1, as_=scope)).status_code == status


async def test_other_accounts(place: Place) -> None:
    """A connection of another account is none."""
    problem(await place.get("list-products", as_="other"), 404, "not_found")
    problem(await place.change({"order_id": 1, "state": 2}, as_="other"), 404, "not_found")
    assert place.sent("/api/") == []


@pytest.mark.parametrize(
    ("knobs", "status", "code"),
    [
        ({"webservice": False}, 502, "webservice_off"),
        ({"auth_stripped": True}, 502, "key_not_seen"),
        ({"fatal": True}, 502, "php_fatal"),
        ({"fatal": True, "error_mode": "debug"}, 502, "php_fatal"),
        ({"rewrite": "missing"}, 502, "api_not_found"),
        ({"rewrite": "nginx"}, 502, "front_page"),
        ({"waf": "brackets"}, 200, ""),
        ({"waf": "challenge"}, 502, "challenge_page"),
        ({"waf": "rate"}, 503, "rate_limited"),
        ({"noise": "warning"}, 200, ""),
        ({"noise": "bom"}, 200, ""),
        ({"noise": "blank"}, 200, ""),
        ({"noise": "script"}, 200, ""),
        ({"domain": "other.example"}, 502, "host_not_owned"),
        ({"moved_to": "https://www.shop.example"}, 502, "store_redirects"),
        ({"hostile": True}, 502, "front_page"),
        ({"hang_up": "before_answer"}, 502, "store_closed_early"),
    ],
    ids=str,
)
async def test_troubles_of_stores(place: Place, knobs: dict[str, Any], status: int, code: str) -> None:
    """Whatever answers in the store's place has a code of its own; what can be read all the same is read."""
    place.store.knobs.update(**knobs)
    answer = await place.get("list-orders")
    if status == 200:
        assert len(answer.json()["items"]) == 5, answer.text
    else:
        told = problem(answer, status, code)
        assert told["origin"] == "store"
        assert told["detail"]


async def test_permissions(place: Place) -> None:
    """A good key without the permission is told from a wrong key."""
    await place.lacking({"orders": ["GET"]})
    told = problem(await place.get("list-products"), 502, "permission_missing")
    assert told["store"]["errors"][0]["code"] == 26
    await place.lacking({}, key="Q" * 32)
    problem(await place.get("list-products"), 502, "key_unknown")


async def test_the_way(place: Place) -> None:
    """What fails before the store names its hop, and whether the store may have got the request."""
    place.route.fault = GatewayError("agent_offline", outcome=Outcome.NOT_SENT)
    answer = await place.get("list-orders")
    told = problem(answer, 503, "agent_offline")
    assert (told["origin"], told["retryable"], told["outcome"]) == ("agent", True, "not_sent")
    assert answer.headers["retry-after"] == "10"

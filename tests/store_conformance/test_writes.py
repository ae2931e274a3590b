"""Assertions 57 to 73: writing, order states, stock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store_conformance.asking import ask, get, get_json, histories, order_state, send

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop

ZOE = (
    "<customer><id_default_group>3</id_default_group><passwd>Sup3r-Secret-Pw!</passwd><lastname>Müller</lastname>"
    "<firstname>Zoé</firstname><email>{email}</email><active>1</active>"
    "<associations><groups><group><id>3</id></group></groups></associations></customer>"
)
HISTORY = "<order_history><id_order>{order}</id_order><id_order_state>{state}</id_order_state></order_history>"
STATE = "<order><id>{order}</id><current_state>{state}</current_state></order>"


def zoe(email: str = "zoe@example.com") -> str:
    return ZOE.format(email=email)


async def test_57_post_creates(shop: Shop, store: Store) -> None:
    """57. POST customer: 201, XML entity with a new id; as JSON the id is a string."""
    answer = await send(shop, "POST", "/api/customers", zoe())
    assert answer.status == 201
    customer = answer.xml.find("customer")
    assert customer is not None
    assert customer.findtext("id") == "3"
    assert store.shop.row("customers", 3)["email"] == "zoe@example.com"
    assert (customer.findtext("passwd") or "").startswith("$2y$")
    second = await send(shop, "POST", "/api/customers", zoe("z2@example.com"), json=True)
    assert second.json["customer"]["id"] == "4"


async def test_58_post_refused(shop: Shop, store: Store) -> None:
    """58. Without e-mail 400/41, with id 400/91, bad e-mail 400/85, e-mail in use 500/140 and 46."""
    before = len(store.shop["customers"])
    missing = await send(shop, "POST", "/api/customers", zoe().replace("<email>zoe@example.com</email>", ""))
    assert (missing.status, missing.errors) == (400, [(41, 'parameter "email" required')])
    with_id = await send(shop, "POST", "/api/customers", zoe().replace("<customer>", "<customer><id>9</id>"))
    assert (with_id.status, with_id.errors) == (400, [(91, "id is forbidden when adding a new resource")])
    bad = await send(shop, "POST", "/api/customers", zoe("zoe"))
    assert (bad.status, bad.errors) == (400, [(85, 'Validation error: "Property Customer->email is not valid"')])
    used = await send(shop, "POST", "/api/customers", zoe("pub@prestashop.com"))
    assert (used.status, used.codes) == (500, [140, 46])
    assert len(store.shop["customers"]) == before


async def test_59_bodies_that_are_not_xml(shop: Shop) -> None:
    """59. JSON body: 500, last code 127, body echoed; empty body: 500/127 `XML length : 0`."""
    body = '{"customer":{"email":"a@example.com"}}'
    answer = await ask(shop, "/api/customers", method="POST", body=body)
    assert answer.status == 500
    assert answer.codes[-1] == 127
    assert body in answer.errors[-1][1]
    assert set(answer.codes[:-1]) == {3}
    empty = await ask(shop, "/api/customers", method="POST", headers=[("Content-Length", "0")])
    assert (empty.status, empty.codes) == (500, [127])
    assert "XML length : 0" in empty.errors[0][1]


async def test_60_empty_root_creates_nothing(shop: Shop, store: Store) -> None:
    """60. POST `<prestashop/>`: 201, nothing created."""
    before = len(store.shop["customers"])
    answer = await ask(shop, "/api/customers", method="POST", body="<prestashop/>")
    assert answer.status == 201
    assert len(answer.xml) == 0
    assert len(store.shop["customers"]) == before


async def test_61_form_prefix(shop: Shop) -> None:
    """61. A literal `xml=` is stripped; a form-encoded body fails with 127."""
    raw = await ask(shop, "/api/customers", method="POST", body=f"xml=<prestashop>{zoe()}</prestashop>")
    assert raw.status == 201
    coded = await ask(shop, "/api/customers", method="POST", body="xml=%3Cprestashop%3E%3C%2Fprestashop%3E")
    assert (coded.status, coded.codes[-1]) == (500, 127)


async def test_62_patch_takes_the_id_of_the_body(shop: Shop, store: Store) -> None:
    """62. PATCH /api/products/1 with body id 2 changes 2; no id 400/90; unknown 404/92; on 1.7 405/23."""
    entity = "<product><id>{}</id><reference>patched</reference></product>"
    answer = await send(shop, "PATCH", "/api/products/1", entity.format(2))
    assert answer.status == 200
    assert store.shop.row("products", 2)["reference"] == "patched"
    assert store.shop.row("products", 1)["reference"] == "demo_1"
    without = await send(shop, "PATCH", "/api/products/1", "<product><reference>x</reference></product>")
    assert (without.status, without.errors) == (400, [(90, "id is required when modifying a resource")])
    unknown = await send(shop, "PATCH", "/api/products/9999", entity.format(9999))
    assert (unknown.status, unknown.errors) == (404, [(92, "Invalid ID")])
    store.knobs.version = "1.7.8"
    older = await send(shop, "PATCH", "/api/products/1", entity.format(1))
    assert (older.status, older.codes) == (405, [23])


async def test_63_read_only_and_unknown_elements(shop: Shop) -> None:
    """63. PATCH quantity on a product: 400/93; an unknown element: 200."""
    quantity = await send(shop, "PATCH", "/api/products/1", "<product><id>1</id><quantity>5</quantity></product>")
    expected = 'parameter "quantity" not writable. Please remove this attribute of this XML'
    assert (quantity.status, quantity.errors) == (400, [(93, expected)])
    unknown = await send(shop, "PATCH", "/api/products/1", "<product><id>1</id><nosuch>5</nosuch></product>")
    assert unknown.status == 200


async def test_64_patch_of_one_language_blanks_the_others(shop: Shop, store: Store) -> None:
    """64. PATCH name for language 2 only: language 1 becomes empty; as JSON 500, but saved; plain text sets all."""
    name = '<product><id>{}</id><name><language id="2">Solo</language></name></product>'
    assert (await send(shop, "PATCH", "/api/products/5", name.format(5))).status == 200
    assert store.shop.row("products", 5)["name"] == {1: "", 2: "Solo"}
    as_json = await send(shop, "PATCH", "/api/products/6", name.format(6), json=True)
    assert (as_json.status, as_json.codes) == (500, [3])
    assert store.shop.row("products", 6)["name"] == {1: "", 2: "Solo"}
    plain = await send(shop, "PATCH", "/api/products/7", "<product><id>7</id><name>Both</name></product>")
    assert plain.status == 200
    assert store.shop.row("products", 7)["name"] == {1: "Both", 2: "Both"}


async def test_65_put_empties_what_is_not_sent(shop: Shop, store: Store) -> None:
    """65. PUT product with id and price only: 200, the rest emptied; PUT order with id and state: 400/41."""
    answer = await send(shop, "PUT", "/api/products/1", "<product><id>1</id><price>24.70</price></product>")
    assert answer.status == 200
    product = store.shop.row("products", 1)
    assert (product["reference"], product["name"], product["active"]) == ("", {1: "", 2: ""}, 0)
    assert product["price"] == "24.700000"
    order = await send(shop, "PUT", "/api/orders/41", STATE.format(order=41, state=2))
    assert (order.status, order.codes) == (400, [41])


async def test_66_delete(shop: Shop, store: Store) -> None:
    """66. DELETE: 200, empty, no Content-Type; again: 404/87; several at once by ?id=[…]."""
    await send(shop, "POST", "/api/customers", zoe())
    answer = await ask(shop, "/api/customers/3", method="DELETE")
    assert (answer.status, answer.body, answer.header("Content-Type")) == (200, b"", None)
    again = await ask(shop, "/api/customers/3", method="DELETE")
    assert (again.status, again.errors) == (404, [(87, "Id(s) not exists: 3")])
    assert (await ask(shop, "/api/orders?id=[3,4]", method="DELETE")).status == 200
    assert list(store.shop["orders"].rows) == [1, 2, 5, 41, 42]


async def test_67_ps_method(shop: Shop, store: Store) -> None:
    """67. POST …?ps_method=PATCH patches; GET …/999999?ps_method=DELETE runs the delete: 404/87."""
    entity = "<product><id>1</id><reference>patched</reference></product>"
    assert (await send(shop, "POST", "/api/products/1?ps_method=PATCH", entity)).status == 200
    assert store.shop.row("products", 1)["reference"] == "patched"
    deleting = await get(shop, "/api/customers/999999?ps_method=DELETE")
    assert (deleting.status, deleting.errors) == (404, [(87, "Id(s) not exists: 999999")])
    for spelling in ("ps.method", "ps+method", "ps%5Bmethod", "ps%20method"):
        assert (await get(shop, f"/api/customers/999999?{spelling}=DELETE")).codes == [87]
    shown = await get(shop, "/api/orders?ps_method=HEAD")
    assert (shown.status, shown.ids) == (200, [1, 2, 3, 4, 5, 41, 42])
    form = await ask(
        shop,
        "/api/customers/999999",
        method="POST",
        headers=[("Content-Type", "application/x-www-form-urlencoded")],
        body="ps_method=DELETE",
    )
    assert form.codes == [87]


async def test_68_patch_of_the_state(shop: Shop, store: Store) -> None:
    """68. PATCH order 41 to state 2: 200; one row of history, one mail, `date_upd` moves."""
    before = store.shop.row("orders", 41)["date_upd"]
    answer = await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=2))
    assert answer.status == 200
    assert (order_state(store, 41), histories(store, 41), len(store.mails)) == (2, 2, 1)
    assert store.shop.row("orders", 41)["date_upd"] > before  # type: ignore[operator]  # both are texts
    assert store.mails[0].to == "pub@prestashop.com"
    assert store.shop.row("orders", 41)["invoice_number"] == 1


async def test_69_the_same_state_again(shop: Shop, store: Store) -> None:
    """69. No row, no mail, but `date_upd` moves; on 1.7.4 a PUT adds a row and mails again."""
    await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=2))
    before = store.shop.row("orders", 41)["date_upd"]
    store.shop.clock.advance(5)
    assert (await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=2))).status == 200
    assert (histories(store, 41), len(store.mails)) == (2, 1)
    assert store.shop.row("orders", 41)["date_upd"] > before  # type: ignore[operator]  # both are texts
    store.knobs.version = "1.7.4"
    whole = (await get(shop, "/api/orders/41")).text
    answer = await ask(shop, "/api/orders/41", method="PUT", body=whole)
    assert answer.status == 200
    assert (histories(store, 41), len(store.mails)) == (3, 2)


async def test_70_post_of_a_history_row(shop: Shop, store: Store) -> None:
    """70. 201, no mail unless sendemail=1 (spelled so), order moved; twice gives two rows."""
    row = HISTORY.format(order=41, state=4)
    answer = await send(shop, "POST", "/api/order_histories", row)
    assert answer.status == 201
    assert (order_state(store, 41), histories(store, 41), len(store.mails)) == (4, 2, 0)
    await send(shop, "POST", "/api/order_histories?sendmail=1", row)
    assert (histories(store, 41), len(store.mails)) == (3, 0)
    await send(shop, "POST", "/api/order_histories?sendemail=1", row)
    assert (histories(store, 41), len(store.mails)) == (4, 1)


async def test_71_failing_mail_server(shop: Shop, store: Store) -> None:
    """71. POST with sendemail=1: 500/46 and yet the state changed; PATCH: 200."""
    store.knobs.mail = "failing"
    answer = await send(shop, "POST", "/api/order_histories?sendemail=1", HISTORY.format(order=41, state=4))
    assert (answer.status, answer.errors) == (500, [(46, "Unable to save resource")])
    assert (order_state(store, 41), histories(store, 41)) == (4, 2)
    assert (await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=2))).status == 200
    assert (order_state(store, 41), len(store.mails)) == (2, 0)


async def test_72_unknown_state_or_order(shop: Shop, store: Store) -> None:
    """72. 500, empty, text/html (debug: 200 HTML); nothing changed."""
    for method, target, entity in (
        ("PATCH", "/api/orders/41", STATE.format(order=41, state=99)),
        ("PATCH", "/api/orders/41", STATE.format(order=41, state="abc")),
        ("POST", "/api/order_histories", HISTORY.format(order=41, state=99)),
        ("POST", "/api/order_histories", HISTORY.format(order=999, state=2)),
    ):
        answer = await send(shop, method, target, entity)
        assert (answer.status, answer.body) == (500, b"")
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert (order_state(store, 41), histories(store, 41)) == (1, 1)
    store.knobs.error_mode = "debug"
    debug = await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=99))
    assert debug.status == 200
    assert b"Invalid new order status" in debug.body
    assert (await send(shop, "PATCH", "/api/orders/41", STATE.format(order=41, state=""))).status == 200
    assert order_state(store, 41) == 1


async def test_73_stock(shop: Shop, store: Store) -> None:
    """73. PATCH stock_availables with id and quantity: 200; the product's `date_upd` does not move."""
    before = store.shop.row("products", 2)["date_upd"]
    entity = "<stock_available><id>2</id><quantity>778</quantity></stock_available>"
    assert (await send(shop, "PATCH", "/api/stock_availables/2", entity)).status == 200
    read = await get_json(
        shop, "/api/stock_availables?filter[id_product]=[2]&filter[id_product_attribute]=[0]&display=[quantity]"
    )
    assert read.json == {"stock_availables": [{"quantity": 778}]}
    assert store.shop.row("products", 2)["date_upd"] == before

"""What else was measured of the webservice, beyond the numbered assertions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store_conformance.asking import ask, get, get_json, histories, send

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop


async def test_date_filter_on_a_table_without_the_column(shop: Shop, store: Store) -> None:
    """An empty list in production, 500/97 in debug mode."""
    target = "/api/order_details?filter[date_upd]=[2020-01-01,2030-01-01]&date=1"
    assert (await get_json(shop, target)).body == b"[]"
    store.knobs.error_mode = "debug"
    assert (await get(shop, target)).codes == [97]


async def test_more_of_the_query_grammar(shop: Shop) -> None:
    """filter without a field 500/3; a bracketed plain column is a fatal; associations is no column; search."""
    text = await get(shop, "/api/orders?filter=x")
    assert (text.status, text.codes) == (500, [3])
    fatal = await get(shop, "/api/products?display=[id,name[1]]")
    assert (fatal.status, fatal.body) == (500, b"")
    assert (await get(shop, "/api/products?display=[id,associations]")).codes[0] == 35
    assert (await get(shop, "/api/search?query=mug")).codes == [100]
    found = await get_json(shop, "/api/search?query=mug&language=1")
    assert [one["id"] for one in found.json["products"]] == [6, 7, 8, 15, 19]
    priced = await get_json(shop, "/api/products/1?display=[id,my]&price[my][use_tax]=1")
    assert priced.json == {"products": [{"id": 1, "my": "28.919000"}]}


async def test_a_state_sticks_when_a_later_field_is_bad(shop: Shop, store: Store) -> None:
    """The state changes while fields are read: a 400 does not prove that it did not."""
    entity = "<order><id>41</id><current_state>2</current_state><payment>&lt;x&gt;</payment></order>"
    answer = await send(shop, "PATCH", "/api/orders/41", entity)
    assert (answer.status, answer.codes) == (400, [85])
    assert store.shop.row("orders", 41)["current_state"] == 2
    assert histories(store, 41) == 2


async def test_several_entities_in_one_body(shop: Shop) -> None:
    """XML shows all of them, JSON the last; the same id twice is 89."""
    entity = "<product><id>{}</id><reference>r</reference></product>"
    both = await send(shop, "PATCH", "/api/products", entity.format(1) + entity.format(2))
    assert [one.findtext("id") for one in both.xml] == ["1", "2"]
    last = await send(shop, "PATCH", "/api/products", entity.format(1) + entity.format(2), json=True)
    assert last.json["product"]["id"] == "2"
    twice = await send(shop, "PATCH", "/api/products", entity.format(1) * 2)
    assert twice.codes == [89]


async def test_addresses_of_spain_need_a_dni(shop: Shop) -> None:
    """The country decides that a field is required; an unknown association is 86 although the entity was saved."""
    address = (
        "<address><id_customer>2</id_customer><id_country>6</id_country><alias>Casa</alias><lastname>A</lastname>"
        "<firstname>B</firstname><address1>Calle 1</address1><city>Madrid</city>{}</address>"
    )
    missing = await send(shop, "POST", "/api/addresses", address.format(""))
    assert missing.errors == [(85, 'Validation error: "Property Address->dni is empty."')]
    odd = "<dni>12345678Z</dni><associations><nosuch/></associations>"
    saved = await send(shop, "POST", "/api/addresses", address.format(odd))
    assert (saved.status, saved.errors) == (400, [(86, 'The association "nosuch" does not exists')])
    assert (await get(shop, "/api/addresses/7")).status == 200


async def test_an_order_goes_round(shop: Shop, store: Store) -> None:
    """What GET gives, PUT takes, and nothing changes but `date_upd`."""
    before = dict(store.shop.row("orders", 1))
    whole = (await get(shop, "/api/orders/1")).body
    assert (await ask(shop, "/api/orders/1", method="PUT", body=whole)).status == 200
    after = store.shop.row("orders", 1)
    assert {name for name in before if before[name] != after[name]} <= {"date_upd"}
    assert histories(store, 1) == 2


async def test_a_state_without_mail(shop: Shop, store: Store) -> None:
    """State 5 sends no e-mail, by neither route."""
    await send(shop, "PATCH", "/api/orders/41", "<order><id>41</id><current_state>5</current_state></order>")
    row = "<order_history><id_order>42</id_order><id_order_state>5</id_order_state></order_history>"
    assert (await send(shop, "POST", "/api/order_histories?sendemail=1", row)).status == 201
    assert (store.shop.row("orders", 41)["current_state"], store.shop.row("orders", 42)["current_state"]) == (5, 5)
    assert len(store.mails) == 0


async def test_email_in_use_on_edit(shop: Shop) -> None:
    """Taking another customer's e-mail is 141, keeping one's own is fine."""
    entity = "<customer><id>1</id><email>{}</email></customer>"
    taken = await send(shop, "PATCH", "/api/customers/1", entity.format("PUB@prestashop.com"))
    assert (taken.status, taken.codes) == (500, [141, 46])
    assert (await send(shop, "PATCH", "/api/customers/1", entity.format("anonymous@psgdpr.com"))).status == 200


async def test_stock_comes_back_with_a_cancelled_order(shop: Shop, store: Store) -> None:
    """State 6 returns the goods."""
    before = store.shop.row("stock_availables", 6)["quantity"]
    entity = "<order_history><id_order>41</id_order><id_order_state>6</id_order_state></order_history>"
    await send(shop, "POST", "/api/order_histories", entity)
    assert store.shop.row("stock_availables", 6)["quantity"] == before + 3  # type: ignore[operator]  # a number


async def test_schemas(shop: Shop) -> None:
    """synopsis tells what is required, how long and read-only; every resource has both schemas."""
    synopsis = (await get(shop, "/api/customers?schema=synopsis")).text
    assert '<email required="true" maxSize="255" format="isEmail"><![CDATA[]]></email>' in synopsis
    assert '<secure_key format="isMd5" readOnly="true"><![CDATA[]]></secure_key>' in synopsis
    for name in [one.tag for one in (await get(shop, "/api")).xml[0] if one.find("schema") is not None]:
        for kind in ("blank", "synopsis"):
            assert (await get(shop, f"/api/{name}?schema={kind}")).status == 200
        assert (await get(shop, f"/api/{name}?display=full")).status == 200
        assert (await get_json(shop, f"/api/{name}?display=full")).status == 200

"""How many there are: PrestaShop keeps quantities apart from products, whose own field always says 0."""

from __future__ import annotations

from typing import Any

from relay.prestashop.paging import every
from relay.prestashop.query import Query, Scope, one_of
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import LACKING, StoreError

_DISPLAY = "[id,id_product,id_product_attribute,quantity]"


async def fill_quantities(shop: Shop, products: list[dict[str, Any]], scope: Scope) -> None:
    """Put the real quantities where products show any: `quantity`, and that of each of their `stock_availables`.

    Null where the key may not read stock_availables. Raises GatewayError, StoreError.
    """
    shown = [product for product in products if "quantity" in product or product.get("stock_availables")]
    if not shown:
        return
    rows = await _stock(shop, [product["id"] for product in shown], scope)
    totals: dict[int, int] = {}
    for row in rows:
        if not row.number("id_product_attribute"):
            owner = row.number("id_product")
            totals[owner] = totals.get(owner, 0) + row.number("quantity")
    by_id = {row.id: row.number("quantity") for row in rows}
    for product in shown:
        if "quantity" in product:
            product["quantity"] = totals.get(product["id"])
        for cell in product.get("stock_availables", ()):
            cell["quantity"] = by_id.get(cell.get("id"))


async def _stock(shop: Shop, products: list[int], scope: Scope) -> list[Row]:
    """A shop with many combinations has thousands of rows for a page of products."""
    query = Query("stock_availables", _DISPLAY, (("id_product", one_of(products)),), scope=scope)
    try:
        return [row async for row in every(shop, query)]
    except StoreError as error:
        if error.code in LACKING:
            return []
        raise

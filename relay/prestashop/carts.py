"""Which carts have become orders: an abandoned cart is one without an order."""

from __future__ import annotations

from collections.abc import Sequence

from relay.prestashop.query import Query, Scope, one_of
from relay.prestashop.shop import Shop


async def with_order(shop: Shop, carts: Sequence[int], scope: Scope) -> set[int]:
    """Those of the carts that an order was made of; a cart of several carriers may have become several orders.

    Raises GatewayError, StoreError.
    """
    if not carts:
        return set()
    rows = await shop.rows(Query("orders", "[id,id_cart]", (("id_cart", one_of(carts)),), scope=scope))
    return {row.number("id_cart") for row in rows}

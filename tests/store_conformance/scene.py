"""The data that the assertions speak of: order 41 in state 1, order 42 without rows, product 20 without a picture."""

from __future__ import annotations

from tests.store.fixtures import open_shop
from tests.store.fixtures.lines import Line as Product
from tests.store.fixtures.products import add_product
from tests.store.fixtures.sales import Line, Order, add_order
from tests.store.shop import Shop

DOMAIN = "shop.example"
AGO = 3600.0  # seconds

_ROW = Line(6, 0, 3, "Mug / Taza ñ", "demo_11", "11.900000")
_MONEY = ("35.700000", "35.700000", "35.700000", "35.700000", "0.000000", "0.000000")


def open_scene() -> Shop:
    shop = open_shop()
    then = shop.clock.text(-AGO)
    add_order(shop, Order(41, "QWERTYUIO", (1,), "ps_checkpayment", "Payment by check", *_MONEY, (_ROW,)), then)
    add_order(shop, Order(42, "POIUYTREW", (1,), "ps_checkpayment", "Payment by check", *_MONEY, ()), then)
    add_product(shop, Product(20, "bare", "1.000000", 8, "Without a picture / ñ"), 9, then, then)
    return shop

"""Virtual price columns of products: `price[my][use_tax]=1`."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, cast

from tests.store.php import integer

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.php import Variables
    from tests.store.reading import View
    from tests.store.schema import Row
    from tests.store.shop import Shop


def add_prices(view: View, call: Call, shop: Shop) -> None:
    """Fill in the virtual columns of a view of products."""
    if view.resource.name != "products":
        view.columns.virtual = []
        return
    for row in view.rows:
        view.prices[cast("int", row["id"])] = {
            name: _price(row, call.prices[name], shop) for name in view.columns.virtual
        }


def _price(row: Row, wanted: Variables, shop: Shop) -> str:
    amount = Decimal(str(row.get("price") or 0))
    combination = shop["combinations"].get(integer(wanted.get("product_attribute", 0)))
    if combination is not None and combination["id_product"] == row["id"]:
        amount += Decimal(str(combination["price"]))
    if integer(wanted.get("use_tax", 0)):
        amount *= 1 + _tax_rate(row, shop) / 100
    if integer(wanted.get("only_reduction", 0)):
        amount = Decimal(0)
    places = integer(wanted.get("decimals", 6))
    return str(amount.quantize(Decimal(1).scaleb(-min(max(places, 0), 6)), ROUND_HALF_UP))


def _tax_rate(row: Row, shop: Shop) -> Decimal:
    rules = [rule for rule in shop["tax_rules"] if rule["id_tax_rules_group"] == row.get("id_tax_rules_group")]
    tax = shop["taxes"].get(cast("int", rules[0]["id_tax"])) if rules else None
    return Decimal(str(tax["rate"])) if tax else Decimal(0)

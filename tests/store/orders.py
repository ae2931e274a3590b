"""What a change of an order's state brings with it: history, numbers, payment, stock and the customer's e-mail."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, cast

from tests.store.failures import BareText, Fatal, fail
from tests.store.php import integer, whole
from tests.store.shop import Mail

if TYPE_CHECKING:
    from tests.store.knobs import Knobs
    from tests.store.schema import Cells, Row
    from tests.store.shop import Shop

INVALID_STATE = "Invalid new order status"
CANCELLING = (6, 8)  # states in which the goods are back in stock
MOVED_BY_STATE = (
    "current_state", "valid", "invoice_number", "invoice_date", "delivery_number", "delivery_date", "total_paid_real",
)  # fmt: skip


class Orders:
    """The order book of one shop."""

    def __init__(self, shop: Shop, knobs: Knobs) -> None:
        self.shop = shop
        self.knobs = knobs

    def set_state(self, key: int, text: str) -> None:
        """Route A, `current_state` in a PUT or PATCH; always with e-mail, a failing mail server is swallowed."""
        if text == "":
            return
        order, state = self.shop.row("orders", key), self._state(text)
        if order["current_state"] == state["id"] and self.knobs.release >= (1, 7, 8):
            return
        history = self.shop.insert(
            "order_histories", id_employee=0, id_order_state=state["id"], id_order=key, date_add=self.shop.now()
        )
        self._apply(order, state)
        self._mail(history)

    def changed(self, key: int) -> Row:
        """What a change of state may have moved in the order's row."""
        order = self.shop.row("orders", key)
        return {name: order[name] for name in MOVED_BY_STATE}

    def history_posted(self, key: int, *, send: bool) -> None:
        """Route B, a new row of order_histories; e-mail only where asked for, and its failure is an error."""
        row = self.shop.row("order_histories", key)
        order = self.shop["orders"].get(integer(row["id_order"]))
        state = self.shop["order_states"].get(integer(row["id_order_state"]))
        if order is None or state is None:
            self.shop["order_histories"].delete(key)
            self.shop["order_histories"].last_id -= 1
            raise Fatal("Call to a member function on null") if self.knobs.release >= (8,) else BareText(INVALID_STATE)
        self._apply(order, state)
        if send and not self._mail(key):
            raise fail(46, "Unable to save resource")

    def created(self, key: int) -> None:
        """A new order: its rows come from the cart, its reference from chance, its first state into the history."""
        order = self.shop.row("orders", key)
        if not order["reference"]:
            order["reference"] = "".join(random.choices(string.ascii_uppercase, k=9))  # noqa: S311 - not a secret
        cart = self.shop["carts"].get(integer(order["id_cart"]))
        for cell in cast("Cells", cart.get("cart_rows") or []) if cart else []:
            self._row_from_cart(key, cell)
        if order["current_state"]:
            self.shop.insert(
                "order_histories",
                id_employee=0,
                id_order_state=order["current_state"],
                id_order=key,
                date_add=self.shop.now(),
            )

    def _row_from_cart(self, key: int, cell: dict[str, str | int | None]) -> None:
        product = self.shop["products"].get(integer(cell.get("id_product")))
        if product is None:
            return
        price = str(product["price"])
        name = cast("dict[int, str]", product["name"])
        self.shop.insert(
            "order_details",
            id_order=key,
            product_id=product["id"],
            product_attribute_id=integer(cell.get("id_product_attribute")),
            product_quantity=integer(cell.get("quantity")),
            product_name=name.get(1, ""),
            product_reference=product["reference"],
            product_ean13="",
            product_isbn="",
            product_upc="",
            product_price=price,
            id_customization=0,
            unit_price_tax_incl=price,
            unit_price_tax_excl=price,
        )

    def _state(self, text: str) -> Row:
        state = self.shop["order_states"].get(int(text)) if whole(text) else None
        if state is None:
            raise Fatal(INVALID_STATE) if self.knobs.release >= (8,) else BareText(INVALID_STATE)
        return state

    def _apply(self, order: Row, state: Row) -> None:
        now = self.shop.now()
        changes: Row = {"current_state": state["id"], "date_upd": now, "valid": state["logable"]}
        if state["invoice"] and not order["invoice_number"]:
            changes |= {"invoice_number": self._next("invoice_number"), "invoice_date": now}
        if state["delivery"] and not order["delivery_number"]:
            changes |= {"delivery_number": self._next("delivery_number"), "delivery_date": now}
        if state["paid"] and not integer(order["total_paid_real"]):
            changes["total_paid_real"] = order["total_paid"]
            self._payment(order, now)
        self._move_stock(order, was=integer(order["current_state"]), now=integer(state["id"]))
        self.shop["orders"].update(cast("int", order["id"]), changes)

    def _next(self, name: str) -> int:
        return 1 + max(integer(order[name]) for order in self.shop["orders"])

    def _payment(self, order: Row, now: str) -> None:
        self.shop.insert(
            "order_payments",
            order_reference=order["reference"],
            id_currency=order["id_currency"],
            amount=order["total_paid"],
            payment_method=order["payment"],
            conversion_rate="1.000000",
            transaction_id="",
            card_number="",
            card_brand="",
            card_expiration="",
            card_holder="",
            date_add=now,
        )

    def _move_stock(self, order: Row, *, was: int, now: int) -> None:
        if (was in CANCELLING) == (now in CANCELLING):
            return
        sign = 1 if now in CANCELLING else -1
        for detail in self.shop["order_details"].where("id_order", order["id"]):
            for stock in self.shop["stock_availables"].where("id_product", detail["product_id"]):
                if stock["id_product_attribute"] in (0, detail["product_attribute_id"]):
                    stock["quantity"] = integer(stock["quantity"]) + sign * integer(detail["product_quantity"])

    def _mail(self, history: int) -> bool:
        """Write to the customer if the state says so; False when the mail server failed."""
        row = self.shop.row("order_histories", history)
        state = self.shop.row("order_states", integer(row["id_order_state"]))
        if not state["send_email"]:
            return True
        if self.knobs.mail == "failing":
            return False
        order = self.shop.row("orders", integer(row["id_order"]))
        customer = self.shop["customers"].get(integer(order["id_customer"]))
        template = cast("dict[int, str]", state["template"]).get(1, "")
        address = str(customer["email"]) if customer else ""
        self.shop.mails.append(Mail(address, template, cast("int", order["id"])))
        return True

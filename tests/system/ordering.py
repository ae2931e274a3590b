"""What a customer's new order looks like to PrestaShop's webservice: an order that is there already, once more."""

from __future__ import annotations

import re

PAID, IN_PROGRESS = 2, 3
"""PrestaShop's "Payment accepted" and "Processing in progress"."""


def ordered_again(order: str, state: int) -> bytes:
    """The body of a POST to `/api/orders`, from the answer to `GET /api/orders/{id}`."""
    fresh = re.sub(r"<id>.*?</id>|<associations>.*</associations>", "", order, count=2, flags=re.DOTALL)
    return re.sub(r"<current_state.*?</current_state>", f"<current_state>{state}</current_state>", fresh).encode()


def id_of(answer: str) -> int:
    """Of what was made, from the answer to its POST."""
    (found,) = re.findall(r"<id><!\[CDATA\[(\d+)", answer)[:1]
    return int(found)

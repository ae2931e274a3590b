"""What single resources do on top of being stored: e-mails are unique, passwords are hashed, products get stock."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from tests.store.failures import Coded, Failure, fail
from tests.store.php import integer

if TYPE_CHECKING:
    from tests.store.schema import Resource, Row
    from tests.store.shop import Shop

IN_USE = "The email is already used, please choose another one"
UNSAVED = Coded(46, "Unable to save resource")
PASSWORD_AGE = 6 * 3600  # seconds that a new password counts as old, PS_PASSWD_TIME_FRONT

FIXED = {"categories": {1, 2}, "shops": {1}, "languages": {1}, "currencies": {1}, "shop_groups": {1}}


def refuse_delete(resource: str, key: int) -> bool:
    """Whether the shop cannot do without this entity."""
    return key in FIXED.get(resource, set())


def before_save(verb: str, resource: Resource, memory: Row, shop: Shop) -> None:
    """Complete or refuse an entity that passed validation."""
    names = {column.name for column in resource.fields}
    for name in ("id_shop", "id_shop_group", "id_shop_default"):
        if name in names and verb == "POST" and not memory.get(name):
            memory[name] = 1
    if resource.name == "customers":
        _customer(verb, memory, shop)
    if resource.name == "stock_availables" and integer(memory.get("depends_on_stock") or 0) == 1:
        raise fail(133, "You cannot update the available stock when it depends on stock.")


def after_insert(resource: Resource, key: int, shop: Shop) -> None:
    """What comes into being with a new entity."""
    if resource.name == "products":
        _stock_row(shop, key, 0)
    if resource.name == "combinations":
        _stock_row(shop, integer(shop.row("combinations", key)["id_product"]), key)


def _stock_row(shop: Shop, product: int, combination: int) -> None:
    shop.insert(
        "stock_availables",
        id_product=product,
        id_product_attribute=combination,
        id_shop=1,
        id_shop_group=0,
        quantity=0,
        depends_on_stock=0,
        out_of_stock=2,
        location="",
    )


def _customer(verb: str, memory: Row, shop: Shop) -> None:
    email = str(memory.get("email") or "").lower()
    taken = [row for row in shop["customers"] if str(row["email"]).lower() == email and row["id"] != memory.get("id")]
    if taken:
        raise Failure(Coded(140 if verb == "POST" else 141, IN_USE), UNSAVED)
    password = str(memory.get("passwd") or "")
    if not password.startswith("$2y$"):
        memory["passwd"] = "$2y$10$" + hashlib.sha256(password.encode()).hexdigest()[:53]
    if verb == "POST":
        memory["secure_key"] = secrets.token_hex(16)
        memory["last_passwd_gen"] = shop.clock.text(-PASSWORD_AGE)

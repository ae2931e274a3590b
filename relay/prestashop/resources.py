"""What the fields of the resources mean that actions read: which are decimals, truths, dates, numbers, or secret.

The table covers PrestaShop 1.6.1 to 9.1; a field that is not in it (of a module, of a later version) stays a text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How a value is written in a normalised answer. Empty texts and zero dates become null, but for `TEXT`."""

    TEXT = "text"
    NUMBER = "a whole number"
    DECIMAL = "a decimal, as text: no digit is lost"
    TRUTH = "true or false"
    TIME = "a time of the shop, with its UTC offset"
    DAY = "a date"
    TRANSLATED = "texts by language"


@dataclass(frozen=True, slots=True)
class Resource:
    """`kinds` and `cells` (by association) hold what is not plain text; ids need no entry: `kind_of` knows them."""

    name: str
    node: str
    kinds: dict[str, Kind]
    cells: dict[str, dict[str, Kind]] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    """Never shown, raw or not: password hashes, and what opens a customer's pages."""

    def kind_of(self, name: str) -> Kind:
        return self.kinds.get(name) or (Kind.NUMBER if _is_id(name) else Kind.TEXT)

    def cell_kind(self, association: str, name: str) -> Kind:
        known = self.cells.get(association, {}).get(name)
        return known or (Kind.NUMBER if _is_id(name) else Kind.TEXT)


def _is_id(name: str) -> bool:
    return name == "id" or name.startswith("id_")


def _kinds(**names: str) -> dict[str, Kind]:
    return {name: Kind[kind.upper()] for kind, listed in names.items() for name in listed.split()}


PRODUCTS = Resource(
    "products",
    "product",
    _kinds(
        text="manufacturer_name type reference supplier_reference location ean13 isbn upc mpn product_type unity "
        "redirect_type condition visibility",
        number="new cache_default_attribute position_in_category quantity additional_delivery_times minimal_quantity "
        "low_stock_threshold customizable text_fields uploadable_files pack_stock_type state",
        decimal="width height depth weight ecotax price wholesale_price unit_price unit_price_ratio "
        "additional_shipping_cost",
        truth="quantity_discount cache_is_pack cache_has_attachments is_virtual on_sale online_only low_stock_alert "
        "active available_for_order show_condition show_price indexed advanced_stock_management",
        time="date_add date_upd",
        day="available_date",
        translated="delivery_in_stock delivery_out_stock meta_description meta_keywords meta_title link_rewrite name "
        "description description_short available_now available_later",
    ),
    {
        "categories": {},
        "images": {},
        "combinations": {},
        "product_option_values": {},
        "product_features": {},
        "tags": {},
        "stock_availables": _kinds(number="quantity"),
        "attachments": {},
        "accessories": {},
        "product_bundle": _kinds(number="quantity"),
    },
)
COMBINATIONS = Resource(
    "combinations",
    "combination",
    _kinds(
        text="ean13 isbn upc mpn reference supplier_reference",
        number="minimal_quantity low_stock_threshold",
        decimal="wholesale_price price ecotax weight unit_price_impact",
        truth="low_stock_alert default_on",
        day="available_date",
        translated="available_now available_later",
    ),
    {"product_option_values": {}, "images": {}},
)
CATEGORIES = Resource(
    "categories",
    "category",
    _kinds(
        number="level_depth position",
        truth="active is_root_category",
        time="date_add date_upd",
        translated="name link_rewrite description meta_title meta_description meta_keywords",
    ),
)
ORDERS = Resource(
    "orders",
    "order",
    _kinds(
        text="module shipping_number note payment gift_message reference",
        number="current_state invoice_number delivery_number round_mode round_type",
        decimal="total_discounts total_discounts_tax_incl total_discounts_tax_excl total_paid total_paid_tax_incl "
        "total_paid_tax_excl total_paid_real total_products total_products_wt total_shipping total_shipping_tax_incl "
        "total_shipping_tax_excl carrier_tax_rate total_wrapping total_wrapping_tax_incl total_wrapping_tax_excl "
        "conversion_rate",
        truth="valid recyclable gift mobile_theme",
        time="invoice_date delivery_date date_add date_upd",
    ),
    {
        "order_rows": _kinds(
            number="product_id product_attribute_id product_quantity",
            decimal="product_price unit_price_tax_incl unit_price_tax_excl",
            text="product_name product_reference product_ean13 product_isbn product_upc",
        )
    },
    frozenset({"secure_key"}),
)
CUSTOMERS = Resource(
    "customers",
    "customer",
    _kinds(
        text="lastname firstname email website company siret ape note ip_registration_newsletter",
        number="max_payment_days",
        decimal="outstanding_allow_amount",
        truth="deleted newsletter optin show_public_prices active is_guest",
        time="newsletter_date_add last_passwd_gen date_add date_upd",
        day="birthday",
    ),
    {"groups": {}},
    frozenset({"passwd", "secure_key", "reset_password_token", "reset_password_validity"}),
)
CARTS = Resource(
    "carts",
    "cart",
    _kinds(
        text="gift_message delivery_option",
        truth="recyclable gift mobile_theme allow_seperated_package",
        time="date_add date_upd",
    ),
    {"cart_rows": _kinds(number="quantity")},
    frozenset({"secure_key"}),
)
ORDER_STATES = Resource(
    "order_states",
    "order_state",
    _kinds(
        text="module_name color",
        truth="unremovable delivery hidden send_email invoice logable shipped paid pdf_delivery pdf_invoice deleted",
        translated="name template",
    ),
)

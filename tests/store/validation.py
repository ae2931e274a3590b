"""PrestaShop's validators, as far as the fields of the stand-in name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.store.php import integer

if TYPE_CHECKING:
    from tests.store.input_xml import Sent
    from tests.store.schema import Field, Resource, Row
    from tests.store.shop import Shop

_DATE = r"[0-9]{4}-(0[0-9]|1[0-2])-([0-2][0-9]|3[01])( [0-9]{2}:[0-9]{2}:[0-9]{2})?"

RULES = {
    "isPrice": r"[0-9]{1,10}(\.[0-9]{1,9})?",
    "isNegativePrice": r"-?[0-9]{1,10}(\.[0-9]{1,9})?",
    "isUnsignedId": r"[0-9]{1,10}",
    "isNullOrUnsignedId": r"[0-9]{1,10}",
    "isUnsignedInt": r"[0-9]{1,10}",
    "isInt": r"-?[0-9]{1,10}",
    "isBool": r"[01]",
    "isFloat": r"-?[0-9]*\.?[0-9]+",
    "isUnsignedFloat": r"[0-9]*\.?[0-9]+",
    "isEmail": r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+",
    "isName": r'[^0-9!<>,;?=+()@#"°{}_$%:¤|]*',
    "isCustomerName": r'[^0-9!<>,;?=+()@#"°{}_$%:¤|]*',
    "isGenericName": r"[^<>={}]*",
    "isCatalogName": r"[^<>;=#{}]*",
    "isReference": r"[^<>;={}]*",
    "isDate": _DATE,
    "isDateFormat": _DATE,
    "isBirthDate": _DATE,
    "isProductVisibility": r"both|catalog|search|none",
    "isLinkRewrite": r"[_a-zA-Z0-9\-]+",
    "isEan13": r"[0-9]{0,13}",
    "isUpc": r"[0-9]{0,12}",
    "isPostCode": r"[a-zA-Z 0-9\-]+",
    "isPhoneNumber": r"[+0-9. ()/\-]*",
    "isDniLite": r"[0-9A-Za-z\-.]{1,16}",
    "isAddress": r"[^!<>?=+@{}_$%]*",
    "isCityName": r'[^!<>;?=+@#"°{}_$%]*',
    "isTrackingNumber": r"[~:#,%&_=(){}\[\]?+\-^!@*<>/\\.a-zA-Z0-9 ]*",
}


def translated_fault(resource: Resource, sent: Sent) -> str | None:
    """What is wrong with the first bad translated field, in PrestaShop's words; None when all is well."""
    for column in resource.fields:
        if not column.translated:
            continue
        texts = sent.translations.get(column.name) or {0: sent.texts.get(column.name, "")}
        if any(text and not _valid(column, text) for text in texts.values()):
            return f"Property {resource.class_name}->{column.name} is not valid"
    return None


def plain_fault(resource: Resource, row: Row, shop: Shop) -> str | None:
    """The same for the plain fields of an entity about to be stored."""
    for column in resource.fields:
        value = row.get(column.name)
        if column.translated or column.compute or column.name == "id":
            continue
        text = "" if value is None else str(value)
        if not text and (column.required or _needs_dni(column, row, shop)):
            return f"Property {resource.class_name}->{column.name} is empty."
        if column.size and len(text) > column.size:
            return (
                f"The length of property {resource.class_name}->{column.name} is currently {len(text)} chars. "
                f"It must be between 0 and {column.size} chars."
            )
        if text and not _valid(column, text):
            return f"Property {resource.class_name}->{column.name} is not valid"
    return None


def _valid(column: Field, text: str) -> bool:
    rule = RULES.get(column.rule)
    return rule is None or re.fullmatch(rule, text) is not None


def _needs_dni(column: Field, row: Row, shop: Shop) -> bool:
    if column.name != "dni":
        return False
    country = shop["countries"].get(integer(row.get("id_country")))
    return bool(country and country["need_identification_number"])

"""How lists are asked for: no value breaks out of its filter, and nothing is sent raw."""

from __future__ import annotations

import string
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.prestashop.query import (
    Query,
    Scope,
    UnaskableError,
    between,
    display_of,
    display_of_fields,
    equals,
    one_of,
)
from tests.store.filters import make_test
from tests.store.schema import fields

COLUMN = fields("reference txt")[-1]
SPICY = st.text(alphabet="ab1,|[]%<>!=&?#\\\"'_ +é", min_size=1, max_size=12)


@given(value=SPICY, other=SPICY)
def test_a_value_selects_itself_alone(value: str, other: str) -> None:
    """Whatever is in it, a filter for a text lets through what the database takes for the same, and nothing else."""
    try:
        selects = make_test(equals(value), COLUMN)
    except UnaskableError:
        return
    plain = make_test("[same]", COLUMN)
    assert plain("same")
    assert selects(value)
    if other.lower().rstrip() != value.lower().rstrip():
        assert selects(other) == (folded(other) == folded(value))


def folded(text: str) -> str:
    return text.lower().replace("é", "e").rstrip(" ")


@given(value=st.text(alphabet=string.printable, max_size=20))
def test_nothing_is_sent_raw(value: str) -> None:
    """The address is plain: it comes apart again into what went in."""
    try:
        expression = equals(value)
    except UnaskableError:
        return
    path = Query("products", filters=(("reference", expression),), scope=Scope(2, None, 1), limit=5).path
    assert not set(path) & set("[]|<>\"' \\#")
    resource, _, query = path.partition("?")
    assert resource == "/api/products"
    assert dict(parse_qsl(query, keep_blank_values=True)) == {
        "display": "full",
        "sort": "[id_ASC]",
        "date": "1",
        "limit": "5",
        "filter[reference]": expression,
        "id_shop": "2",
        "language": "1",
    }


def test_expressions() -> None:
    """What the webservice's filters look like."""
    assert (equals(5), equals(""), one_of([1, 2])) == ("[5]", "[]", "[1|2]")
    assert between("2026-01-01 00:00:00", "2026-01-02 00:00:00") == "[2026-01-01 00:00:00,2026-01-02 00:00:00]"
    with pytest.raises(UnaskableError):
        between("2026-01-01T00:00:00", "2026-01-02 00:00:00")


@pytest.mark.parametrize("text", ["full", "minimum", "[id]", "[id,name]", "[id,order_rows[product_id,product_name],a]"])
def test_displays(text: str) -> None:
    """PrestaShop's grammar passes."""
    assert display_of(text) == text


@pytest.mark.parametrize(
    "text", ["", "id", "[]", "[id,]", "[id]x", "[a][b]", "[a[b[c]]]", "[id]&x=1", "[Id]", "[id]\n"]
)
def test_displays_that_are_none(text: str) -> None:
    """Anything else does not."""
    with pytest.raises(UnaskableError):
        display_of(text)


def test_fields() -> None:
    """Names with commas become a display."""
    assert display_of_fields("id,order_rows[product_id]") == "[id,order_rows[product_id]]"
    for text in ("", "id,", "id name", "[id]", "id]&x"):
        with pytest.raises(UnaskableError):
            display_of_fields(text)

"""What both outputs share: the values of an entity's fields in the languages asked for, and its hrefs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.store.reading import View
    from tests.store.schema import Cells, Field, Row, Value
    from tests.store.shop import Shop


@dataclass(slots=True)
class Style:
    """How a document is to be written."""

    base_url: str  # of hrefs, ending in /api/
    languages: list[int | str]  # wanted, in order
    one_language: bool = False  # a single one was asked for: JSON shows plain texts
    native: bool = True  # PHP >= 8.1: integers are numbers
    drop_empty: bool = True  # >= 8.0: a JSON single loses its falsy fields
    cdata_when_empty: bool = True  # >= 8.0: `<x><![CDATA[]]></x>`, before `<x></x>`


def translations(value: Value, style: Style) -> list[tuple[int | str, str]]:
    """The texts of a translated field, one per wanted language; a missing one is empty."""
    if isinstance(value, dict):
        return [(language, value.get(int(language), "")) for language in style.languages]
    return [(language, str(value or "")) for language in style.languages]


def href(column: Field, value: Value, row: Row, style: Style) -> str | None:
    """The address of a foreign key; None when there is none or the key is empty."""
    if not column.link or value in (None, "", 0, "0"):
        return None
    return f"{style.base_url}{column.link.replace('{id}', str(row.get('id', '')))}/{value}"


def associated(view: View, shop: Shop, row: Row) -> list[Cells]:
    """The rows of each shown association, in order."""
    return [one.rows(shop, row) for one, _ in view.columns.associations]

"""An entity of the webservice as it came: PrestaShop's names, its texts, and the rows of its associations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.prestashop.reading import Element, NotXmlError

Value = str | dict[int, str]
"""A text, or of a translated field the texts by language id."""


@dataclass(frozen=True, slots=True)
class Row:
    """`associations` maps names to rows of texts; one without rows is there as an empty list."""

    id: int
    fields: dict[str, Value]
    associations: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A plain field, empty where it was not asked for."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """0 where there is none: PrestaShop's own way of saying so."""
        return whole(self.text(name)) or 0


def whole(text: str) -> int | None:
    """A number as PrestaShop writes ids and counts; None for anything else."""
    plain = text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20
    return int(text) if plain else None


def rows_of(root: Element) -> Iterator[Row]:
    """Of `<prestashop><orders><order>…`, or of the one entity of `<prestashop><order>…`. Raises NotXmlError."""
    if root.name != "prestashop":
        raise NotXmlError("it is not a document of PrestaShop's webservice")
    for child in root.children:
        if _is_entity(child):
            yield _row(child)
        else:
            yield from map(_row, child.children)


def _is_entity(element: Element) -> bool:
    return "id" in element.attributes or any(child.name in {"id", "associations"} for child in element.children)


def _row(element: Element) -> Row:
    fields = {child.name: _value(child) for child in element.children if child.name != "associations"}
    named = fields.get("id", element.attributes.get("id", ""))
    id_ = whole(named) if isinstance(named, str) else None
    associations = element.find("associations")
    listed = associations.children if associations else []
    return Row(id_ or 0, fields or {"id": str(id_ or 0)}, {each.name: _cells(each) for each in listed})


def _value(element: Element) -> Value:
    languages = {whole(each.attributes.get("id", "")): each for each in element.children if each.name == "language"}
    if languages:
        return {id_: "".join(each.pieces) for id_, each in languages.items() if id_ is not None}
    return "".join(element.pieces)


def _cells(association: Element) -> list[dict[str, str]]:
    return [{cell.name: "".join(cell.pieces) for cell in row.children} for row in association.children]

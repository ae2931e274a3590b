"""The JSON documents of the webservice, with all their oddities of shape and type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.store.output import Style, translations
from tests.store.php import falsy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.store.failures import Coded
    from tests.store.reading import View
    from tests.store.schema import Field, Row, Value
    from tests.store.shop import Shop

TYPE = "application/json"


def encoded(value: object) -> bytes:
    """`json_encode` with raw Unicode: slashes escaped, no blanks."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    return text.encode("utf-8", "surrogateescape")


def errors_document(errors: Iterable[Coded]) -> bytes:
    return encoded({"errors": [{"code": one.code, "message": one.message} for one in errors]})


def view_document(view: View, shop: Shop, style: Style) -> bytes:
    resource = view.resource
    if view.shape == "stub":
        return encoded({resource.node: {"id": view.rows[0]["id"]}})
    if view.shape == "ids":
        entities: list[dict[str, object]] = [{"id": row["id"]} for row in view.rows]
    elif view.shape in ("blank", "synopsis"):
        entities = [_schema(view)]
    else:
        entities = [_entity(view, row, shop, style) for row in view.rows]
    if view.shape in ("ids", "list"):
        return encoded({resource.name: entities} if entities else [])
    if not entities:
        return encoded([])
    if view.plural_json:
        return encoded({resource.name: entities})
    last = entities[-1]
    if style.drop_empty:
        last = {name: value for name, value in last.items() if not falsy(value)}
    return encoded({resource.node: last})


def _entity(view: View, row: Row, shop: Shop, style: Style) -> dict[str, object]:
    odd = int(str(row["id"])) % 2 == 1
    shown: dict[str, object] = {}
    for column in view.columns.fields:
        shown[column.name] = _value(column, column.value(shop, row), style, odd=odd)
    if view.shape == "written":
        shown["id"] = str(row["id"])  # the id of the body, or the database's last insert id: both texts
    shown.update({name: view.prices[int(str(row["id"]))][name] for name in view.columns.virtual})
    associations: dict[str, object] = {}
    for one, columns in view.columns.associations:
        cells = one.rows(shop, row)
        if cells:
            names = [name for name, _ in columns]
            associations[one.name] = [{name: _typed(cell.get(name), style) for name in names} for cell in cells]
    if associations:
        shown["associations"] = associations
    return shown


def _value(column: Field, value: Value, style: Style, *, odd: bool) -> object:
    if column.translated:
        texts = translations(value, style)
        if style.one_language:
            return texts[0][1]
        return [{"id": language if style.native else str(language), "value": text} for language, text in texts]
    if column.kind == "bool" and isinstance(value, int) and odd:
        return str(value)  # PHP >= 8.1 mixes "1" and 1: here by the parity of the id
    return value if column.name == "id" else _typed(value, style)


def _typed(value: object, style: Style) -> object:
    return str(value) if isinstance(value, int) and not style.native else value


def _schema(view: View) -> dict[str, object]:
    shown: dict[str, object] = {column.name: "" for column in view.columns.fields if not column.translated}
    associations = {one.name: [{name: "" for name, _ in columns}] for one, columns in view.columns.associations}
    return shown | ({"associations": associations} if associations else {})

"""Reading entities: lists, single ones and schemas, as views that either output can write."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal, cast

from tests.store.failures import Fatal, fail
from tests.store.filters import folded
from tests.store.php import integer, number
from tests.store.query import Columns, NoSuchColumn, every_column, read_columns, read_selection

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs
    from tests.store.query import Selection
    from tests.store.schema import Field, Resource, Row, Value
    from tests.store.shop import Shop

SCHEMA_SYNTAX = (
    "Please select a schema of type 'synopsis' to get the whole schema informations (which fields are required, which"
    " kind of content...) or 'blank' to get an empty schema to fill before using POST request"
)

Shape = Literal["ids", "list", "single", "written", "stub", "blank", "synopsis"]


@dataclass(slots=True)
class View:
    """Rows with what is to be shown of them.

    `ids`: a list of ids; `list`: entities in their plural element; `single`: one entity;
    `written`: entities just written, one after the other; `stub`: one id; `blank` and `synopsis`: a schema.
    """

    shape: Shape
    resource: Resource
    rows: list[Row]
    columns: Columns
    plural_json: bool = False  # one entity with `display`: JSON shows a list of one
    prices: dict[int, dict[str, str]] = field(default_factory=dict)  # virtual columns by entity id


class NotThere(Exception):  # noqa: N818 - it is an answer
    """No such entity: 404 with an empty body."""


def read(call: Call, resource: Resource, shop: Shop, knobs: Knobs) -> View:
    """What GET and HEAD show; Failure for a bad query, NotThere for an unknown id."""
    schema = call.text("schema")
    if schema is not None:
        return _schema(schema, call, resource)
    columns = read_columns(call, resource, fatal_on_language=knobs.release >= (8,))
    if call.id_text:
        view = _single(call, resource, shop, knobs, columns)
    else:
        rows = _listed(call, resource, shop, knobs)
        view = View("list" if columns else "ids", resource, rows, columns or Columns([], []))
    _within_memory(view, knobs)
    return view


def _listed(call: Call, resource: Resource, shop: Shop, knobs: Knobs) -> list[Row]:
    try:
        selection = read_selection(call, resource)
    except NoSuchColumn as column:
        if knobs.error_mode == "debug":
            text = f"Unknown column 'main.{column}' in 'where clause'"
            raise fail(97, f"[SQL Error] {text}. From /var/www/html/classes/webservice") from None
        return []
    if selection.keyset is not None and 1 in call.shop_ids:
        end = None if selection.count is None else selection.offset + selection.count
        return list(islice(shop[resource.name].above(selection.keyset), selection.offset, end))
    return select(selection, _visible(call, resource, shop), shop)


def select(selection: Selection, rows: list[Row], shop: Shop) -> list[Row]:
    """Filter, sort and cut, in that order."""
    for column, test in selection.tests:
        rows = [row for row in rows if test(column.value(shop, row))]
    for column, descending in reversed(selection.order):
        rows = _sorted(rows, column, shop, descending=descending)
    end = None if selection.count is None else selection.offset + selection.count
    return rows[selection.offset : end]


def _single(call: Call, resource: Resource, shop: Shop, knobs: Knobs, columns: Columns | None) -> View:
    row = shop[resource.name].get(integer(call.id_text))
    if row is None:
        raise NotThere
    if resource.name == "products" and not _in_shops(row, call, shop):
        raise fail(131, f"This {resource.class_name} ({row['id']}) does not exists on this shop")
    if call.text("display") is None:
        return View("single", resource, [row], every_column(call, resource))
    if knobs.release < (1, 7, 8):
        return View("stub", resource, [row], Columns([], []))
    shown = columns or Columns([resource.by_name["id"]], [])
    return View("single", resource, [row], shown, plural_json=True)


def _schema(kind: str, call: Call, resource: Resource) -> View:
    if kind not in ("blank", "synopsis"):
        raise fail(28, SCHEMA_SYNTAX)
    shown = [one for one in resource.fields if kind == "synopsis" or not one.read_only]
    associations = [(one, one.columns) for one in resource.associations]
    return View(cast("Shape", kind), resource, [{}], Columns(shown, associations))


def _visible(call: Call, resource: Resource, shop: Shop) -> list[Row]:
    rows = list(shop[resource.name])
    if resource.name == "products":
        return [row for row in rows if _in_shops(row, call, shop)] if 1 not in call.shop_ids else rows
    if any(one.name == "id_shop" for one in resource.fields) and 1 not in call.shop_ids:
        return [row for row in rows if row.get("id_shop") in call.shop_ids]
    return rows


def _in_shops(row: Row, call: Call, shop: Shop) -> bool:
    return 1 in call.shop_ids or row["id"] in shop.second_shop_products


def _within_memory(view: View, knobs: Knobs) -> None:
    cells = len(view.rows) * (len(view.columns.fields) + len(view.columns.associations) or 1)
    if knobs.fatal_cells and cells > knobs.fatal_cells:
        raise Fatal("Allowed memory size of 134217728 bytes exhausted (tried to allocate 20480 bytes)")


def _sorted(rows: list[Row], column: Field, shop: Shop, *, descending: bool) -> list[Row]:
    if column.name == "id":
        return sorted(rows, key=lambda row: cast("int", row["id"]), reverse=descending)
    return sorted(rows, key=lambda row: _rank(column, shop, row), reverse=descending)


def _rank(column: Field, shop: Shop, row: Row) -> tuple[bool, float | str]:
    value: Value = column.value(shop, row)
    if isinstance(value, dict):
        value = next(iter(value.values()), "")
    if value is None:
        return (False, 0.0 if column.numeric else "")
    return (True, number(value) if column.numeric else folded(str(value)))

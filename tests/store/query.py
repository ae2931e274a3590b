"""The query grammar of a list or a single read: display, filter, sort, limit, date, language, price."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.store.failures import Failure, Fatal, did_you_mean, fail, php_warning
from tests.store.filters import Test, make_test
from tests.store.php import integer

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.php import Variables
    from tests.store.schema import Association, Field, Resource

DATES = ("date_add", "date_upd")

SORT_SYNTAX = (
    'The "sort" value has to be formed as this example: "field_ASC" or \'[field_1_DESC,field_2_ASC,field_3_ASC,...]\''
    ' ("field" has to be an available field)'
)
LIMIT_SYNTAX = 'The "limit" value has to be formed as this example: "5,25" or "10"'
DISPLAY_SYNTAX = "The 'display' syntax is wrong. You can set 'full' or '[field_1,field_2,field_3,...]'."


class NoSuchColumn(Exception):  # noqa: N818 - MySQL's word for it
    """A filter with date=1 on a date column that the table lacks."""


@dataclass(slots=True)
class Columns:
    """What of each entity is shown."""

    fields: list[Field]
    associations: list[tuple[Association, tuple[tuple[str, str], ...]]]  # with the columns that are wanted
    virtual: list[str] = field(default_factory=list)  # price columns


@dataclass(slots=True)
class Selection:
    """Which rows of a list, in which order."""

    tests: list[tuple[Field, Test]]
    order: list[tuple[Field, bool]]  # (field, descending)
    offset: int = 0
    count: int | None = None  # None: all
    keyset: int | None = None  # what all of it comes to, if it does: the rows above this id, by their ids


def read_columns(call: Call, resource: Resource, *, fatal_on_language: bool) -> Columns | None:
    """`display`; None where it is absent or `minimum`."""
    text = call.text("display")
    if text is None or text == "minimum":
        return None
    if text == "full":
        return every_column(call, resource)
    if not re.fullmatch(r"\[.*\]", text, re.DOTALL):
        raise fail(36, f"{DISPLAY_SYNTAX} These are available: {_names(resource)}")
    wanted: dict[str, list[str] | None] = {}
    for part in _split(text[1:-1]):
        name, inner = _column(part)
        if inner is not None and name in resource.by_name and fatal_on_language:
            raise Fatal("Cannot use object of type string as array")
        wanted[name] = inner
    return _chosen(call, resource, wanted)


def every_column(call: Call, resource: Resource) -> Columns:
    return Columns(
        list(resource.fields),
        [(one, one.columns) for one in resource.associations],
        list(call.prices),
    )


def read_selection(call: Call, resource: Resource) -> Selection:
    """`filter`, `sort` and `limit`; Failure 31 to 39."""
    dated = call.text("date") == "1"
    given = call.query.get("filter")
    if isinstance(given, str):
        raise Failure(php_warning("foreach() argument must be of type array|object, string given", 1210))
    tests = _filters(given or {}, resource, dated=dated)
    order = _sort(call.text("sort"), resource, dated=dated)
    offset, count = _limit(call.text("limit"))
    return Selection(tests, order, offset, count, _keyset(given or {}, order))


def _keyset(given: Variables, order: list[tuple[Field, bool]]) -> int | None:
    """The id above which rows are asked for, by nothing else and in the order of their ids."""
    if [*given] != ["id"] or [(column.name, descending) for column, descending in order] != [("id", False)]:
        return None
    found = re.fullmatch(r">\[(\d+)\]", str(given["id"]), re.ASCII)
    return int(found[1]) if found else None


def _chosen(call: Call, resource: Resource, wanted: dict[str, list[str] | None]) -> Columns:
    for name in wanted:
        if name not in resource.by_name and not resource.association(name) and name not in call.prices:
            raise fail(35, f'Unable to display this field "{name}". However, these are available: {_names(resource)}')
    associations = []
    for one in resource.associations:
        if one.name in wanted:
            inner = wanted[one.name]
            columns = [pair for pair in one.columns if inner is None or pair[0] in inner]
            if inner is not None and not set(inner) <= {name for name, _ in one.columns}:
                known = ", ".join(name for name, _ in one.columns)
                raise fail(35, f'Unable to display this field "{one.name}". However, these are available: {known}')
            associations.append((one, tuple(columns)))
    shown = [one for one in resource.fields if one.name in wanted]
    return Columns(shown, associations, [name for name in call.prices if name in wanted])


def _names(resource: Resource) -> str:
    return ", ".join(one.name for one in resource.fields)


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _column(part: str) -> tuple[str, list[str] | None]:
    found = re.fullmatch(r"([^\[]*)\[(.*)\]", part.strip())
    return (found[1], [name.strip() for name in found[2].split(",")]) if found else (part.strip(), None)


def _filters(given: Variables, resource: Resource, *, dated: bool) -> list[tuple[Field, Test]]:
    tests = []
    for name, value in given.items():
        if isinstance(value, dict):
            raise fail(31, "No existing linked table exist for this resource")
        found = resource.by_name.get(name)
        if found is None and name in DATES and dated:
            raise NoSuchColumn(name)
        if found is None or (name in DATES and not dated):
            raise fail(32, did_you_mean("This filter does not exist", name, _filterable(resource, dated=dated)))
        if found.dynamic:
            raise fail(
                34,
                f'The field "{name}" is dynamic. It is not possible to filter GET query with this field.',
            )
        if value == "":
            raise fail(33, f'The filter "{name}" is malformed.')
        tests.append((found, make_test(value, found)))
    return tests


def _filterable(resource: Resource, *, dated: bool) -> list[str]:
    """What the error says can be filtered by; translated fields can be too, but are not listed."""
    return [one.name for one in resource.fields if not one.translated and (dated or one.name not in DATES)]


def _sort(text: str | None, resource: Resource, *, dated: bool) -> list[tuple[Field, bool]]:
    if text is None:
        return []
    keys = text[1:-1] if re.fullmatch(r"\[.*\]", text) else text
    order = []
    for key in keys.split(","):
        found = re.fullmatch(r"(.*)_(ASC|DESC)", key.strip(), re.IGNORECASE)
        if not found:
            raise fail(37, SORT_SYNTAX)
        column = resource.by_name.get(found[1])
        if column is None or column.dynamic or (column.name in DATES and not dated):
            raise fail(38, f"Unable to filter by this field. However, these are available: {_names(resource)}")
        order.append((column, found[2].upper() == "DESC"))
    return order


def _limit(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    parts = text.split(",")
    if len(parts) > 2:
        raise fail(39, LIMIT_SYNTAX)
    if len(parts) == 1:
        return 0, max(0, integer(parts[0]))
    return max(0, integer(parts[0])), max(0, integer(parts[1]))

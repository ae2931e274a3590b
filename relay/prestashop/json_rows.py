"""Rows from PrestaShop's JSON, for lists whose XML a text has broken: `]]>` in a description, a control character."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from relay.prestashop.rows import Row, Value, whole


class NotRowsError(Exception):
    """The bytes are no list of PrestaShop's in JSON."""


def rows_of_json(body: bytes) -> list[Row]:
    """Of `{"orders":[{…}]}`; an empty list is `[]`. An empty association is not there at all. Raises NotRowsError."""
    try:
        told = json.loads(body.decode("utf-8-sig"), parse_float=str, parse_int=str)
        if told == []:
            return []
        ((_, entities),) = told.items()
        return [_row(entity) for entity in entities]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise NotRowsError("it is no list in JSON either") from None


def _row(entity: dict[str, Any]) -> Row:
    associations = entity.get("associations") or {}
    fields = {name: _value(value) for name, value in entity.items() if name != "associations"}
    cells = {name: list(_cells(rows)) for name, rows in associations.items()}
    return Row(whole(_text(entity.get("id"))) or 0, fields, cells)


def _value(value: Any) -> Value:
    """Translated fields are lists of id and value."""
    if isinstance(value, list):
        return {int(each["id"]): _text(each["value"]) for each in value}
    return _text(value)


def _cells(rows: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    """As XML has it: nothing is an empty text, truth is 1, lines end in LF (XML 1.0 §2.11)."""
    if value is None or value is False:
        return ""
    return "1" if value is True else str(value).replace("\r\n", "\n").replace("\r", "\n")

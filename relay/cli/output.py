"""How answers look: JSON for machines, tables and plain sentences for people."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

CELL_CHARACTERS = 60


def fields(record: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A record as a mapping, in the order in which it declares its fields."""
    values = dataclasses.asdict(record)
    return {name: value for name, value in values.items() if name not in without}


def print_json(value: Any) -> None:
    """One line, ASCII, so that it survives any terminal and pipe."""
    print(json.dumps(value))


def print_table(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A heading and a line each; nothing but a sentence where there is nothing."""
    if not items:
        print("none")
        return
    lines = [[column.upper().removesuffix("_AT").replace("_", " ") for column in columns]]
    lines += [[_cell(column, item[column])[:CELL_CHARACTERS] for column in columns] for item in items]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print_line("  ".join(padded).rstrip())


def print_pairs(values: Mapping[str, Any]) -> None:
    width = max(len(name) for name in values)
    for name, value in values.items():
        print_line(f"{name.replace('_', ' '):<{width}}  {_cell(name, value)}")


def _cell(name: str, value: Any) -> str:
    if value is None or value in ((), [], {}):
        return "-"
    if name.endswith("_at") or name == "at":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_cell(str(key), part)}" for key, part in value.items() if part is not None) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell("", part) for part in value)
    return _shown(str(value))


def print_line(line: str) -> None:
    """What the terminal cannot write is replaced, and so is what would act on it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(_shown(line).encode(encoding, "replace").decode(encoding))


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

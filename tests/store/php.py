"""How PHP reads query strings, numbers and near misses: the quirks that PrestaShop inherits from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote_plus, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_VARIABLES = 1000  # max_input_vars of a stock php.ini: what comes after is not seen

# A value of `$_GET`: text, or an array of such values.
Tree: TypeAlias = "str | dict[str, Tree]"
Variables: TypeAlias = dict[str, Tree]


def query_variables(query: str) -> Variables:
    """`parse_str`: `filter[id]=[1]` becomes `{"filter": {"id": "[1]"}}`; dots and blanks in a name become `_`."""
    found: Variables = {}
    for pair in query.split("&")[:MAX_VARIABLES]:
        name, _, value = pair.partition("=")
        if name:
            _store(found, _decoded(name), _decoded(value))
    return found


def build_query(variables: Variables) -> str:
    """`http_build_query`: brackets encoded, blanks as `+`."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in _flattened(variables))


def integer(text: object) -> int:
    """The cast `(int)`: leading digits, else 0."""
    found = re.match(r"\s*([+-]?[0-9]{1,18})", str(text))
    return int(found[1]) if found else 0


def whole(text: object) -> bool:
    """Whether a text is nothing but digits, and few enough for an id."""
    return re.fullmatch(r"[0-9]{1,18}", str(text)) is not None


def number(text: object) -> float:
    """The way MySQL reads a text where it needs a number: a leading decimal, else 0."""
    found = re.match(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", str(text))
    return float(found[0]) if found else 0.0


def falsy(value: object) -> bool:
    """PHP's idea of false: `"0.000000"` is true, `"0"` is not."""
    return not value or value == "0"


def closest(word: str, candidates: Iterable[str]) -> str:
    """What "Did you mean" offers: the least edit distance, the last one among equals."""
    best, shortest = "", -1
    for candidate in candidates:
        distance = _edit_distance(word, candidate)
        if distance == 0:
            return candidate
        if distance <= shortest or shortest < 0:
            best, shortest = candidate, distance
    return best


def _quoted(text: str) -> str:
    return quote_plus(text, errors="surrogateescape")


def _decoded(text: str) -> str:
    raw = unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _store(into: Variables, name: str, value: str) -> None:
    path = _path(name)
    here = into
    for step in path[:-1]:
        key = step or str(len(here))
        below = here.get(key)
        if not isinstance(below, dict):
            below = {}
            here[key] = below
        here = below
    here[path[-1] or str(len(here))] = value


def _path(name: str) -> list[str]:
    name = name.lstrip(" ")
    opening = name.find("[")
    if opening <= 0 or "]" not in name[opening:]:
        return [re.sub(r"[ .\[]", "_", name)]
    steps = [re.sub(r"[ .]", "_", name[:opening])]
    rest = name[opening:]
    while rest.startswith("[") and "]" in rest:
        step, rest = rest[1:].split("]", 1)
        steps.append(step)
    return steps


def _flattened(tree: Variables, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        full = f"{prefix}[{name}]" if prefix else name
        if isinstance(value, dict):
            yield from _flattened(value, full)
        else:
            yield full, value


def _edit_distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]

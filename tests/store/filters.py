"""How a filter value selects rows: the brackets of the webservice over the comparisons of MySQL."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from tests.store.php import number

if TYPE_CHECKING:
    from tests.store.schema import Field, Value

Plain: TypeAlias = "str | int | None"
Test: TypeAlias = "Callable[[Value], bool]"

_SHAPE = re.compile(r"(.*)\[(.*)\](.*)", re.DOTALL)
_INTERVAL = re.compile(r"([\d.:\-\s]+),([\d.:\-\s]+)")
_FLOAT = re.compile(r"-?\d*\.?\d+")


def make_test(text: str, column: Field) -> Test:
    """The test that `filter[column]=text` makes of a row's value; translated values pass when one language does."""
    plain = _plain_test(text, column)

    def test(value: Value) -> bool:
        if isinstance(value, dict):
            return any(plain(one) for one in value.values())
        return plain(value)

    return test


def _plain_test(text: str, column: Field) -> Callable[[Plain], bool]:
    found = _SHAPE.fullmatch(text)
    if not found:
        return _like(text) if _FLOAT.fullmatch(text) else _equals(text, column)
    before, inner, after = found.groups()
    if "%" in (before, after):
        return _like(before + inner + after)
    if not before and not after:
        return _bracketed(inner, column)
    return _compared(before, inner, column)


def _bracketed(inner: str, column: Field) -> Callable[[Plain], bool]:
    if inner.find("|") > 0:
        choices = [_equals(part, column) for part in inner.split("|")]
        return lambda value: any(choice(value) for choice in choices)
    interval = _INTERVAL.fullmatch(inner)
    if interval:
        rank = _rank(column)
        low, high = sorted((rank(interval[1]), rank(interval[2])))
        return lambda value: value is not None and low <= rank(value) <= high
    return _equals(inner, column)


def _compared(before: str, inner: str, column: Field) -> Callable[[Plain], bool]:
    rank = _rank(column)
    bound = rank(inner)
    if before == ">":
        return lambda value: value is not None and rank(value) > bound
    if before == "<":
        return lambda value: value is not None and rank(value) < bound
    if before == "!":
        refused = [_equals(part, column) for part in inner.split("|")]
        return lambda value: value is not None and not any(one(value) for one in refused)
    return lambda _value: True


def _equals(text: str, column: Field) -> Callable[[Plain], bool]:
    rank = _rank(column)
    wanted = rank(text)
    return lambda value: value is not None and rank(value) == wanted


def _like(pattern: str) -> Callable[[Plain], bool]:
    expression = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in folded(pattern))
    compiled = re.compile(expression, re.DOTALL)
    return lambda value: value is not None and bool(compiled.fullmatch(folded(str(value))))


def _rank(column: Field) -> Callable[[object], float | str]:
    return _number if column.numeric else lambda value: folded(str(value))


def _number(value: object) -> float | str:
    return float(value) if isinstance(value, int) else number(value)


@lru_cache(maxsize=65536)
def folded(text: str) -> str:
    """Text as utf8mb4_general_ci compares it: without case and accents, without trailing blanks."""
    if text.isascii():
        return text.lower().rstrip(" ")
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return bare.lower().rstrip(" ")

"""How a filter value selects rows: the brackets of the webservice over the comparisons of MySQL."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from tests.store.php import number

if TYPE_CHECKING:
    from tests.store.schema import Field, Value

Plain: TypeAlias = "str | int | None"
PlainTest: TypeAlias = "Callable[[Plain], bool]"
Test: TypeAlias = "Callable[[Value], bool]"

# What values are compared by: numbers for numeric columns, folded texts for the others.
T = TypeVar("T", float, str)

_SHAPE = re.compile(r"(.*)\[(.*)\](.*)", re.DOTALL)
_INTERVAL = re.compile(r"([\d.:\-\s]+),([\d.:\-\s]+)")
_FLOAT = re.compile(r"-?\d*\.?\d+")


def make_test(text: str, column: Field) -> Test:
    """The test that `filter[column]=text` makes of a row's value; translated values pass when one language does."""
    plain = _shaped(text, _as_number) if column.numeric else _shaped(text, _as_text)

    def test(value: Value) -> bool:
        if isinstance(value, dict):
            return any(plain(one) for one in value.values())
        return plain(value)

    return test


def _shaped(text: str, rank: Callable[[Plain], T]) -> PlainTest:
    found = _SHAPE.fullmatch(text)
    if not found:
        return _like(text) if _FLOAT.fullmatch(text) else _equals(text, rank)
    before, inner, after = found.groups()
    if "%" in (before, after):
        return _like(before + inner + after)
    if not before and not after:
        return _bracketed(inner, rank)
    return _compared(before, inner, rank)


def _bracketed(inner: str, rank: Callable[[Plain], T]) -> PlainTest:
    if inner.find("|") > 0:
        wanted = {rank(part) for part in inner.split("|")}
        return lambda value: value is not None and rank(value) in wanted
    interval = _INTERVAL.fullmatch(inner)
    if interval:
        low, high = sorted((rank(interval[1]), rank(interval[2])))
        return lambda value: value is not None and low <= rank(value) <= high
    return _equals(inner, rank)


def _compared(before: str, inner: str, rank: Callable[[Plain], T]) -> PlainTest:
    bound = rank(inner)
    if before == ">":
        return lambda value: value is not None and rank(value) > bound
    if before == "<":
        return lambda value: value is not None and rank(value) < bound
    if before == "!":
        refused = {rank(part) for part in inner.split("|")}
        return lambda value: value is not None and rank(value) not in refused
    return lambda _value: True


def _equals(text: str, rank: Callable[[Plain], T]) -> PlainTest:
    wanted = rank(text)
    return lambda value: value is not None and rank(value) == wanted


def _like(pattern: str) -> PlainTest:
    expression = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in folded(pattern))
    compiled = re.compile(expression, re.DOTALL)
    return lambda value: value is not None and bool(compiled.fullmatch(folded(str(value))))


def _as_number(value: Plain) -> float:
    return value if isinstance(value, int) else number(value)


def _as_text(value: Plain) -> str:
    return folded(str(value))


@lru_cache(maxsize=65536)
def folded(text: str) -> str:
    """Text as utf8mb4_general_ci compares it: without case and accents, without trailing blanks."""
    if text.isascii():
        return text.lower().rstrip(" ")
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return bare.lower().rstrip(" ")

"""Lists in parts: a cursor is the last row's sort key, so that rows that come and go shift nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from relay.database.errors import Invalid
from relay.database.records import Page

LIMIT = 100
LIMIT_MOST = 500
CURSOR_CHARACTERS = 1024
"""A name of 100 characters, in four bytes each, and an id, in base64: with room to spare."""

R = TypeVar("R")
T = TypeVar("T")
Keys = Sequence[InstrumentedAttribute[Any]]


async def read_page(
    session: AsyncSession,
    statement: Select[R],
    keys: Keys,
    record: Callable[[R], T],
    *,
    cursor: str | None,
    limit: int,
    descending: bool = False,
) -> Page[T]:
    """The rows after the cursor in the order of `keys`, which together are unique. Raises Invalid `cursor`, `limit`."""
    if not 1 <= limit <= LIMIT_MOST:
        raise Invalid("limit", f"a list is read in parts of 1 to {LIMIT_MOST}")
    if cursor is not None:
        place = tuple_(*decode(cursor, keys), types=[key.type for key in keys])
        statement = statement.where(tuple_(*keys) < place if descending else tuple_(*keys) > place)
    ordered = statement.order_by(*(key.desc() if descending else key for key in keys)).limit(limit + 1)
    rows = (await session.scalars(ordered)).all()
    more = len(rows) > limit
    last = encode([getattr(rows[limit - 1], key.key) for key in keys]) if more else None
    return Page(tuple(record(row) for row in rows[:limit]), last)


def encode(values: Sequence[str | int]) -> str:
    raw = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(cursor: str, keys: Keys) -> list[str | int]:
    """Raises Invalid `cursor` for anything that `encode` did not make of such keys."""
    try:
        padded = cursor[:CURSOR_CHARACTERS].encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(keys) or not all(map(_fits, values, keys)):
        raise Invalid("cursor", "the cursor is not one that a list gave out: begin the list again without it")
    return values


def _fits(value: Any, key: InstrumentedAttribute[Any]) -> bool:
    """Whether either database can compare the column with it."""
    if type(value) is not key.type.python_type:
        return False
    return abs(value) < 2**63 if isinstance(value, int) else value.isprintable()

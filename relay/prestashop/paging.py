"""Lists in pages: by id, never by offset, so that rows that come and go shift nothing; smaller where need be."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from relay.gateway.call import Answer
from relay.gateway.errors import GatewayError
from relay.prestashop.page_sizes import PAGE_ROWS_MOST
from relay.prestashop.query import Query, above
from relay.prestashop.rows import Row
from relay.prestashop.shop import Shop, too_heavy
from relay.prestashop.store_errors import StoreError

CURSOR_CHARACTERS = 200
_LARGEST = 2**63

T = TypeVar("T")


class CursorError(ValueError):
    """The cursor was not given out by this list."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in ascending order of their ids; `more`: there are rows after them."""

    rows: list[Row]
    more: bool

    @property
    def last(self) -> int:
        return self.rows[-1].id if self.rows else 0


class Reader:
    """Reads a list page by page, each in as many requests as the store bears; see `PageSize`."""

    def __init__(self, query: Query) -> None:
        self._query = query

    async def page(self, shop: Shop, after: int, count: int) -> Page:
        """At most `count` rows whose ids are above `after`. Raises GatewayError, StoreError."""
        rows: list[Row] = []
        wanted = count + 1
        while len(rows) < wanted:
            last = rows[-1].id if rows else after
            query = dataclasses.replace(
                self._query, filters=(*self._query.filters, ("id", above(last))), sort="[id_ASC]"
            )
            found = await answered_in_part(shop, query, wanted - len(rows))
            if found is None:
                continue
            got, _, asked = found
            _check_order(got, last, asked)
            rows += got
            if len(got) < asked:
                break
        return Page(rows[:count], more=len(rows) > count)


async def every(shop: Shop, query: Query) -> AsyncIterator[Row]:
    """Every row of a list, page by page, in the order of ids. Raises GatewayError, StoreError."""
    reader, after, more = Reader(query), 0, True
    while more:
        page = await reader.page(shop, after, PAGE_ROWS_MOST)
        for row in page.rows:
            yield row
        after, more = page.last, page.more


async def answered_in_part(shop: Shop, query: Query, wanted: int) -> tuple[list[Row], Answer, int] | None:
    """At most `wanted` of the first rows, as many as the store bears at once; their answer; and how many
    were asked for. None where it must be fewer. Raises GatewayError, StoreError.
    """
    size = shop.sizes.of(shop.connection, query)
    asked = size.ask(wanted, shop.sizes.clock())
    try:
        rows, answer = await shop.answered(dataclasses.replace(query, limit=asked))
    except (GatewayError, StoreError) as error:
        if asked == 1 or not too_heavy(error):
            raise
        size.failed(asked, shop.sizes.clock())
        return None
    else:
        size.answered(asked, min(len(rows), asked), answer.served)
        return rows, answer, asked
    finally:
        size.dropped(asked)


def _check_order(rows: list[Row], after: int, asked: int) -> None:
    """A list that ignores filter, order or limit would be read for ever, or with holes."""
    ids = [after, *(row.id for row in rows)]
    if len(rows) > asked or any(first >= second for first, second in pairwise(ids)):
        raise StoreError("store_out_of_order", "the rows do not come by their ids", status=200)


async def ahead(parts: AsyncIterator[T], most: int = 2) -> AsyncIterator[T]:
    """The same parts, of which up to `most` are made while the taker is still busy. Its end is theirs."""
    queue: asyncio.Queue[tuple[T | None, BaseException | None]] = asyncio.Queue(most)

    async def fill() -> None:
        try:
            async for part in parts:
                await queue.put((part, None))
        except Exception as error:  # noqa: BLE001 - carried over to the taker, whatever it is
            await queue.put((None, error))
        else:
            await queue.put((None, StopAsyncIteration()))

    filling = asyncio.create_task(fill())
    try:
        while True:
            part, error = await queue.get()
            if isinstance(error, StopAsyncIteration):
                return
            if error is not None:
                raise error
            yield part  # type: ignore[misc]  # there is a part where there is no error
    finally:
        filling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await filling


def encode_cursor(after: int, asked: str) -> str:
    """Where a list goes on; `asked` is all that makes up the list, so that no cursor serves another one."""
    raw = json.dumps([after, _digest(asked)], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(cursor: str, asked: str) -> int:
    """Raises CursorError for what `encode_cursor` did not make for the same list."""
    try:
        padded = cursor[:CURSOR_CHARACTERS].encode("ascii") + b"=" * (-len(cursor) % 4)
        after, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        after, digest = None, None
    if type(after) is not int or not 0 < after < _LARGEST or digest != _digest(asked):
        raise CursorError("the cursor is not one that this list gave out: begin the list again without it")
    return after


def _digest(asked: str) -> str:
    return hashlib.sha256(asked.encode()).hexdigest()[:16]

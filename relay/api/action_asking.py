"""How an action is asked for: the connection's shop, its page, fields, shop and language, and the window of changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BeforeValidator, WithJsonSchema

from relay.api.action_problems import of_store, of_way
from relay.api.authentication import Asking, authenticate, may
from relay.api.parts import Parts, Serving
from relay.api.problems import CHARACTERS_ECHOED, ProblemError, invalid
from relay.database.errors import NotFound
from relay.database.names import is_id
from relay.gateway.errors import GatewayError
from relay.prestashop.lists import updated
from relay.prestashop.page_sizes import PAGE_ROWS, PAGE_ROWS_MOST
from relay.prestashop.paging import CURSOR_CHARACTERS
from relay.prestashop.query import FULL, Scope, UnaskableError, display_of, display_of_fields
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import StoreError
from relay.prestashop.values import Facts, ZoneUnknownError, shop_window
from relay.records import Scope as TokenScope

PAGES = 100
"""A stream's ceiling, unless the caller raises it: whoever forgets a filter gets no whole shop."""
PAGES_MOST = 1_000_000
_ID_MOST = 2**31 - 1
_DISPLAY_CHARACTERS = 1_000
"""With everything else that can be asked, a request line stays below the 8,190 bytes that Apache takes."""

_TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$"

ReadCaller = Annotated[Asking, Depends(may(TokenScope.READ))]
ForwardCaller = Annotated[Asking, Depends(may(TokenScope.FORWARD))]
Id = Annotated[int, Query(ge=1, le=_ID_MOST)]


@dataclass(frozen=True, slots=True)
class Shaping:
    """Which fields are wanted, of which shop, and how they are written. `display` is None where nothing was said."""

    display: str | None
    raw: bool
    id_shop: int | None
    id_group_shop: int | None
    language: str | None

    def scope(self, facts: Facts) -> Scope:
        """Raises ProblemError `language_unknown`."""
        language = None
        if self.language is not None:
            language = facts.language_id(self.language)
            if language is None:
                known = ", ".join(sorted(facts.languages.values())) or "none that the key may read"
                raise ProblemError(
                    "language_unknown", f"give the id of a language, or its ISO code; there are: {known}"
                )
        return Scope(self.id_shop, self.id_group_shop, language)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list, or how many of them one after another."""

    cursor: str | None
    limit: int
    pages: int


@dataclass(frozen=True, slots=True)
class Window:
    """When rows were changed: from the first moment on, before the second."""

    first: datetime | None
    end: datetime | None

    def filters(self, facts: Facts) -> tuple[tuple[str, str], ...]:
        """Raises ProblemError `shop_time_unknown`, `invalid`."""
        try:
            first, end = shop_window(self.first, self.end, facts.tz)
        except ZoneUnknownError:
            detail = "let the store's key read `configurations`, or give the shop's own time, without an offset"
            raise ProblemError("shop_time_unknown", detail) from None
        if first and end and self._ends_early(first, end):
            raise invalid([("updated_before", "must be later than updated_from")])
        return updated(first, end)

    def _ends_early(self, first: str, end: str) -> bool:
        """By the moments themselves where they can be compared: the shop's clock goes back an hour once a year.

        By the texts as well: PrestaShop takes an interval whose end comes first the other way round.
        """
        if first >= end:
            return True
        if not self.first or not self.end or (self.first.tzinfo is None) != (self.end.tzinfo is None):
            return False
        return self.first >= self.end


def _shaping(
    *,
    fields: Annotated[
        str | None,
        Query(max_length=_DISPLAY_CHARACTERS, description="Names with commas between them.", examples=["id,reference"]),
    ] = None,
    display: Annotated[
        str | None,
        Query(
            max_length=_DISPLAY_CHARACTERS,
            description="The same as PrestaShop writes it: `full`, or `[id,order_rows[product_id]]`.",
            examples=["[id,reference]"],
        ),
    ] = None,
    raw: Annotated[
        bool, Query(description="PrestaShop's own texts and shape. Passwords and secret keys are left out even so.")
    ] = False,
    id_shop: Annotated[int | None, Query(ge=1, le=_ID_MOST, description="Of this shop of a multistore.")] = None,
    id_group_shop: Annotated[int | None, Query(ge=1, le=_ID_MOST, description="Of this group of shops.")] = None,
    language: Annotated[
        str | None,
        Query(min_length=1, max_length=8, description="Only in this language, by id or ISO code.", examples=["es"]),
    ] = None,
) -> Shaping:
    return Shaping(_display(fields, display), raw, id_shop, id_group_shop, language)


def _display(fields: str | None, display: str | None) -> str | None:
    if fields is not None and display is not None:
        raise invalid([("display", "give either fields or display")])
    try:
        if fields is not None:
            return FULL if fields == FULL else display_of_fields(fields)
        return None if display is None else display_of(display)
    except UnaskableError as error:
        raise invalid([("display" if fields is None else "fields", str(error))]) from None


def _paging(
    cursor: Annotated[
        str | None,
        Query(max_length=CURSOR_CHARACTERS, description="`next` of the page before, of the same list."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MOST, description="Items in a page.")] = PAGE_ROWS,
    pages: Annotated[
        int, Query(ge=1, le=PAGES_MOST, description="Of a stream (`Accept: application/x-ndjson`): at most so many.")
    ] = PAGES,
) -> Paging:
    return Paging(cursor, limit, pages)


def _written(value: object) -> object:
    """Seconds since 1970 are no time here: nobody could tell in which zone a shop counts them."""
    if isinstance(value, str) and re.fullmatch(_TIME_PATTERN, value):
        return value
    raise ValueError(
        "write a time as 2026-03-02T09:14:07+01:00 (with + as %2B), or without an offset as the shop's own"
    )


Time = Annotated[
    datetime,
    BeforeValidator(_written),
    WithJsonSchema({"type": "string", "pattern": _TIME_PATTERN, "examples": ["2026-03-02T09:14:07+01:00"]}),
]


def _window(
    updated_from: Annotated[
        Time | None, Query(description="Changed at this time or later. A time without offset is the shop's own.")
    ] = None,
    updated_before: Annotated[Time | None, Query(description="Changed before this time, not at it.")] = None,
) -> Window:
    return Window(updated_from, updated_before)


def no_others(request: Request) -> None:
    """A filter that is misspelt must not answer with everything. Raises ProblemError `invalid`."""
    described = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = {each["name"] for each in described.get("parameters", ()) if each["in"] == "query"}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        listed = ", ".join(sorted(known)) or "none"
        raise invalid([(unknown[0][:CHARACTERS_ECHOED], f"there is no such parameter; there are: {listed}")])


async def shop_of(parts: Parts, asking: Asking, connection: str) -> Shop:
    """The shop behind a connection that the caller may see. Raises NotFound, DatabaseUnavailable."""
    found = await parts.directory.connection(connection) if is_id(connection, "con") else None
    if found is None or not (asking.operates or found.account == asking.caller.account):
        raise NotFound("connection", connection)
    return parts.shops.of(found)


@dataclass(frozen=True, slots=True)
class Call:
    """One reading action: who asks, through which connection, for what shape."""

    request: Request
    parts: Parts
    asking: Asking
    connection: str
    shaping: Shaping

    async def shop(self) -> Shop:
        return await shop_of(self.parts, self.asking, self.connection)

    async def shop_again(self) -> Shop:
        """For the next page of a stream: the token may have been revoked meanwhile, the connection changed."""
        await authenticate(self.parts, self.request)
        return await self.shop()


def _call(
    request: Request,
    parts: Serving,
    asking: ReadCaller,
    connection: str,
    shaping: Annotated[Shaping, Depends(_shaping)],
) -> Call:
    return Call(request, parts, asking, connection, shaping)


@contextmanager
def told() -> Iterator[None]:
    """What the way or the store fail with, as problems."""
    try:
        yield
    except GatewayError as error:
        raise of_way(error) from None
    except StoreError as error:
        raise of_store(error) from None


def expression(field: str, make: Callable[[], str]) -> tuple[str, str]:
    """A filter. Raises ProblemError `invalid` where PrestaShop cannot be asked for the value."""
    try:
        return field, make()
    except UnaskableError as error:
        raise invalid([(field, str(error))]) from None


PagingWanted = Annotated[Paging, Depends(_paging)]
WindowWanted = Annotated[Window, Depends(_window)]
Calling = Annotated[Call, Depends(_call)]

"""`/v1/triggers/{id}/snapshot`: a whole catalogue to begin a copy with, which the trigger's events keep in step."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from relay.api.action_asking import ReadCaller, shop_of, told
from relay.api.action_shapes import LastLine
from relay.api.answers import Answer
from relay.api.authentication import Asking, account_router, authenticate
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.problems import OF_ACTIONS, ProblemError, invalid, members_of, translate
from relay.api.shares import ShareExceededError
from relay.api.streams import NDJSON, CutShortError, Lines, wanted
from relay.database import catalogue
from relay.database.errors import DatabaseError
from relay.prestashop.catalogue_items import Items
from relay.prestashop.catalogue_snapshot import Part, Snapshot, Spot
from relay.prestashop.page_sizes import PAGE_ROWS, PAGE_ROWS_MOST
from relay.prestashop.paging import CURSOR_CHARACTERS, ahead, decode_cursor, encode_cursor
from relay.trigger_records import Section

router: APIRouter = account_router("/v1/triggers/{trigger}/snapshot", "triggers")

_EVENTS = Field(description="`cursor` for `/events`: behind it everything is told that changes after this moment.")
_NUMBER = Field(description="Of the last event before this moment: the next one has the number behind it.")


class SnapshotPage(BaseModel):
    """A page. `events` and `number` are those of the first page: keep them from there."""

    items: Annotated[list[dict[str, Any]], Field(description="With `kind`: `category` first, then `product`.")]
    next: Annotated[str | None, Field(description="`cursor` of the page after this one; null at the end.")]
    events: Annotated[str | None, _EVENTS]
    number: Annotated[int, _NUMBER]


class FirstLine(BaseModel):
    """The first line of a stream."""

    kind: str = "begin"
    events: Annotated[str | None, _EVENTS]
    number: Annotated[int, _NUMBER]


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            NDJSON: {
                "schema": {
                    "type": "string",
                    "description": "With `Accept: application/x-ndjson`: all of it, one item a line, between a line of "
                    "the kind `begin`, which has `events` and `number`, and a line of the kind `end`, which has how "
                    "many there were of each kind. A stream that is not whole ends with a line that has `problem`, "
                    "and `next` to go on with, and is broken off.",
                }
            }
        },
    },
    **refusals("not_found", "snapshot_not_ready", *OF_ACTIONS),
}


@router.get("", summary="Take a catalogue's snapshot", response_model=SnapshotPage, responses=_ANSWERS)
async def get_snapshot(
    *,
    request: Request,
    parts: Serving,
    asking: ReadCaller,
    trigger: str,
    cursor: Annotated[str | None, Query(max_length=CURSOR_CHARACTERS, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MOST, description="Items in a page.")] = PAGE_ROWS,
) -> Response:
    """Every category and product as it is now, read from the store while it is taken. Nothing of it is kept here.

    Afterwards follow `/events` from `events` on, or take what is sent from `number` on: the copy then stays in step. An
    item may come again that is in the snapshot already, in its last state. `not_a_catalogue` for triggers of another
    kind.
    """
    standing = await catalogue.standing(parts.database, asking.sees, trigger)
    taking = _Taking(request, parts, asking, trigger, standing, limit)
    spot = taking.spot(cursor)
    first = await taking.part(spot)
    if wanted(request):
        return taking.stream(first)
    page = SnapshotPage(
        items=first.items, next=taking.cursor(first.next), events=standing.events, number=standing.number
    )
    return Answer(page.model_dump())


@dataclass(slots=True)
class _Taking:
    """A snapshot on its way to a caller."""

    request: Request
    parts: Parts
    asking: Asking
    trigger: str
    standing: catalogue.Standing
    limit: int
    _snapshot: Snapshot = dataclasses.field(init=False)
    _items: Items | None = None

    def __post_init__(self) -> None:
        database, trigger = self.parts.database, self.trigger
        self._snapshot = Snapshot(lambda section, ids: catalogue.known(database, trigger, section, ids))

    def spot(self, cursor: str | None) -> Spot:
        """Raises ProblemError `invalid`."""
        if cursor is None:
            return Spot()
        section, _, rest = cursor.partition(".")
        try:
            return Spot(Section(section), decode_cursor(rest, self._name(section)) if rest else 0)
        except ValueError:
            raise invalid([("cursor", "the cursor is not one that this snapshot gave out: begin it again")]) from None

    def cursor(self, spot: Spot | None) -> str | None:
        if spot is None:
            return None
        after = encode_cursor(spot.after, self._name(spot.section)) if spot.after else ""
        return f"{spot.section.value}.{after}"

    async def part(self, spot: Spot) -> Part:
        """Raises ProblemError, DatabaseError."""
        with told():
            shop = await shop_of(self.parts, self.asking, self.standing.connection)
            facts = await self.parts.shops.facts(shop)
            if self.standing.time_zone:
                facts = dataclasses.replace(facts, zone=self.standing.time_zone)
            if self._items is None or (self._items.shop.connection, self._items.facts) != (shop.connection, facts):
                self._items = Items(shop.lean, facts, self.parts.public_url)
            return await self._snapshot.part(self._items, spot, self.limit)

    def stream(self, first: Part) -> Response:
        """Raises ProblemError `account_busy`."""
        stack = ExitStack()
        try:
            stack.enter_context(self.parts.streams.one(self.asking.caller.account))
        except ShareExceededError:
            raise ProblemError("account_busy", "wait for some of its streams to end") from None
        return Lines(self._lines(first), stack.close)

    async def _lines(self, first: Part) -> AsyncGenerator[list[dict[str, Any]]]:
        """Raises CutShortError, which carries the place behind what was handed out."""
        yield [FirstLine(events=self.standing.events, number=self.standing.number).model_dump()]
        counts, spot = Counter[str](), first.next
        try:
            async for part in ahead(self._parts(first)):
                counts.update(item["kind"] for item in part.items)
                yield part.items
                spot = part.next
        except ProblemError as problem:
            line = LastLine(problem=members_of(problem), next=self.cursor(spot))
            raise CutShortError(line.model_dump(), aborted=True) from None
        yield [{"kind": "end", **{section.value: counts[section.value] for section in Section}}]

    async def _parts(self, first: Part) -> AsyncGenerator[Part]:
        yield first
        part = first
        while part.next is not None:
            try:
                await authenticate(self.parts, self.request)
                part = await self.part(part.next)
            except DatabaseError as error:
                raise translate(error) from None
            yield part

    def _name(self, section: str) -> str:
        return f"{self.trigger} {section}"

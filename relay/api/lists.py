"""Lists in parts: the envelope that all of them share, and how a caller asks for the next part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from relay.database.paging import CURSOR_CHARACTERS, LIMIT, LIMIT_MOST
from relay.database.records import Page

R = TypeVar("R")
T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    """A part of a list; `next` is the cursor of the part after it, null at the end."""

    items: list[T]
    next: Annotated[str | None, Field(examples=[None])] = None

    @classmethod
    def of(cls, page: Page[R], shown: Callable[[R], T]) -> Listing[T]:
        """The part of the list that the page is, each of its records as it is shown."""
        return Listing(items=[shown(record) for record in page.items], next=page.next)


class Part(BaseModel):
    """Which part of a list is wanted."""

    cursor: str | None
    limit: int


def _part(
    cursor: Annotated[
        str | None, Query(description="`next` of the part before; absent for the first.", max_length=CURSOR_CHARACTERS)
    ] = None,
    limit: Annotated[int, Query(description="Entries in this part.", ge=1, le=LIMIT_MOST)] = LIMIT,
) -> Part:
    return Part(cursor=cursor, limit=limit)


PartWanted = Annotated[Part, Depends(_part)]

"""How a list is asked of PrestaShop's webservice: its parameters, and filters that no value can break out of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

FULL = "full"
"""`display` for every field and association."""
LATEST = "9999-12-31 23:59:59"
EARLIEST = "0000-00-00 00:00:00"
FILTER_CHARACTERS = 255
"""PrestaShop's own texts to filter by are shorter, and a request line may have 8 KB on Apache."""

_NAME = r"[a-z][a-z0-9_]{0,63}"
_NAMES = rf"{_NAME}(?:,{_NAME})*"
_FIELD = rf"{_NAME}(?:\[{_NAMES}\])?"
_DISPLAY = re.compile(rf"full|minimum|\[{_FIELD}(?:,{_FIELD})*\]")
_SHAPED = re.compile(r".*\[.*\].*", re.DOTALL)
"""What PrestaShop takes for an expression instead of a plain value."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


class UnaskableError(ValueError):
    """PrestaShop cannot be asked for this; the text says why."""


def display_of(text: str) -> str:
    """A caller's `display`, as it may be passed on: `full`, `minimum`, `[a,b]`, `[a,b[c,d]]`. Raises UnaskableError."""
    if not _DISPLAY.fullmatch(text):
        raise UnaskableError("write full, minimum, or names in brackets: [id,reference,order_rows[product_id]]")
    return text


def display_of_fields(text: str) -> str:
    """The same from names with commas between them: `id,reference`. Raises UnaskableError."""
    if not re.fullmatch(rf"{_FIELD}(?:,{_FIELD})*", text):
        raise UnaskableError("write the names of fields with commas between them: id,reference,name")
    return f"[{text}]"


def equals(value: str | int) -> str:
    """Exactly this value, whatever it contains (text is compared as the shop's database does: without case).

    A plain text is no expression for PrestaShop, be there `|`, `,` or `%` in it, unless a `[` and later a `]` is in it:
    then the whole filter could be ignored, and every row come back. Raises UnaskableError for that.
    """
    if isinstance(value, int):
        return f"[{value}]"
    if len(value) > FILTER_CHARACTERS or any(ord(character) < 32 for character in value):
        raise UnaskableError(f"at most {FILTER_CHARACTERS} characters, none of them a control character")
    if _SHAPED.fullmatch(value):
        raise UnaskableError("PrestaShop cannot be asked for a text with [ and ] in it")
    return value or "[]"


def one_of(ids: Sequence[int]) -> str:
    return f"[{'|'.join(str(id_) for id_ in ids)}]"


def above(id_: int) -> str:
    return f">[{id_}]"


def span(first: int, last: int) -> str:
    """From one number to another, both included."""
    return f"[{first},{last}]"


def between(first: str, last: str) -> str:
    """Both included: texts `YYYY-MM-DD HH:MM:SS` in the shop's time. Any other form would match nothing, silently."""
    if not (_DATE.fullmatch(first) and _DATE.fullmatch(last)):
        raise UnaskableError("a date of the shop is written YYYY-MM-DD HH:MM:SS")
    return f"[{first},{last}]"


@dataclass(frozen=True, slots=True)
class Scope:
    """Of which shop of a multistore, and in which of its languages; None: as the shop's address decides, and all."""

    id_shop: int | None = None
    id_group_shop: int | None = None
    language: int | None = None

    @property
    def chooses_shop(self) -> bool:
        return self.id_shop is not None or self.id_group_shop is not None

    def parameters(self) -> list[tuple[str, str]]:
        named = {"id_shop": self.id_shop, "id_group_shop": self.id_group_shop, "language": self.language}
        return [(name, str(value)) for name, value in named.items() if value is not None]


EVERYWHERE = Scope()


@dataclass(frozen=True, slots=True)
class Query:
    """One GET of a list. `filters` are pairs of field and expression (`equals`, `one_of`, `above`, and the like)."""

    resource: str
    display: str = FULL
    filters: tuple[tuple[str, str], ...] = ()
    sort: str = "[id_ASC]"
    """Never absent: the webservice's own order is undefined."""
    limit: int | None = None
    offset: int = 0
    scope: Scope = field(default=EVERYWHERE)

    @property
    def path(self) -> str:
        """From `/api` on. `date=1` always: without it `date_upd` is an unknown filter and sort field."""
        pairs = [("display", self.display), ("sort", self.sort), ("date", "1")]
        if self.limit is not None:
            pairs.append(("limit", f"{self.offset},{self.limit}" if self.offset else str(self.limit)))
        pairs += [(f"filter[{name}]", expression) for name, expression in self.filters]
        return address(self.resource, [*pairs, *self.scope.parameters()])


def address(resource: str, parameters: Sequence[tuple[str, str]]) -> str:
    """`/api/orders?…`, all of it encoded: firewalls take raw brackets and `%` for an attack."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters)
    return f"/api/{resource}?{query}" if query else f"/api/{resource}"

"""The shop's data: tables in memory, the shop's own clock, and the mails it has sent."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.store.schema import Row, Value

MAILS_KEPT = 10_000

# Fields by which rows of other tables are looked up.
INDEXED = ("id_product", "id_order", "id_cart", "id_customer", "id_attribute_group", "id_parent")


@dataclass(slots=True)
class Clock:
    """The shop's time: real time plus what a test has added."""

    zone: str = "Europe/Madrid"
    ahead: float = 0.0  # seconds

    def advance(self, seconds: float) -> None:
        self.ahead += seconds

    def text(self, offset: float = 0.0) -> str:
        """Now in shop time, `YYYY-MM-DD HH:MM:SS`."""
        moment = datetime.fromtimestamp(time.time() + self.ahead + offset, ZoneInfo(self.zone))
        return moment.strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Mail:
    """An e-mail that the shop has sent to a customer."""

    to: str
    template: str
    id_order: int


class Table:
    """The rows of one resource in the order of insertion, with the indexes of INDEXED."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.last_id = 0
        self._by: dict[str, dict[Value, dict[int, None]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def get(self, key: int) -> Row | None:
        return self.rows.get(key)

    def insert(self, row: Row) -> int:
        """Add a row; without an `id` it gets the next one."""
        given = row.get("id")
        key = given if isinstance(given, int) else self.last_id + 1
        self.last_id = max(self.last_id, key)
        self.rows[key] = {"id": key} | row | {"id": key}
        self._index(self.rows[key])
        return key

    def update(self, key: int, changes: Row) -> None:
        row = self.rows[key]
        self._forget(row)
        row.update(changes)
        self._index(row)

    def delete(self, key: int) -> None:
        self._forget(self.rows.pop(key))

    def where(self, name: str, value: Value) -> list[Row]:
        """Rows whose indexed field has that value, in the order of insertion."""
        return [self.rows[key] for key in self._by.get(name, {}).get(value, {})]

    def above(self, key: int) -> Iterator[Row]:
        """Rows with larger ids, in their order: found as a database does by its primary key."""
        return (self.rows[found] for found in range(key + 1, self.last_id + 1) if found in self.rows)

    def _index(self, row: Row) -> None:
        for name in INDEXED:
            if name in row:
                self._by.setdefault(name, {}).setdefault(row[name], {})[int(str(row["id"]))] = None

    def _forget(self, row: Row) -> None:
        for name in INDEXED:
            if name in row:
                self._by[name][row[name]].pop(int(str(row["id"])), None)


@dataclass(slots=True)
class Shop:
    """One shop's tables by resource name; a table that nobody filled is empty."""

    name: str = "RealShop"
    clock: Clock = field(default_factory=Clock)
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[int, bytes] = field(default_factory=dict)  # by image id
    mails: deque[Mail] = field(default_factory=lambda: deque(maxlen=MAILS_KEPT))
    second_shop_products: frozenset[int] = frozenset({1, 2, 3})

    def table(self, name: str) -> Table:
        found = self.tables.get(name)
        if found is None:
            found = self.tables[name] = Table()
        return found

    def __getitem__(self, name: str) -> Table:
        return self.table(name)

    def insert(self, table: str, /, **values: object) -> int:
        """Add a row of plain values and return its id."""
        return self.table(table).insert(dict(values))  # type: ignore[arg-type]  # associations are lists in the row

    def row(self, name: str, key: int) -> Row:
        """A row that must exist; KeyError otherwise."""
        return self.table(name).rows[key]

    def now(self) -> str:
        return self.clock.text()

    @property
    def languages(self) -> list[int]:
        return list(self.table("languages").rows)

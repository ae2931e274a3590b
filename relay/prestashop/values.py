"""PrestaShop's texts as values: decimals as text, truths, times with the shop's offset, translations by language."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.prestashop.query import EARLIEST, LATEST
from relay.prestashop.resources import Kind, Resource
from relay.prestashop.rows import Row, Value, whole

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_DECIMAL = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NO_DAY = "0000-00-00"


_FIRST_YEAR = 1000
"""Earlier ones are not written with four digits, and no shop is so old."""
_QUARTER = 900
"""Clocks are only ever set by law at full quarters of an hour."""
_SET_BACK_SECONDS = 6 * 3600
"""A text that comes twice comes again within so long: more than any law sets clocks back by."""
_QUARTERS_END = int(datetime(9999, 12, 1, tzinfo=UTC).timestamp())


class ZoneUnknownError(Exception):
    """A time with an offset cannot be put into the shop's time: its zone is not known."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shop must be known by to read its values. Without them times carry no offset, languages their ids."""

    zone: str | None = None
    languages: dict[int, str] = field(default_factory=dict)
    """ISO codes by id."""

    @property
    def tz(self) -> tzinfo | None:
        return zone_of(self.zone)

    def language(self, id_: int) -> str:
        """The ISO code where it is known and no other language's as well, else the id."""
        code = self.languages.get(id_)
        shared = list(self.languages.values()).count(code) > 1 if code else True
        return str(id_) if code is None or shared else code

    @property
    def only_language(self) -> str:
        """That of a text that came without one, which shops of one language may send."""
        return self.language(next(iter(self.languages))) if len(self.languages) == 1 else ""

    def language_id(self, named: str) -> int | None:
        """By id or ISO code."""
        known = {code.lower(): id_ for id_, code in self.languages.items()}
        return whole(named) or known.get(named.lower())


def zone_of(name: str | None) -> tzinfo | None:
    """None where the shop's zone is not told, or this machine does not know it."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def normalised(row: Row, resource: Resource, facts: Facts) -> dict[str, Any]:
    """The row for an answer: fields and associations side by side, under PrestaShop's names, without secrets."""
    shown: dict[str, Any] = {"id": row.id}
    for name, value in row.fields.items():
        if name not in resource.secrets:
            shown[name] = _value(value, resource.kind_of(name), facts)
    shown["id"] = row.id
    for name, cells in row.associations.items():
        shown[name] = [_cell(cell, name, resource, facts) for cell in cells]
    return shown


def raw(row: Row, resource: Resource) -> dict[str, Any]:
    """The row in PrestaShop's own texts and shape, without secrets; translations are keyed by language id."""
    fields = {name: value for name, value in row.fields.items() if name not in resource.secrets}
    shown: dict[str, Any] = {"id": str(row.id), **fields}
    if row.associations:
        shown["associations"] = row.associations
    return shown


def time_of(text: str, zone: tzinfo | None) -> str | None:
    """`2026-03-02 09:14:07` as `2026-03-02T09:14:07+01:00`, without offset where the zone is unknown.

    In the hour that is there twice, at the end of summer time, the first of the two is meant.
    """
    try:
        moment = datetime.strptime(text, TIME_FORMAT).replace(tzinfo=zone)
    except ValueError:
        return None
    return moment.isoformat()


def shop_time(moment: datetime, zone: tzinfo | None) -> str:
    """A moment as the shop's database writes it, in whole seconds, of which the next one counts.

    Without offset it is the shop's time already. Raises ZoneUnknownError.
    """
    if moment.tzinfo is not None and zone is None:
        raise ZoneUnknownError
    try:
        local = moment.astimezone(zone) if moment.tzinfo else moment
        local += timedelta(seconds=1) if local.microsecond else timedelta()
    except OverflowError:
        return LATEST if moment.year > _FIRST_YEAR else EARLIEST
    return local.strftime(TIME_FORMAT) if local.year >= _FIRST_YEAR else EARLIEST


def shop_window(first: datetime | None, end: datetime | None, zone: tzinfo | None) -> tuple[str | None, str | None]:
    """The texts that the shop's clock shows from a moment on and before another, from the least to behind the greatest.

    At the end of summer time an hour is there twice: a window in either of the two has what both of them changed.
    Raises ZoneUnknownError.
    """
    texts = None if first is None else shop_time(first, zone), None if end is None else shop_time(end, zone)
    begin = first.timestamp() if first and first.tzinfo else None
    stop = end.timestamp() if end and end.tzinfo else None
    least, greatest = texts
    if begin is not None and least:
        following = _quarters(begin, min(stop or begin + _SET_BACK_SECONDS, begin + _SET_BACK_SECONDS))
        least = min([least, *(shop_time(quarter, zone) for quarter in following if quarter.timestamp() != stop)])
    if stop is not None and greatest:
        before = _quarters(max(begin + 1 if begin is not None else 0, stop - _SET_BACK_SECONDS), stop)
        ends = ((quarter - timedelta(seconds=1)).astimezone(zone) + timedelta(seconds=1) for quarter in before)
        greatest = max([greatest, *(each.strftime(TIME_FORMAT) for each in ends)])
    return least, greatest


def _quarters(begin: float, end: float) -> list[datetime]:
    """Full quarters of an hour between two moments, both included, unix seconds."""
    first, last = max(0, -(-begin // _QUARTER)), min(end, _QUARTERS_END) // _QUARTER
    return [datetime.fromtimestamp(number * _QUARTER, UTC) for number in range(int(first), int(last) + 1)]


def _value(value: Value, kind: Kind, facts: Facts) -> Any:
    if isinstance(value, dict):
        return {facts.language(id_): text for id_, text in value.items()}
    match kind:
        case Kind.TEXT:
            return value
        case Kind.TRANSLATED:
            return {facts.only_language: value} if value else {}
        case _:
            return _plain(value.strip(), kind, facts)


def _plain(text: str, kind: Kind, facts: Facts) -> Any:
    """Null for nothing, and for what is not of its kind: `raw` shows that."""
    match kind:
        case Kind.NUMBER:
            return whole(text)
        case Kind.TRUTH:
            return bool(number) if (number := whole(text)) is not None else None
        case Kind.DECIMAL:
            return text if _DECIMAL.fullmatch(text) else None
        case Kind.TIME:
            return time_of(text, facts.tz)
        case _:
            return text if _DAY.fullmatch(text) and text != _NO_DAY else None


def _cell(cell: dict[str, str], association: str, resource: Resource, facts: Facts) -> dict[str, Any]:
    return {
        name: _value(text, resource.cell_kind(association, name), facts)
        for name, text in cell.items()
        if name not in resource.secrets
    }

"""How a webservice resource is described: its fields, its associations, and the short notation they are written in.

One line per field: `name kind flags`. Kinds: `id`, `int`, `bool`, `dec` (six decimals), `dec3` (three), `txt`,
`date`, `time`. Flags: `!` required on write, `L` translated, `ro` not writable, `dyn` computed and not
filterable, `>resource` the foreign key's resource, `#N` largest size, `isX` PrestaShop's validator,
`=x` what the database makes of an empty value, `+1.7.8` first release, `-8.0` first release without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.store.shop import Shop

Value: TypeAlias = "str | int | dict[int, str] | None"
Row: TypeAlias = dict[str, Value]
Cells: TypeAlias = "list[dict[str, str | int | None]]"
Compute: TypeAlias = "Callable[[Shop, Row], Value]"
Rows: TypeAlias = "Callable[[Shop, Row], Cells]"
Kind = Literal["id", "int", "bool", "dec", "dec3", "txt", "date", "time"]
Release = tuple[int, ...]

METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")  # in the order of the root document

EMPTY: dict[Kind, str | int] = {
    "id": 0,
    "int": 0,
    "bool": 0,
    "dec": "0.000000",
    "dec3": "0.000",
    "txt": "",
    "date": "0000-00-00",
    "time": "0000-00-00 00:00:00",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource."""

    name: str
    kind: Kind
    required: bool = False
    translated: bool = False
    read_only: bool = False
    dynamic: bool = False
    link: str = ""
    size: int = 0
    rule: str = ""
    empty: str | int = ""
    since: Release = ()
    until: Release = (99,)
    compute: Compute | None = None

    def value(self, shop: Shop, row: Row) -> Value:
        return self.compute(shop, row) if self.compute else row.get(self.name)

    @property
    def numeric(self) -> bool:
        return self.kind in ("id", "int", "bool", "dec", "dec3")


@dataclass(frozen=True, slots=True)
class Association:
    """Rows that hang on an entity; `api` is None for rows that are no entities of their own."""

    name: str
    node: str
    api: str | None
    columns: tuple[tuple[str, str], ...]  # (name, resource of the foreign key or "")
    rows: Rows
    settable: bool = False  # kept in the row itself, under the association's name
    since: Release = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A name under /api."""

    name: str
    node: str
    class_name: str
    description: str
    fields: tuple[Field, ...] = ()
    associations: tuple[Association, ...] = ()
    forbidden: frozenset[str] = frozenset()
    special: bool = False  # images, search: no entities; attachments: downloads
    since: Release = ()
    until: Release = (99,)
    by_name: Mapping[str, Field] = field(default_factory=dict, compare=False)

    def association(self, name: str) -> Association | None:
        return next((one for one in self.associations if one.name == name), None)

    def at(self, release: Release) -> Resource:
        """The resource as that release has it."""
        kept = tuple(one for one in self.fields if one.since <= release < one.until)
        associated = tuple(one for one in self.associations if one.since <= release)
        return resource(
            self.name,
            self.node,
            self.class_name,
            self.description,
            fields=kept,
            associations=associated,
            forbidden=tuple(self.forbidden),
            special=self.special,
        )


def fields(text: str, **computed: Compute) -> tuple[Field, ...]:
    """Read the notation above; `computed` gives the function of each `dyn` field."""
    found = [Field("id", "id")]
    for line in text.strip().splitlines():
        name, kind, *flags = line.split()
        found.append(_field(name, cast("Kind", kind), flags, computed.get(name)))
    return tuple(found)


def resource(
    name: str,
    node: str,
    class_name: str,
    description: str,
    *,
    fields: tuple[Field, ...] = (),
    associations: tuple[Association, ...] = (),
    forbidden: tuple[str, ...] = (),
    special: bool = False,
    since: Release = (),
    until: Release = (99,),
) -> Resource:
    return Resource(
        name,
        node,
        class_name,
        description,
        fields,
        associations,
        frozenset(forbidden),
        special,
        since,
        until,
        {one.name: one for one in fields},
    )


def association(
    name: str,
    node: str,
    api: str | None,
    columns: str,
    rows: Rows | None = None,
    *,
    since: Release = (),
) -> Association:
    """`columns`: `id id_feature_value>product_feature_values`; without `rows` they are kept in the entity's own row."""
    pairs = tuple((column, link) for column, _, link in (part.partition(">") for part in columns.split()))
    return Association(name, node, api, pairs, rows or _kept(name), rows is None, since)


def _kept(name: str) -> Rows:
    def rows(_shop: Shop, row: Row) -> Cells:
        return cast("Cells", row.get(name) or [])

    return rows


def _field(name: str, kind: Kind, flags: list[str], compute: Compute | None) -> Field:
    empty: str | int = EMPTY[kind]
    size, rule, link = 0, "", ""
    since: Release = ()
    until: Release = (99,)
    for flag in flags:
        match flag[0], flag[1:]:
            case "=", given:
                empty = int(given) if kind in ("id", "int", "bool") else given
            case "#", given:
                size = int(given)
            case ">", given:
                link = given
            case "+", given:
                since = _release(given)
            case "-", given:
                until = _release(given)
            case "i", given if given.startswith("s"):
                rule = flag
    return Field(
        name,
        kind,
        required="!" in flags,
        translated="L" in flags,
        read_only="ro" in flags,
        dynamic="dyn" in flags,
        link=link,
        size=size,
        rule=rule,
        empty=empty,
        since=since,
        until=until,
        compute=compute,
    )


def _release(text: str) -> Release:
    return tuple(int(part) for part in text.split("."))

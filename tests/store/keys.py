"""The webservice keys of the shop: what each may do, and for which shops."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.store.schema import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALPHABET = string.ascii_uppercase + string.digits
LENGTH = 32  # characters of a webservice key
NAMES = ("full", "products_get_only", "disabled", "no_shop", "no_permission")

ALL_VERBS = frozenset(METHODS)


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `grants` maps resource names to verbs, `*` stands for every resource."""

    value: str
    grants: Mapping[str, frozenset[str]]
    active: bool = True
    shops: frozenset[int] = frozenset({1})

    def verbs(self, resource: str) -> frozenset[str]:
        return self.grants.get("*") or self.grants.get(resource) or frozenset()


@dataclass(slots=True)
class KeyRing:
    """All keys, by name and by value."""

    by_name: dict[str, Key] = field(default_factory=dict)

    @classmethod
    def standard(cls, given: Mapping[str, str], seed: int | None) -> KeyRing:
        """The five keys of the ready line; `given` values replace made ones, `seed` makes the same ones again.

        ValueError for a name that is none of the five.
        """
        unknown = set(given) - set(NAMES)
        if unknown:
            raise ValueError(f"there is no key {min(unknown)!r} to set; there are: {', '.join(NAMES)}")
        source: random.Random = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - a test's
        values = {name: given.get(name) or "".join(source.choices(ALPHABET, k=LENGTH)) for name in NAMES}
        get_products = {"products": frozenset({"GET"})}
        ring = cls()
        ring.by_name = {
            "full": Key(values["full"], {"*": ALL_VERBS}, shops=frozenset({1, 2})),
            "products_get_only": Key(values["products_get_only"], get_products),
            "disabled": Key(values["disabled"], {"*": ALL_VERBS}, active=False),
            "no_shop": Key(values["no_shop"], get_products, shops=frozenset()),
            "no_permission": Key(values["no_permission"], {}),
        }
        return ring

    @property
    def values(self) -> dict[str, str]:
        return {name: key.value for name, key in self.by_name.items()}

    def find(self, value: str) -> Key | None:
        return next((key for key in self.by_name.values() if key.value == value), None)

    def grant(self, name: str, grants: Mapping[str, Iterable[str]]) -> str:
        """Add (or replace) a key of shop 1 that may do just this, such as `{"orders": ["GET"]}`; returns it."""
        value = "".join(random.SystemRandom().choices(ALPHABET, k=LENGTH))
        self.by_name[name] = Key(value, {resource: frozenset(verbs) for resource, verbs in grants.items()})
        return value

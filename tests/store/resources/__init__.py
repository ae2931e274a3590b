"""Every resource name of the webservice, with what it looks like in each release."""

from __future__ import annotations

from functools import cache

from tests.store.resources.catalogue import CATALOGUE
from tests.store.resources.people import PEOPLE
from tests.store.resources.rest import REST
from tests.store.resources.sales import SALES
from tests.store.schema import Release, Resource

EVERY = (*CATALOGUE, *PEOPLE, *SALES, *REST)


@cache
def resources(release: Release) -> dict[str, Resource]:
    """The resources of a release, by name, in alphabetical order, as the root lists them."""
    there = [one.at(release) for one in EVERY if one.since <= release < one.until]
    return {one.name: one for one in sorted(there, key=lambda one: one.name)}

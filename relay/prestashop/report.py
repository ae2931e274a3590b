"""What a connection test tells: hop by hop, what was found, and what would mend it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from relay.prestashop.diagnosis import Accepted, Step, Trouble
from relay.prestashop.hops import proven
from relay.prestashop.reading import METHODS
from relay.prestashop.remedies import Remedy, note_remedy, remedy
from relay.prestashop.scrubbing import Scrubber
from relay.records import Connection, KeyPlace, StoreUrl

_READ = ("GET", "HEAD")
WANTED: dict[str, tuple[str, ...]] = {
    "products": _READ,
    "combinations": _READ,
    "stock_availables": _READ,
    "categories": _READ,
    "manufacturers": _READ,
    "images": _READ,
    "orders": _READ,
    "order_states": _READ,
    "order_histories": (*_READ, "POST"),
    "customers": _READ,
    "addresses": _READ,
    "carts": _READ,
    "carriers": _READ,
    "currencies": _READ,
    "languages": _READ,
    "configurations": ("GET",),
}
"""What Postern's own actions and triggers need (of configurations: the shop's time zone); what is missing of it is a
finding of a passed test."""
VERSION_CHARACTERS = 40


@dataclass(slots=True)
class StepResult:
    """One hop; `remedy` only where it failed. `ms` is None where the hop was not timed by itself."""

    name: Step
    status: Literal["passed", "failed", "skipped"] = "skipped"
    ms: float | None = None
    code: str | None = None
    detail: str = ""
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know about a store that passed."""

    code: str
    detail: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Offer:
    """A change of the connection that would mend the trouble, once somebody accepts it."""

    key_place: KeyPlace | None = None
    store_url: str | None = None


@dataclass(slots=True)
class Report:
    """`granted` and `missing` map resources to methods. Nothing in it holds the store's key."""

    ok: bool = False
    steps: list[StepResult] = field(default_factory=lambda: [StepResult(step) for step in Step])
    shop_name: str | None = None
    version: str | None = None
    granted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    offer: Offer | None = None

    def step(self, step: Step) -> StepResult:
        return next(result for result in self.steps if result.name is step)


class Writer:
    """Fills in a report as the test walks on. What the store said goes in without its key."""

    def __init__(self, connection: Connection) -> None:
        self.report = Report()
        self.scrubber = Scrubber(connection.api_key)
        self._store = connection.store

    def passed(self, step: Step, ms: float | None = None) -> None:
        result = self.report.step(step)
        result.status, result.ms = "passed", None if ms is None else round(ms, 1)

    def failed(self, trouble: Trouble) -> None:
        """Name the hop; those that its failing proves to work have passed, those behind it count for nothing."""
        for step in proven(trouble):
            self.passed(step, self.report.step(step).ms)
        here = self.report.step(trouble.step)
        for later in self.report.steps[self.report.steps.index(here) + 1 :]:
            later.status, later.ms = "skipped", None
        detail = self.scrubber.text(trouble.detail)
        here.status, here.code, here.detail, here.remedy = "failed", trouble.code, detail, remedy(trouble.code, detail)
        self.report.offer = self._offer(trouble)

    def accepted(self, found: Accepted, version: str | None) -> None:
        for step in (Step.WEBSERVICE, Step.KEY, Step.PERMISSIONS):
            self.passed(step)
        report, clean = self.report, self.scrubber.text
        report.ok = True
        report.shop_name = clean(found.root.shop_name)
        report.version = clean(version[:VERSION_CHARACTERS]) if version else None
        report.granted = {clean(name): methods for name, methods in found.root.grants.items() if methods}
        report.missing = _missing(report.granted)
        if found.around.byte_order_mark:
            self.note("byte_order_mark")
        if found.around.blank:
            self.note("blank_before_xml")

    def note(self, code: str, detail: str = "") -> None:
        detail = self.scrubber.text(detail)
        self.report.notes.append(Note(code, detail, note_remedy(code, detail)))

    def _offer(self, trouble: Trouble) -> Offer | None:
        """None where what would mend it is not known, or is what the connection has already."""
        if trouble.code == "authorization_stripped":
            return Offer(key_place=KeyPlace.WS_KEY)
        wanted = self._store_url(trouble)
        return Offer(store_url=wanted) if wanted and wanted != str(self._store) else None

    def _store_url(self, trouble: Trouble) -> str | None:
        store = self._store
        if trouble.code == "https_needed":
            return _https(store)
        if trouble.code == "host_not_owned" and trouble.store_url and trouble.store_url.count("/") == 2:
            return self.scrubber.text(trouble.store_url + store.base_path)
        return self.scrubber.text(trouble.store_url) if trouble.store_url else None


def _https(store: StoreUrl) -> str:
    return str(dataclasses.replace(store, scheme="https"))


def _missing(granted: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    lacks = {
        resource: tuple(method for method in METHODS if method in wanted and method not in granted.get(resource, ()))
        for resource, wanted in WANTED.items()
    }
    return {resource: methods for resource, methods in lacks.items() if methods}

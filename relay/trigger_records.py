"""What the rooms of the relay tell each other about triggers: work to do, what came of it, and parcels to deliver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import SecretStr


class TriggerKind(StrEnum):
    ORDER_UPDATED = "order-updated"
    PRODUCT_CATALOGUE = "product-catalogue"


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at a store: unless somebody says otherwise, and at least."""

    interval: int
    least: int


PACES: Mapping[TriggerKind, Pace] = {
    TriggerKind.ORDER_UPDATED: Pace(60, 10),
    TriggerKind.PRODUCT_CATALOGUE: Pace(12 * 3600, 900),
}
"""A look at a shop's orders costs it one small request, one at its catalogue some hundreds."""


class Delivery(StrEnum):
    """What became of an event: `held` is for pulling alone, `waiting` for its turn or its next try."""

    HELD = "held"
    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


class LeaseLostError(Exception):
    """Another node has taken over what this one was working on, or it is gone: nothing of it may be written."""


class DeskAwayError(Exception):
    """The database does not answer now; trying again later helps."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to work on a trigger or a parcel until it expires; `fence` is higher each time it is taken."""

    subject: str
    fence: int
    taken_at: int = 0
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was last told of a subject (an order's id, say): when it said it was changed, and a digest of the rest."""

    subject: int
    stamp: str
    digest: str


class Section(StrEnum):
    """The parts of a catalogue, in the order in which they are read."""

    CATEGORY = "category"
    PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a trigger knows of one thing in a catalogue: digests, and whether that is the last word."""

    id: int
    overview: str
    """Of what can be read of many things at once."""
    content: str = ""
    """Of all that was told of it; empty where nothing was."""
    settled: bool = True
    """False: it was read so soon after its last change that it may have changed again without a sign."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What is to be known of a section from now on: entries new or changed, and ids to be forgotten."""

    section: Section
    entries: Sequence[Entry] = ()
    gone: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """A cycle of a trigger that is due, leased to this node. `state` is what the last one left, empty at first."""

    lease: Lease
    account: str
    connection: str
    kind: TriggerKind
    interval: int
    """Seconds between two cycles."""
    ceiling: int
    """Most items in one event."""
    time_zone: str | None
    """The shop's, where its webservice does not tell."""
    state: Mapping[str, Any]
    failures: int
    """Cycles that have failed one after the other."""
    created_at: int
    """When the trigger was made, unix seconds: what changes from then on is told."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a cycle failed, for people; `code` is stable, `origin` the hop to blame."""

    code: str
    origin: str
    detail: str
    retry_after: int | None = None
    """Seconds that the store asked to be left alone."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """What came of a cycle: written as a whole, with the event that it makes, or not at all."""

    state: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]] = ()
    marks: Sequence[Mark] = ()
    forget_before: str | None = None
    """Marks with an earlier stamp will not be asked for again."""
    unfinished: bool = False
    """The ceiling was reached: the next cycle goes on from here, and soon."""
    fault: Fault | None = None
    noted: Noted | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """An event on its way to its endpoint, leased to this node. `secrets` sign it: the one in use, and the former."""

    lease: Lease
    trigger: str
    url: str
    secrets: tuple[SecretStr, ...] = field(repr=False)
    body: bytes = field(repr=False)
    attempts: int
    """That have failed so far."""
    since: int
    """When it came up for delivery: unix seconds."""

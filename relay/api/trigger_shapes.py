"""Triggers, their events and their secrets as the typed surface shows and takes them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from relay.api.answers import ShownOnce
from relay.api.shapes import Form, Patch, Time, absent
from relay.database.endpoints import URL_CHARACTERS
from relay.database.records import NewTrigger, TriggerEventRecord, TriggerRecord
from relay.database.triggers import CEILING, CEILING_MOST, INTERVAL_MOST, TriggerForm, TriggerPatch
from relay.trigger_records import PACES, TriggerKind

_LEAST = min(pace.least for pace in PACES.values())
_PACES = "; ".join(f"`{kind}`: {pace.interval} unless given, at least {pace.least}" for kind, pace in PACES.items())

Interval = Annotated[
    int, Field(ge=_LEAST, le=INTERVAL_MOST, description=f"Seconds between two looks at the store. {_PACES}.")
]
Ceiling = Annotated[
    int,
    Field(ge=1, le=CEILING_MOST, description="Most items in one event. If there are more, the rest follows soon."),
]
TimeZone = Annotated[
    str | None,
    Field(
        max_length=100,
        description="The shop's time zone, as IANA names it. Only needed where the key may not GET `configurations`.",
        examples=["Europe/Paris"],
    ),
]
Url = Annotated[
    str,
    Field(
        max_length=URL_CHARACTERS,
        description="Where events are sent: `https://`, on the public internet.",
        examples=["https://hooks.example.com/postern"],
    ),
]


class TriggerCreation(Form):
    """With `url`, events are sent there as signed webhooks; with `pull`, or neither, they wait to be pulled."""

    kind: TriggerKind
    interval: Interval | None = None
    ceiling: Ceiling = CEILING
    time_zone: TimeZone = None
    url: Url | None = None
    pull: Annotated[bool, Field(description="Say it, if you like: the same as no `url`.")] = False
    enabled: bool = True

    @property
    def form(self) -> TriggerForm:
        return TriggerForm(self.kind, self.interval, self.ceiling, self.time_zone, self.url, self.enabled)


class TriggerChange(Patch):
    """Enabled again, a trigger goes on where it stopped."""

    interval: Interval = absent()
    ceiling: Ceiling = absent()
    time_zone: TimeZone = absent()
    url: Url = absent()
    enabled: bool = absent()

    @property
    def patch(self) -> TriggerPatch:
        return TriggerPatch(**self.given())


class TriggerFault(BaseModel):
    """Why the last look at the store came to nothing, or not to its end."""

    code: Annotated[str, Field(examples=["agent_offline"])]
    origin: Annotated[str, Field(description="The hop that is to blame.", examples=["agent"])]
    detail: str


class Trigger(BaseModel):
    """What is watched of a store, and where its events go."""

    id: Annotated[str, Field(examples=["trg_d4e5f6g7h2i3j4k5"])]
    account: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    connection: Annotated[str, Field(examples=["con_d4e5f6g7h2i3j4k5"])]
    kind: TriggerKind
    interval: Interval
    ceiling: Ceiling
    time_zone: TimeZone
    delivery: Annotated[Literal["webhook", "pull"], Field(description="How events come to their receiver.")]
    url: Url | None
    enabled: bool
    disabled_because: Annotated[
        str | None,
        Field(description="`endpoint_gone`: it answered 410; `secret_lost`: make a new secret. Null: somebody did it."),
    ]
    former_secret_until: Annotated[Time | None, Field(description="Until then the former secret signs as well.")]
    next_run_at: Time
    last_run_at: Time | None
    failures: Annotated[int, Field(description="Looks at the store that have failed one after the other.")]
    fault: TriggerFault | None
    waiting: Annotated[int, Field(description="Events on their way to `url`.")]
    dead: Annotated[int, Field(description="Events that were given up: `/dead-letters` lists them.")]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, record: TriggerRecord) -> Self:
        return cls(**_members(record))


class TriggerCreated(Trigger):
    secret: Annotated[
        ShownOnce | None,
        Field(description="Signs what is sent (Standard Webhooks). Shown once. Null where events are pulled."),
    ]

    @classmethod
    def of_new(cls, new: NewTrigger) -> Self:
        return cls(**_members(new.trigger), secret=new.secret)


class EventData(BaseModel):
    trigger: str
    connection: str
    number: Annotated[
        int | None,
        Field(description="Of the trigger's events, 1, 2, 3, …: where one is missing, it was given up or forgotten."),
    ] = None
    items: Annotated[
        list[dict[str, Any]],
        Field(
            description="Each in its last state. Of `order-updated`: as `list-orders` shows them. Of "
            "`product-catalogue`, by their `kind`: `product` and `category`, new or changed, as the snapshot shows "
            "them; `removed`, with `of` and `id`; `unreadable`, with `of`, `id` and the `code` of what the store fails "
            "with at it; once, `ready`, with the address of the `snapshot`."
        ),
    ]


class Event(BaseModel):
    """What is told: the same, to the byte, as the body of a webhook. `id` stays the same however often it is sent."""

    id: Annotated[str, Field(examples=["evt_d4e5f6g7h2i3j4k5"])]
    type: TriggerKind
    timestamp: Annotated[str, Field(examples=["2026-03-02T09:14:07Z"])]
    data: EventData

    @classmethod
    def of(cls, record: TriggerEventRecord) -> Self:
        return cls(**json.loads(record.body))


class DeadLetter(BaseModel):
    """An event that was given up, and why."""

    event: Event
    attempts: int
    last_failure: Annotated[str | None, Field(examples=["answered 503"])]
    given_up_at: Time

    @classmethod
    def of(cls, record: TriggerEventRecord) -> Self:
        return cls(
            event=Event.of(record),
            attempts=record.attempts,
            last_failure=record.last_failure,
            given_up_at=record.ended_at or record.created_at,
        )


def _members(record: TriggerRecord) -> dict[str, Any]:
    progress = record.progress
    fault = progress.fault
    return {
        "id": record.id,
        "account": record.account,
        "connection": record.connection,
        "kind": record.kind,
        "interval": record.interval,
        "ceiling": record.ceiling,
        "time_zone": record.time_zone,
        "delivery": "pull" if record.url is None else "webhook",
        "url": record.url,
        "enabled": record.enabled,
        "disabled_because": progress.disabled_because,
        "former_secret_until": record.former_secret_until,
        "next_run_at": progress.next_run_at,
        "last_run_at": progress.last_run_at,
        "failures": progress.failures,
        "fault": TriggerFault(code=fault.code, origin=fault.origin, detail=fault.detail) if fault else None,
        "waiting": progress.waiting,
        "dead": progress.dead,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }

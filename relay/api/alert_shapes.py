"""Subscriptions to alerts, and alerts themselves, as the typed surface shows and takes them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from relay.alert_records import AlertKind
from relay.api.answers import ShownOnce
from relay.api.shapes import Form, OwnerNamed, Patch, Time, absent
from relay.api.trigger_shapes import Url
from relay.database.alerts import AlertForm, AlertPatch
from relay.database.records import AlertRecord, NewAlert, TriggerEventRecord

Kinds = Annotated[
    list[AlertKind] | None,
    Field(
        min_length=1,
        max_length=len(AlertKind),
        description="Which alerts; null: all.",
        examples=[["agent.offline", "agent.online"]],
    ),
]

Enabled = Annotated[bool, Field(strict=True)]


class AlertCreation(Form):
    """With `url`, alerts are sent there as signed webhooks; with `pull`, or neither, they wait to be pulled."""

    kinds: Kinds = None
    url: Url | None = None
    pull: Annotated[bool, Field(strict=True, description="Say it, if you like: the same as no `url`.")] = False
    enabled: Enabled = True
    account: OwnerNamed = None

    @property
    def form(self) -> AlertForm:
        return AlertForm(None if self.kinds is None else tuple(self.kinds), self.url, self.enabled)


class AlertChange(Patch):
    """While it is not enabled no alerts are made for it, and none are sent."""

    kinds: Kinds = absent()
    url: Url = absent()
    enabled: Enabled = absent()

    @property
    def patch(self) -> AlertPatch:
        given = self.given()
        if given.get("kinds") is not None:
            given["kinds"] = tuple(given["kinds"])
        return AlertPatch(**given)


class Alert(BaseModel):
    """Who is told of what goes wrong with agents, stores and keys of an account."""

    id: Annotated[str, Field(examples=["alr_d4e5f6g7h2i3j4k5"])]
    account: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    kinds: Kinds
    delivery: Annotated[Literal["webhook", "pull"], Field(description="How alerts come to their receiver.")]
    url: Url | None
    enabled: bool
    disabled_because: Annotated[
        str | None,
        Field(description="`endpoint_gone`: it answered 410; `secret_lost`: make a new secret. Null: somebody did it."),
    ]
    former_secret_until: Annotated[Time | None, Field(description="Until then the former secret signs as well.")]
    waiting: Annotated[int, Field(description="Alerts on their way to `url`.")]
    dead: Annotated[int, Field(description="Alerts that were given up: `/dead-letters` lists them.")]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, record: AlertRecord) -> Self:
        return cls(**_members(record))


class AlertCreated(Alert):
    secret: Annotated[
        ShownOnce | None,
        Field(description="Signs what is sent (Standard Webhooks). Shown once. Null where alerts are pulled."),
    ]

    @classmethod
    def of_new(cls, new: NewAlert) -> Self:
        return cls(**_members(new.alert), secret=new.secret)


class AlertEvent(BaseModel):
    """What is told: the same, to the byte, as the body of a webhook. `id` stays the same however often it is sent."""

    id: Annotated[str, Field(examples=["evt_d4e5f6g7h2i3j4k5"])]
    type: AlertKind
    timestamp: Annotated[str, Field(examples=["2026-03-02T09:14:07Z"])]
    data: Annotated[
        dict[str, Any],
        Field(
            description="`alert` (the subscription), `since` (unix seconds), `remedy` (`en`, `fr`), and what it is "
            "about: `agent` or `connection` with its `name`, `store`, `code` and others.",
            examples=[{"alert": "alr_d4e5f6g7h2i3j4k5", "agent": "agt_k3v7qjx2m5w4tzab", "name": "Shop in Lyon"}],
        ),
    ]

    @classmethod
    def of(cls, record: TriggerEventRecord) -> Self:
        return cls(**json.loads(record.body))


class DeadAlert(BaseModel):
    """An alert that was given up, and why."""

    event: AlertEvent
    attempts: int
    last_failure: Annotated[str | None, Field(examples=["answered 503"])]
    given_up_at: Time

    @classmethod
    def of(cls, record: TriggerEventRecord) -> Self:
        return cls(
            event=AlertEvent.of(record),
            attempts=record.attempts,
            last_failure=record.last_failure,
            given_up_at=record.ended_at or record.created_at,
        )


def _members(record: AlertRecord) -> dict[str, Any]:
    progress = record.progress
    return {
        "id": record.id,
        "account": record.account,
        "kinds": None if record.kinds is None else list(record.kinds),
        "delivery": "pull" if record.url is None else "webhook",
        "url": record.url,
        "enabled": record.enabled,
        "disabled_because": progress.disabled_because,
        "former_secret_until": record.former_secret_until,
        "waiting": progress.waiting,
        "dead": progress.dead,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }

"""Connections and their access keys as the typed surface shows and takes them. The store's key only ever goes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, SecretStr

from relay.api.answers import ShownOnce
from relay.api.shapes import Form, LastUse, Name, OwnerNamed, Patch, Shown, Time, absent
from relay.api.store_shapes import StoreSeen
from relay.api.traffic_shapes import Traffic
from relay.database.connection_form import (
    ANSWER_TIMEOUT,
    ANSWER_TIMEOUT_MOST,
    CA_CHARACTERS,
    CONCURRENCY,
    CONCURRENCY_MOST,
    ConnectionForm,
    ConnectionPatch,
)
from relay.database.records import ConnectionRecord, NewAccessKey, NewConnection
from relay.gateway.traffic import Summary
from relay.health.store_states import StoreState
from relay.records import KeyPlace, Mode, Trust

AgentChosen = Annotated[
    str | None,
    Field(max_length=80, description="Needed for `on-premise`, none for `cloud`.", examples=["agt_k3v7qjx2m5w4tzab"]),
]
StoreAddress = Annotated[
    str,
    Field(
        max_length=2000,
        description="The store's address as its agent publishes it, with the shop's path if it has one. Also as it is "
        "copied from a browser: what was made of it is said in `understood`.",
        examples=["http://shop.lan/prestashop"],
    ),
]
StoreKey = Annotated[
    SecretStr, Field(max_length=400, description="The store's webservice key, 32 characters. Never shown again.")
]
Concurrency = Annotated[int, Field(ge=1, le=CONCURRENCY_MOST, description="Most requests at the store at once.")]
AnswerTimeout = Annotated[
    int,
    Field(
        ge=1,
        le=ANSWER_TIMEOUT_MOST,
        description="Seconds without a byte from the store, before its answer or within it, after which the request "
        "ends with `store_timeout`.",
    ),
]
Understood = Annotated[
    list[str],
    Field(
        default_factory=list,
        description="If `store_url` was not taken as it was written: sentences about what was made of it.",
        examples=[["taken as http://shop.lan", "/api and what follows it is left out: the relay adds it"]],
    ),
]


class TrustShape(Form):
    """By what the certificate of an `https://` store is verified; with nothing here, by public roots."""

    ca_pem: Annotated[
        str | None, Field(max_length=CA_CHARACTERS, description="The store's own CA: certificates in PEM form.")
    ] = None
    pinned_spki_sha256: Annotated[
        str | None,
        Field(max_length=200, description="SHA-256 of the certificate's public key, 64 hexadecimal digits (RFC 7469)."),
    ] = None

    @property
    def record(self) -> Trust:
        return Trust(self.ca_pem, self.pinned_spki_sha256)


class ConnectionCreation(Form):
    name: Name
    mode: Mode
    agent: AgentChosen = None
    store_url: StoreAddress
    api_key: StoreKey
    key_place: KeyPlace = KeyPlace.BASIC
    trust: TrustShape = TrustShape()
    concurrency: Concurrency = CONCURRENCY
    answer_timeout: AnswerTimeout = ANSWER_TIMEOUT
    account: OwnerNamed = None

    @property
    def form(self) -> ConnectionForm:
        return ConnectionForm(
            name=self.name,
            mode=self.mode,
            agent=self.agent,
            store_url=self.store_url,
            api_key=self.api_key,
            key_place=self.key_place,
            trust=self.trust.record,
            concurrency=self.concurrency,
            answer_timeout=self.answer_timeout,
        )


class ConnectionChange(Patch):
    """Another `store_url`, `mode` or `agent` needs `api_key` again: a key opens only for what it was given for."""

    name: Name = absent()
    mode: Mode = absent()
    agent: AgentChosen = absent()
    store_url: StoreAddress = absent()
    api_key: StoreKey = absent()
    key_place: KeyPlace = absent()
    trust: TrustShape = absent()
    concurrency: Concurrency = absent()
    answer_timeout: AnswerTimeout = absent()

    @property
    def patch(self) -> ConnectionPatch:
        given = self.given()
        if isinstance(trust := given.get("trust"), TrustShape):
            given["trust"] = trust.record
        return ConnectionPatch(**given)


class AccessKey(Shown):
    """An access key that is valid, without its text."""

    id: Annotated[str, Field(examples=["key_m2n3p4q5r6s7t2u3"])]
    created_at: Time
    last_used_at: LastUse


class AccessKeyCreated(AccessKey):
    access_key: Annotated[ShownOnce, Field(description="Shown once. 32 characters, as stock PrestaShop clients want.")]

    @classmethod
    def of_new(cls, new: NewAccessKey) -> Self:
        return cls(**dict(AccessKey.of(new.key)), access_key=new.text)


class Connection(BaseModel):
    """What a connector uses to reach one store."""

    id: Annotated[str, Field(examples=["con_d4e5f6g7h2i3j4k5"])]
    account: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    name: Name
    mode: Mode
    agent: AgentChosen
    store_url: StoreAddress
    key_set_at: Annotated[Time, Field(description="When the store's key was given. Unix seconds.")]
    key_checked_at: Annotated[
        Time | None,
        Field(
            description="When a connection test last tried the key, or it was seen to work or not; null: not since "
            "it was given."
        ),
    ]
    key_works: Annotated[bool | None, Field(description="Whether the store took it then.")]
    key_place: KeyPlace
    trust: TrustShape
    concurrency: Concurrency
    answer_timeout: AnswerTimeout
    access_keys: Annotated[list[AccessKey], Field(description="Those that are valid: at most two.")]
    url: Annotated[
        str,
        Field(
            description="The base address for connectors and stock clients.",
            examples=["https://relay.example.com/to/con_d4e5f6g7h2i3j4k5"],
        ),
    ]
    created_at: Time
    updated_at: Time

    store: Annotated[
        StoreSeen | None, Field(description="How the store does; null where this node does not look at it.")
    ] = None

    traffic: Annotated[
        Traffic | None, Field(description="Of this connection, on this node; null: nothing in the last minutes.")
    ] = None

    @classmethod
    def of(
        cls,
        record: ConnectionRecord,
        public_url: str,
        store: StoreState | None = None,
        traffic: Summary | None = None,
    ) -> Self:
        return cls(
            **_members(record, public_url),
            store=StoreSeen.of(store) if store else None,
            traffic=Traffic.of(traffic) if traffic else None,
        )


class ConnectionChanged(Connection):
    understood: Understood

    @classmethod
    def of_changed(cls, record: ConnectionRecord, public_url: str, understood: Sequence[str]) -> Self:
        return cls(**_members(record, public_url), understood=list(understood))


class ConnectionCreated(ConnectionChanged):
    access_key: Annotated[ShownOnce, Field(description="Shown once. 32 characters, as stock PrestaShop clients want.")]

    @classmethod
    def of_new(cls, new: NewConnection, public_url: str, understood: Sequence[str]) -> Self:
        return cls(**_members(new.connection, public_url), understood=list(understood), access_key=new.access_key)


def _members(record: ConnectionRecord, public_url: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "account": record.account,
        "name": record.name,
        "mode": record.mode,
        "agent": record.agent,
        "store_url": record.store_url,
        "key_set_at": record.key_set_at,
        "key_checked_at": record.key_checked_at,
        "key_works": record.key_works,
        "key_place": record.key_place,
        "trust": TrustShape(ca_pem=record.trust.ca_pem, pinned_spki_sha256=record.trust.pinned_spki_sha256),
        "concurrency": record.concurrency,
        "answer_timeout": record.answer_timeout,
        "access_keys": [AccessKey.of(key) for key in record.access_keys],
        "url": f"{public_url}/to/{record.id}",
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }

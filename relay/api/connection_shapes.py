"""Connections and their access keys as the typed surface shows and takes them. The store's key only ever goes in."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, SecretStr

from relay.api.answers import ShownOnce
from relay.api.shapes import Form, Name, OwnerNamed, Patch, Time, absent
from relay.database.connection_form import CA_CHARACTERS, CONCURRENCY, CONCURRENCY_MOST, ConnectionForm, ConnectionPatch
from relay.database.records import AccessKeyRecord, ConnectionRecord, NewAccessKey, NewConnection
from relay.records import KeyPlace, Mode, Trust

AgentChosen = Annotated[
    str | None,
    Field(max_length=80, description="Needed for `on-premise`, none for `cloud`.", examples=["agt_k3v7qjx2m5w4tzab"]),
]
StoreAddress = Annotated[
    str,
    Field(
        max_length=2000,
        description="The store's address as its agent publishes it, with the shop's path if it has one.",
        examples=["http://shop.lan/prestashop"],
    ),
]
StoreKey = Annotated[
    SecretStr, Field(max_length=400, description="The store's webservice key, 32 characters. Never shown again.")
]
Concurrency = Annotated[int, Field(ge=1, le=CONCURRENCY_MOST, description="Most requests at the store at once.")]


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

    @property
    def patch(self) -> ConnectionPatch:
        given = self.given()
        if isinstance(trust := given.get("trust"), TrustShape):
            given["trust"] = trust.record
        return ConnectionPatch(**given)


class AccessKey(BaseModel):
    """An access key that is valid, without its text."""

    id: Annotated[str, Field(examples=["key_m2n3p4q5r6s7t2u3"])]
    created_at: Time

    @classmethod
    def of(cls, record: AccessKeyRecord) -> Self:
        return cls(id=record.id, created_at=record.created_at)


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
    key_place: KeyPlace
    trust: TrustShape
    concurrency: Concurrency
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

    @classmethod
    def of(cls, record: ConnectionRecord, public_url: str) -> Self:
        return cls(**_members(record, public_url))


class ConnectionCreated(Connection):
    access_key: Annotated[ShownOnce, Field(description="Shown once. 32 characters, as stock PrestaShop clients want.")]

    @classmethod
    def of_new(cls, new: NewConnection, public_url: str) -> Self:
        return cls(**_members(new.connection, public_url), access_key=new.access_key)


def _members(record: ConnectionRecord, public_url: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "account": record.account,
        "name": record.name,
        "mode": record.mode,
        "agent": record.agent,
        "store_url": record.store_url,
        "key_set_at": record.key_set_at,
        "key_place": record.key_place,
        "trust": TrustShape(ca_pem=record.trust.ca_pem, pinned_spki_sha256=record.trust.pinned_spki_sha256),
        "concurrency": record.concurrency,
        "access_keys": [AccessKey.of(key) for key in record.access_keys],
        "url": f"{public_url}/to/{record.id}",
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }

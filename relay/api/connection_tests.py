"""`…/connections/…/test`: whether the store is reached, its webservice answers, and the key is good; hop by hop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from relay.api.authentication import Asking, ManageCaller, account_router, owner
from relay.api.connection_shapes import ConnectionCreation, StoreKey
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.problems import ProblemError
from relay.api.sentences import Sentence
from relay.api.shapes import absent
from relay.api.shares import ShareExceededError, Shares
from relay.database import agents, connections
from relay.database.engine import Database
from relay.database.errors import DatabaseUnavailable, Invalid, NotFound
from relay.database.names import is_id
from relay.database.secrets import DoesNotOpen, UnknownMasterKey
from relay.prestashop.connection_test import AgentState, LookUpAgent
from relay.prestashop.diagnosis import Step
from relay.prestashop.report import Note, Offer, Report, StepResult
from relay.records import Connection, KeyPlace

router: APIRouter = account_router("/v1/connections", "connections")


class TestStep(BaseModel):
    """One hop of the way. `code`, `detail` and `remedy` are there where it failed."""

    name: Step
    status: Annotated[
        Literal["passed", "failed", "skipped"],
        Field(description="`skipped`: not reached, or not on this connection's way."),
    ]
    ms: Annotated[float | None, Field(description="Milliseconds; null where the hop was not timed by itself.")]
    code: Annotated[str | None, Field(examples=["authorization_stripped"], description="Stable, snake_case.")]
    detail: Annotated[
        str, Field(description="Particulars, in the words of whoever told them. Empty if there are none.")
    ]
    remedy: Sentence | None

    @classmethod
    def of(cls, step: StepResult) -> Self:
        remedy = None if step.remedy is None else Sentence.of(step.remedy)
        return cls(name=step.name, status=step.status, ms=step.ms, code=step.code, detail=step.detail, remedy=remedy)


class TestedShop(BaseModel):
    name: str
    version: Annotated[str | None, Field(examples=["9.1.4"], description="PrestaShop's, where it says it.")]


class Permissions(BaseModel):
    """By resource of the webservice, the methods."""

    granted: Annotated[dict[str, list[str]], Field(description="What the key may.", examples=[{"orders": ["GET"]}])]
    missing: Annotated[
        dict[str, list[str]],
        Field(
            description="What this relay's own actions and triggers need and the key may not.",
            examples=[{"carts": ["GET"]}],
        ),
    ]


class TestNote(BaseModel):
    """Something to know although the test passed."""

    code: Annotated[str, Field(examples=["byte_order_mark"])]
    detail: str
    remedy: Sentence

    @classmethod
    def of(cls, note: Note) -> Self:
        return cls(code=note.code, detail=note.detail, remedy=Sentence.of(note.remedy))


class KeyPlaceOffer(BaseModel):
    """The key would have to travel in another way."""

    key_place: KeyPlace


class StoreUrlOffer(BaseModel):
    """The shop has another address. The PATCH needs `api_key` as well."""

    store_url: Annotated[str, Field(examples=["https://www.shop.fr"])]


class ConnectionReport(BaseModel):
    """What the test found. It stops at the first hop that fails, and writes nothing to the store."""

    ok: bool
    steps: Annotated[list[TestStep], Field(description="All hops, in their order.")]
    shop: Annotated[TestedShop | None, Field(description="Who answered; null if the test failed.")]
    permissions: Annotated[Permissions | None, Field(description="What the key may; null if the test failed.")]
    notes: list[TestNote]
    offer: Annotated[
        KeyPlaceOffer | StoreUrlOffer | None,
        Field(
            description="The change that would mend it, as the body of a PATCH of the connection that accepts it. "
            "Null where no single change is known to."
        ),
    ]

    @classmethod
    def of(cls, report: Report) -> Self:
        return cls(
            ok=report.ok,
            steps=[TestStep.of(step) for step in report.steps],
            shop=TestedShop(name=report.shop_name or "", version=report.version) if report.ok else None,
            permissions=_permissions(report) if report.ok else None,
            notes=[TestNote.of(note) for note in report.notes],
            offer=_offer(report.offer),
        )


class ConnectionTrial(ConnectionCreation):
    """The form of a connection, to be tried without being saved."""

    api_key: StoreKey = absent()
    connection: Annotated[
        str | None,
        Field(
            max_length=80,
            description="The connection that is being edited. Its key is used where `api_key` is left out, "
            "which takes the `store_url`, `mode` and `agent` that it was given for.",
            examples=["con_d4e5f6g7h2i3j4k5"],
        ),
    ] = None


@router.post(
    "/test",
    summary="Test a connection without saving it",
    responses=refusals("not_found", "test_running", "store_key_lost"),
)
async def try_connection(parts: Serving, asking: ManageCaller, form: ConnectionTrial) -> ConnectionReport:
    """Takes up to a minute. A test that fails is a good answer (200) with `ok: false`."""
    draft = await _draft(parts, asking, form)
    return await _tested(parts, draft, form.connection or "")


@router.post(
    "/{connection}/test",
    summary="Test a connection",
    responses=refusals("not_found", "test_running", "store_key_lost"),
)
async def run_connection_test(parts: Serving, asking: ManageCaller, connection: str) -> ConnectionReport:
    """Takes up to a minute. A test that fails is a good answer (200) with `ok: false`."""
    saved, at = await _saved(parts, asking, connection), parts.database.now()
    report = await _tested(parts, saved, connection)
    await _note_key(parts.database, connection, report, at)
    return report


def agents_of(database: Database) -> LookUpAgent:
    """How a connection test asks whether an account has an agent."""

    async def look_up(account: str, agent: str) -> AgentState:
        try:
            record = await agents.find(database, account, agent)
        except NotFound:
            return "unknown"
        known = record.id == agent  # found by its id, not by a name that looks like one
        return "unknown" if not known else "known" if record.revoked_at is None else "revoked"

    return look_up


async def _tested(parts: Parts, connection: Connection, edited: str = "") -> ConnectionReport:
    """Raises ProblemError `test_running`, `account_busy`."""
    one = edited or f"{connection.account} {connection.store}"
    with (
        _place(parts.tests, connection.account, "account_busy", "wait for some of its tests to end"),
        _place(parts.tested, one, "test_running", "wait for its report"),
    ):
        return ConnectionReport.of(await parts.connection_test.run(connection))


async def _note_key(database: Database, connection: str, report: ConnectionReport, at: int) -> None:
    """Remember whether the key worked, if the test came so far; the report is good even if that fails."""
    step = next(step for step in report.steps if step.name is Step.KEY)
    if step.status != "skipped":
        with suppress(DatabaseUnavailable):
            await connections.note_key(database, connection, works=step.status == "passed", at=at)


@contextmanager
def _place(shares: Shares, key: str, code: str, detail: str) -> Iterator[None]:
    try:
        with shares.one(key):
            yield
    except ShareExceededError:
        raise ProblemError(code, detail) from None


async def _saved(parts: Parts, asking: Asking, connection: str) -> Connection:
    """With the key, from the database itself: what was changed a moment ago counts. Raises NotFound."""
    if not is_id(connection, "con"):
        raise NotFound("connection", connection)
    found = await connections.find(parts.database, asking.sees, connection)
    try:
        loaded = await connections.load(parts.database, found.id)
    except (UnknownMasterKey, DoesNotOpen):
        detail = "the relay cannot open the store's key: give it again as api_key"
        raise ProblemError("store_key_lost", detail) from None
    if loaded is None:
        raise NotFound("connection", connection)
    return loaded


async def _draft(parts: Parts, asking: Asking, form: ConnectionTrial) -> Connection:
    """Raises NotFound, Invalid."""
    if form.connection is None:
        account = await owner(parts, asking, form.account)
        if "api_key" not in form.model_fields_set:
            raise Invalid("api_key", "give the store's webservice key, or name the connection whose key it is")
        return connections.draft(account, form.form)
    saved = await _saved(parts, asking, form.connection)
    if form.account not in {None, saved.account}:
        raise NotFound("connection", form.connection)
    if "api_key" in form.model_fields_set:
        return connections.draft(saved.account, form.form)
    draft = connections.draft(saved.account, dataclasses.replace(form.form, api_key=saved.api_key))
    if (draft.store, draft.mode, draft.agent) != (saved.store, saved.mode, saved.agent):
        raise Invalid("api_key", "give the store's key again: it opens only for the store and agent it was given for")
    return draft


def _permissions(report: Report) -> Permissions:
    return Permissions(
        granted={name: list(methods) for name, methods in report.granted.items()},
        missing={name: list(methods) for name, methods in report.missing.items()},
    )


def _offer(offer: Offer | None) -> KeyPlaceOffer | StoreUrlOffer | None:
    if offer and offer.key_place:
        return KeyPlaceOffer(key_place=offer.key_place)
    return StoreUrlOffer(store_url=offer.store_url) if offer and offer.store_url else None

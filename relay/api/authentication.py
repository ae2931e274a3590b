"""Who asks, and how far they may reach: API tokens, their scopes, and the accounts that they see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from relay.api import idempotency, sessions
from relay.api.bodies import BODY_BYTES, check_json, read_body
from relay.api.parts import Parts, Serving, parts_of
from relay.api.problems import ProblemError
from relay.api.shares import ShareExceededError
from relay.database import accounts
from relay.database.credentials import api_token_digest
from relay.database.errors import NotFound
from relay.database.once import Repeated
from relay.database.records import EVERY_ACCOUNT, Accounts, Actor
from relay.records import Caller, Scope

_BODILESS = frozenset({"GET", "HEAD", "DELETE"})

bearer = HTTPBearer(
    scheme_name="api_token",
    bearerFormat="ptk_…",
    description="An API token of the account. Each scope includes those before it: status, read, forward, manage, "
    "operate.",
    auto_error=False,
)


@dataclass(frozen=True, slots=True)
class Asking:
    """A request's caller as the database wants to know them."""

    caller: Caller
    by: Actor

    @property
    def sees(self) -> Accounts:
        """Whose rows are seen."""
        return EVERY_ACCOUNT if self.operates else self.caller.account

    @property
    def operates(self) -> bool:
        return self.caller.scope.allows(Scope.OPERATE)


class AccountRoute(APIRoute):
    """An operation of an account: the token is asked for first, the account's share next, then the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            parts = parts_of(request)
            request.state.caller = caller = await authenticate(parts, request)
            try:
                with parts.callers.one(caller.account):
                    return await _handled(handle, await _with_body(request))
            except ShareExceededError:
                raise ProblemError("account_busy", "wait for some of them to end, then repeat this one") from None

        return admitted


def account_router(prefix: str, tag: str) -> APIRouter:
    """A router all of whose operations need an API token."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=AccountRoute, dependencies=[Depends(bearer)])


async def authenticate(parts: Parts, request: Request) -> Caller:
    """Raises ProblemError `unauthenticated`, `foreign_page`, DatabaseUnavailable."""
    caller = await caller_with(parts, _presented(parts, request))
    if caller is None:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        detail = "the API token is mistyped, unknown, revoked or expired"
        raise ProblemError("unauthenticated", detail, headers=challenge)
    return caller


async def caller_with(parts: Parts, token: str) -> Caller | None:
    """Whose API token it is; None for a text that is none, or one that is over. Raises DatabaseUnavailable."""
    digest = api_token_digest(token)
    caller = await parts.directory.caller(digest) if digest else None
    if caller is not None:
        parts.used.add(digest or "")
    return caller


def may(scope: Scope) -> Callable[[Request], Awaitable[Asking]]:
    """A dependency that lets in who has the scope, or one that includes it."""

    async def ask(request: Request) -> Asking:
        caller: Caller = request.state.caller
        if not caller.scope.allows(scope):
            raise ProblemError(
                "forbidden", f"this takes a token with the scope {scope.value!r}; this one has {caller.scope.value!r}"
            )
        return Asking(caller, Actor(caller.id, source_of(request)))

    return ask


def source_of(request: Request) -> str:
    """The address that the request came from."""
    return request.client.host if request.client else "unknown"


def narrowed(asking: Asking, account: str | None) -> Accounts:
    """What is seen, or of it the one account that is named. Raises NotFound for one that is not seen."""
    if account is None:
        return asking.sees
    if asking.operates or account == asking.caller.account:
        return account
    raise NotFound("account", account)


async def owner(parts: Parts, asking: Asking, account: str | None) -> str:
    """The account that a new record is to belong to: the caller's own unless an operator names one. Raises NotFound."""
    if account is None or account == asking.caller.account:
        return asking.caller.account
    if not asking.operates:
        raise NotFound("account", account)
    return (await accounts.find(parts.database, account)).id


def _presented(parts: Parts, request: Request) -> str:
    """The token of the request itself, else the one of the browser's session."""
    values = request.headers.getlist("authorization")
    session = None if values else sessions.presented(parts, request)
    if session:
        sessions.check_origin(parts, request, session)
        return session.token.get_secret_value()
    scheme, _, credentials = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not credentials:
        raise ProblemError("unauthenticated", "send an API token: Authorization: Bearer ptk_…")
    return credentials.strip(" ")


async def _handled(handle: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    try:
        response = await handle(request)
    except Repeated as repeated:
        return idempotency.replay(repeated.answer)
    await idempotency.keep(request, response)
    return response


async def _with_body(request: Request) -> Request:
    """The request with its body in memory, where the framework finds it."""
    if request.method in _BODILESS:
        return request
    body = await read_body(request, BODY_BYTES)
    if body:
        check_json(request)
    return _Whole(request, body)


class _Whole(Request):
    """A request whose body has been read."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._whole = body

    async def body(self) -> bytes:
        return self._whole


StatusCaller = Annotated[Asking, Depends(may(Scope.STATUS))]
ManageCaller = Annotated[Asking, Depends(may(Scope.MANAGE))]
OperateCaller = Annotated[Asking, Depends(may(Scope.OPERATE))]

AccountNamed = Annotated[
    str | None, Query(description="Only of this account. Operators see all accounts, others their own.", max_length=80)
]

__all__ = ["AccountNamed", "AccountRoute", "Asking", "ManageCaller", "OperateCaller", "Serving", "StatusCaller"]

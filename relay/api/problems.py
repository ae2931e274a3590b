"""Every way in which the typed surface says no: one table of codes, and how foreign errors become its rows.

A problem is RFC 9457's `application/problem+json` with three members more: `code`, `origin` and `retryable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from agent.wire.refusal import EnrolmentRefusal
from relay.api.answers import Answer
from relay.api.kinds import Kind, kinds_of_actions
from relay.database.errors import Conflict, DatabaseError, DatabaseUnavailable, EnrolmentRefused, Invalid, NotFound
from relay.gateway.errors import Origin

log = structlog.get_logger()

CHARACTERS_ECHOED = 80
"""How much of a path, or of a member's name, is repeated in an answer."""
FIELDS_NAMED = 20
"""How many values one answer complains of."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def _table(*rows: Kind) -> dict[str, Kind]:
    return {row.code: row for row in rows}


def _refused(refusal: EnrolmentRefusal, status: int, title: str, retry_after: int | None = None) -> Kind:
    return Kind(refusal.value, status, title, Origin.AGENT, retry_after, retryable=not refusal.final)


KINDS = _table(
    Kind("malformed", 400, "The request cannot be read"),
    Kind("unauthenticated", 401, "A valid API token is needed"),
    Kind("forbidden", 403, "The API token's scope does not reach this far"),
    Kind("foreign_page", 403, "The request does not come from the relay's own pages"),
    Kind("not_found", 404, "There is nothing under this name"),
    Kind("method_not_allowed", 405, "This address does not take that method"),
    Kind("name_taken", 409, "The name is taken"),
    Kind("conflict", 409, "Not while things stand as they do"),
    Kind(
        "answer_not_kept", 409, "It is done, and the answer is not here to be repeated", Origin.RELAY, 1, retryable=True
    ),
    Kind("test_running", 409, "A test of this connection is under way", Origin.CALLER, 5, retryable=True),
    Kind("snapshot_not_ready", 409, "The first run is not over", Origin.RELAY, 10, retryable=True),
    Kind("store_key_lost", 409, "The store's key must be entered again", Origin.RELAY),
    Kind("edited_meanwhile", 412, "The record has changed since it was read"),
    Kind("body_too_large", 413, "The body is too large"),
    Kind("not_json", 415, "The body is not declared as JSON"),
    Kind("invalid", 422, "A value cannot be taken"),
    Kind("account_busy", 429, "The account has too many requests under way", Origin.CALLER, 1, retryable=True),
    Kind("relay_fault", 500, "Something went wrong in the relay", Origin.RELAY),
    Kind("not_ready", 503, "The relay is not ready to serve", Origin.RELAY, 5, retryable=True),
    Kind("store_not_image", 502, "The store sent no picture", Origin.STORE),
    Kind("database_unavailable", 503, "The relay's database does not answer", Origin.RELAY, 5, retryable=True),
    _refused(EnrolmentRefusal.REQUEST_INVALID, 400, "The enrolment cannot be read"),
    _refused(EnrolmentRefusal.CLOCK_SKEW, 400, "The clocks of agent and relay differ too much"),
    _refused(EnrolmentRefusal.RELAY_MISMATCH, 400, "The enrolment was signed for another relay's address"),
    _refused(EnrolmentRefusal.SIGNATURE_INVALID, 403, "A signature does not fit"),
    _refused(EnrolmentRefusal.TOKEN_UNKNOWN, 403, "The relay does not know this access token"),
    _refused(EnrolmentRefusal.TOKEN_REVOKED, 403, "The access token has been revoked"),
    _refused(EnrolmentRefusal.TOKEN_EXPIRED, 403, "The access token has expired"),
    _refused(EnrolmentRefusal.AGENT_REVOKED, 403, "The agent has been revoked"),
    _refused(EnrolmentRefusal.INSTANCE_REVOKED, 403, "The instance has been revoked"),
    _refused(EnrolmentRefusal.INSTANCE_UNKNOWN, 403, "No instance has this key"),
    _refused(EnrolmentRefusal.INSTANCE_LIMIT, 409, "The agent has no free place", 60),
    _refused(EnrolmentRefusal.NONCE_REUSED, 409, "The enrolment has been seen before"),
    _refused(EnrolmentRefusal.RELAY_OVERLOADED, 503, "The relay has too many enrolments under way", 2),
)
OF_ACTIONS = tuple(kind.code for kind in kinds_of_actions())
KINDS |= {kind.code: kind for kind in kinds_of_actions() if kind.code not in KINDS}


class FieldProblem(BaseModel):
    """One value that cannot be taken. The value itself is never repeated."""

    field: Annotated[str, Field(examples=["store_url"], description="The name in the body, query or header.")]
    message: Annotated[str, Field(examples=["a store's address begins with http:// or https://"])]


class Problem(BaseModel):
    """RFC 9457 problem details. Programs look at `code`, which never changes its meaning; people read `detail`."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(description="Where the code is explained, relative to this relay.")]
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong this time, and what to do.")]
    code: Annotated[str, Field(description="Stable, snake_case.")]
    origin: Annotated[Origin, Field(description="The hop that is to blame.")]
    retryable: Annotated[bool, Field(description="Whether the same request can succeed later.")]
    errors: Annotated[list[FieldProblem], Field(default_factory=list, description="With `invalid`: value by value.")]


class ProblemError(Exception):
    """Ends a request with a row of the table. `members` go into the problem beside the standard ones."""

    def __init__(
        self, kind: Kind | str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.kind = KINDS[kind] if isinstance(kind, str) else kind
        self.detail = detail
        self.headers = headers
        self.members = members


class ProblemAnswer(Answer):
    media_type = "application/problem+json"


def answer(problem: ProblemError) -> ProblemAnswer:
    """The whole answer, with `Retry-After` where the table has one and the challenge of RFC 6750 §3 on 401."""
    kind = problem.kind
    headers = dict(problem.headers or {})
    if kind.retry_after is not None:
        headers.setdefault("Retry-After", str(kind.retry_after))
    if kind.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return ProblemAnswer(members_of(problem), kind.status, headers)


def translate(error: DatabaseError) -> ProblemError:
    """What the database refuses, as a problem. Sentences about files and keys stay in the log."""
    match error:
        case NotFound():
            return ProblemError("not_found", f"there is no such {error.noun}")
        case Invalid():
            return invalid([(error.field, str(error))])
        case Conflict():
            return ProblemError(conflict(error.code), str(error))
        case EnrolmentRefused():
            return ProblemError(error.refusal.value, str(error), **error.extras)
        case DatabaseUnavailable():
            log.warning("database unavailable", reason=str(error))
            return ProblemError("database_unavailable", "the relay cannot look this up at the moment")
        case _:
            log.error("database fault", code=error.code, reason=str(error))
            return fault()


def conflict(code: str) -> Kind:
    """The row of a conflict; those that the table does not name differ from `conflict` in their code alone."""
    known, general = KINDS.get(code), KINDS["conflict"]
    return known if known is not None and known.status == 409 else Kind(code, general.status, general.title)


def invalid(errors: Iterable[tuple[str, str]]) -> ProblemError:
    """A 422 from pairs of field and message."""
    listed = [{"field": field, "message": message} for field, message in errors]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in listed)
    return ProblemError("invalid", detail, errors=listed)


def fault() -> ProblemError:
    return ProblemError("relay_fault", "this is the relay's fault, not the request's; its log says more")


def install(app: FastAPI) -> None:
    """Let every error leave as a problem, also those of the framework, and never with a traceback."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(DatabaseError, _on_database_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)


async def _on_problem(_request: Request, error: Exception) -> ProblemAnswer:
    if not isinstance(error, ProblemError):
        raise error
    return answer(error)


async def _on_database_error(_request: Request, error: Exception) -> ProblemAnswer:
    if not isinstance(error, DatabaseError):
        raise error
    return answer(translate(error))


async def _on_invalid(_request: Request, error: Exception) -> ProblemAnswer:
    if not isinstance(error, RequestValidationError):
        raise error
    errors: Sequence[Mapping[str, Any]] = error.errors()[:FIELDS_NAMED]
    if any(each["type"] == "json_invalid" for each in errors):
        return answer(ProblemError("malformed", "the body is not JSON"))
    return answer(invalid((_field(each["loc"]), _sentence(each)) for each in errors))


async def _on_http(request: Request, error: Exception) -> ProblemAnswer:
    if not isinstance(error, HTTPException):
        raise error
    path = quote(request.url.path)[:CHARACTERS_ECHOED]
    if error.status_code == 404:
        return answer(ProblemError("not_found", f"nothing is served at {path!r}: /docs lists what is"))
    if error.status_code == 405:
        allowed = ", ".join(_allowed(request))
        detail = f"{path!r} takes {allowed}"
        return answer(ProblemError("method_not_allowed", detail, headers={"Allow": allowed}))
    if error.status_code == 400:
        return answer(ProblemError("malformed", "the body is not JSON"))
    raise error


async def _on_fault(request: Request, error: Exception) -> ProblemAnswer:
    log.error("request failed", method=request.method, path=request.url.path, error=type(error).__name__)
    return answer(fault())


def members_of(problem: ProblemError) -> dict[str, Any]:
    """The problem as RFC 9457 writes it."""
    kind = problem.kind
    standard = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "code": kind.code,
        "origin": kind.origin.value,
        "retryable": kind.retryable,
    }
    return {**problem.members, **standard}


def _field(location: Sequence[str | int]) -> str:
    """`("body", "trust", "ca_pem")` as `trust.ca_pem`."""
    name = ".".join(str(part) for part in location[1:]) or str(location[0])
    return name[:CHARACTERS_ECHOED].encode("utf-8", "replace").decode()


def _sentence(error: Mapping[str, Any]) -> str:
    """The message of pydantic, which may not repeat the value: a secret of the wrong shape is still a secret."""
    if error["type"] == "value_error":
        return str(error.get("ctx", {}).get("error", "is not valid"))
    return str(error["msg"])


def _allowed(request: Request) -> list[str]:
    """What the address takes. One such as `…/test` has the shape of a record's as well, with methods of its own."""
    app: FastAPI = request.app
    served = [method for method in _METHODS if _serves(app, {**request.scope, "method": method})]
    own = app.openapi()["paths"].get(request.url.path)
    return served if own is None else [method for method in served if method == "HEAD" or method.lower() in own]


def _serves(app: FastAPI, scope: dict[str, Any]) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.router.routes)

"""`/v1/tokens`: the API tokens of an account; nobody hands out, or takes away, more than they have."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import Response
from pydantic import Field

from relay.api.answers import ShownOnce, nothing
from relay.api.authentication import AccountNamed, Asking, ManageCaller, account_router, narrowed, owner
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Parts, Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.api.problems import ProblemError
from relay.api.shapes import Form, LastUse, Name, OwnerNamed, Shown, Time
from relay.database import tokens
from relay.database.records import NewApiToken
from relay.records import Scope

router = account_router("/v1/tokens", "API tokens")


class ApiTokenForm(Form):
    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope), description="The highest counts.")]
    expires_at: Time | None = None
    account: OwnerNamed = None


class ApiTokenChange(Form):
    name: Name


class ApiToken(Shown):
    """An API token, without its text: the relay keeps only a digest."""

    id: Annotated[str, Field(examples=["tok_w2x3y4z5a6b7c2d3"])]
    account: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    name: Name
    scope: Scope
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: LastUse


class ApiTokenCreated(ApiToken):
    token: Annotated[ShownOnce, Field(description="Shown once.")]

    @classmethod
    def of_new(cls, new: NewApiToken) -> Self:
        return cls(**dict(ApiToken.of(new.token)), token=new.text)


@router.get("", summary="List API tokens", responses=refusals("not_found"))
async def list_tokens(
    parts: Serving, asking: ManageCaller, part: PartWanted, account: AccountNamed = None
) -> Listing[ApiToken]:
    """Revoked ones included, oldest first."""
    accounts = narrowed(asking, account)
    page = await tokens.page(parts.database, accounts, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, ApiToken.of)


@router.post(
    "", status_code=201, summary="Create an API token", responses=CREATED | refusals("not_found", "answer_not_kept")
)
async def create_token(
    parts: Serving, database: Creating, asking: ManageCaller, form: ApiTokenForm, response: Response
) -> ApiTokenCreated:
    """With a scope that the caller has. The token is shown in this answer and never again."""
    _check_reach(asking, *form.scopes)
    account = await owner(parts, asking, form.account)
    new = await tokens.create(database, account, form.name, form.scopes, by=asking.by, expires_at=form.expires_at)
    response.headers["ETag"] = etag(new.token)
    response.headers["Location"] = f"/v1/tokens/{new.token.id}"
    return ApiTokenCreated.of_new(new)


@router.get("/{token}", summary="Show an API token", responses=SHOWN | refusals("not_found"))
async def get_token(parts: Serving, asking: ManageCaller, token: str, response: Response) -> ApiToken:
    record = await tokens.find(parts.database, asking.sees, token)
    response.headers["ETag"] = etag(record)
    return ApiToken.of(record)


@router.patch("/{token}", summary="Rename an API token", responses=SHOWN | refusals("not_found", "edited_meanwhile"))
async def update_token(
    *,
    parts: Serving,
    asking: ManageCaller,
    token: str,
    form: ApiTokenChange,
    response: Response,
    if_match: IfMatch = None,
) -> ApiToken:
    await _check_within_reach(parts, asking, token)
    record = await tokens.rename(parts.database, asking.sees, token, form.name, by=asking.by, expect=matching(if_match))
    response.headers["ETag"] = etag(record)
    return ApiToken.of(record)


@router.post("/{token}/revoke", summary="End an API token", responses=refusals("not_found"))
async def revoke_token(parts: Serving, asking: ManageCaller, token: str) -> ApiToken:
    """From the next request on, within a second on every node. It stays in the list."""
    await _check_within_reach(parts, asking, token)
    record = await tokens.revoke(parts.database, asking.sees, token, by=asking.by)
    parts.directory.wake()
    return ApiToken.of(record)


@router.delete(
    "/{token}", status_code=204, summary="Delete an API token", responses=refusals("not_found", "edited_meanwhile")
)
async def delete_token(parts: Serving, asking: ManageCaller, token: str, if_match: IfMatch = None) -> Response:
    """Ends it as well."""
    await _check_within_reach(parts, asking, token)
    await tokens.delete(parts.database, asking.sees, token, by=asking.by, expect=matching(if_match))
    parts.directory.wake()
    return nothing()


async def _check_within_reach(parts: Parts, asking: Asking, token: str) -> None:
    """Whether the caller may touch the token, whose scope never changes. Raises NotFound, ProblemError `forbidden`."""
    record = await tokens.find(parts.database, asking.sees, token)
    _check_reach(asking, record.scope)


def _check_reach(asking: Asking, *scopes: Scope) -> None:
    own = asking.caller.scope
    for scope in scopes:
        if not own.allows(scope):
            raise ProblemError("forbidden", f"a token with the scope {scope.value!r} is out of reach of {own.value!r}")

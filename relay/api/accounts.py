"""`/v1/accounts`: the customers of this relay, for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response
from pydantic import Field

from relay.api.answers import nothing
from relay.api.authentication import OperateCaller, account_router
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.api.shapes import Form, Name, Shown, Time
from relay.database import accounts
from relay.database.errors import NotFound
from relay.database.names import is_id

router = account_router("/v1/accounts", "accounts")


class AccountForm(Form):
    name: Name


class Account(Shown):
    id: Annotated[str, Field(examples=["acc_b7c6d5e4f3g2h7i6"])]
    name: Name
    created_at: Time


@router.get("", summary="List accounts")
async def list_accounts(parts: Serving, _asking: OperateCaller, part: PartWanted) -> Listing[Account]:
    """By name."""
    page = await accounts.page(parts.database, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, Account.of)


@router.post(
    "", status_code=201, summary="Create an account", responses=CREATED | refusals("name_taken", "answer_not_kept")
)
async def create_account(database: Creating, asking: OperateCaller, form: AccountForm, response: Response) -> Account:
    record = await accounts.create(database, form.name, by=asking.by)
    response.headers["ETag"] = etag(record)
    response.headers["Location"] = f"/v1/accounts/{record.id}"
    return Account.of(record)


@router.get("/{account}", summary="Show an account", responses=SHOWN | refusals("not_found"))
async def get_account(parts: Serving, _asking: OperateCaller, account: str, response: Response) -> Account:
    record = await accounts.find(parts.database, _checked_id(account))
    response.headers["ETag"] = etag(record)
    return Account.of(record)


@router.patch(
    "/{account}",
    summary="Rename an account",
    responses=SHOWN | refusals("not_found", "name_taken", "conflict", "edited_meanwhile"),
)
async def update_account(
    *,
    parts: Serving,
    asking: OperateCaller,
    account: str,
    form: AccountForm,
    response: Response,
    if_match: IfMatch = None,
) -> Account:
    """The account `default` keeps its name (`account_default`)."""
    record = await accounts.rename(
        parts.database, _checked_id(account), form.name, by=asking.by, expect=matching(if_match)
    )
    response.headers["ETag"] = etag(record)
    return Account.of(record)


@router.delete(
    "/{account}",
    status_code=204,
    summary="Delete an account",
    responses=refusals("not_found", "conflict", "edited_meanwhile"),
)
async def delete_account(parts: Serving, asking: OperateCaller, account: str, if_match: IfMatch = None) -> Response:
    """With its API tokens; refused (`account_in_use`) while it has agents or connections."""
    await accounts.delete(parts.database, _checked_id(account), by=asking.by, expect=matching(if_match))
    parts.directory.wake()
    return nothing()


def _checked_id(account: str) -> str:
    """Names are not looked up here. Raises NotFound."""
    if not is_id(account, "acc"):
        raise NotFound("account", account)
    return account

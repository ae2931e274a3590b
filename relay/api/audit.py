"""`/v1/audit`: who changed what, when and from where."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from relay.api.authentication import AccountNamed, ManageCaller, account_router, narrowed
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import refusals
from relay.api.parts import Serving
from relay.api.shapes import Shown, Time
from relay.database import audit

router = account_router("/v1/audit", "status")


class AuditEvent(Shown):
    seq: Annotated[int, Field(description="Grows with time, with gaps.")]
    at: Time
    account: str | None
    actor: Annotated[str, Field(description="A token's id, an instance's, or `cli:` and a user.")]
    source: Annotated[str, Field(description="The address it came from, or `local`.")]
    action: Annotated[str, Field(examples=["agent.create"])]
    subject: Annotated[str, Field(description="The id of what was changed.")]
    details: dict[str, Any]


@router.get("", summary="List what was changed, newest first", responses=refusals("not_found"))
async def list_audit_events(
    parts: Serving,
    asking: ManageCaller,
    part: PartWanted,
    account: AccountNamed = None,
    subject: Annotated[str | None, Query(description="Only of this id.", max_length=80)] = None,
) -> Listing[AuditEvent]:
    """An event is kept for 400 days; of each account, the newest 100,000."""
    accounts = narrowed(asking, account)
    page = await audit.page(parts.database, accounts, subject=subject, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, AuditEvent.of)

"""`/v1/audit`: who changed what, when and from where."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import Query
from pydantic import BaseModel, Field

from relay.api.authentication import AccountNamed, ManageCaller, account_router, narrowed
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import refusals
from relay.api.parts import Serving
from relay.api.shapes import Time
from relay.database import audit
from relay.database.records import AuditRecord

router = account_router("/v1/audit", "status")


class AuditEvent(BaseModel):
    seq: Annotated[int, Field(description="Grows with time, with gaps.")]
    at: Time
    account: str | None
    actor: Annotated[str, Field(description="A token's id, an instance's, or `cli:` and a user.")]
    source: Annotated[str, Field(description="The address it came from, or `local`.")]
    action: Annotated[str, Field(examples=["agent.create"])]
    subject: Annotated[str, Field(description="The id of what was changed.")]
    details: dict[str, Any]

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        return cls(
            seq=record.seq,
            at=record.at,
            account=record.account,
            actor=record.actor,
            source=record.source,
            action=record.action,
            subject=record.subject,
            details=record.details,
        )


@router.get("", summary="List what was changed, newest first", responses=refusals("not_found"))
async def list_audit_events(
    parts: Serving,
    asking: ManageCaller,
    part: PartWanted,
    account: AccountNamed = None,
    subject: Annotated[str | None, Query(description="Only of this id.", max_length=80)] = None,
) -> Listing[AuditEvent]:
    accounts = narrowed(asking, account)
    page = await audit.page(parts.database, accounts, subject=subject, cursor=part.cursor, limit=part.limit)
    return Listing(items=[AuditEvent.of(record) for record in page.items], next=page.next)

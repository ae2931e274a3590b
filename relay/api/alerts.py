"""`/v1/alerts`: who is told when an agent, a store, a key or a certificate needs somebody, and what they were told."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response

from relay.api.alert_shapes import Alert, AlertChange, AlertCreated, AlertCreation, AlertEvent, DeadAlert
from relay.api.answers import nothing
from relay.api.authentication import (
    AccountNamed,
    Asking,
    ManageCaller,
    StatusCaller,
    account_router,
    may,
    narrowed,
    owner,
)
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.api.problems import invalid
from relay.api.triggers import check_endpoint
from relay.database import alerts
from relay.records import Scope

router = account_router("/v1/alerts", "alerts")

ReadCaller = Annotated[Asking, Depends(may(Scope.READ))]


@router.get("", summary="List subscriptions to alerts", responses=refusals("not_found"))
async def list_alerts(
    parts: Serving, asking: StatusCaller, part: PartWanted, account: AccountNamed = None
) -> Listing[Alert]:
    """Oldest first."""
    accounts = narrowed(asking, account)
    page = await alerts.page(parts.database, accounts, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, Alert.of)


@router.post(
    "",
    status_code=201,
    summary="Subscribe to alerts",
    responses=CREATED | refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_alert(
    parts: Serving, database: Creating, asking: ManageCaller, form: AlertCreation, response: Response
) -> AlertCreated:
    """What goes wrong from now on is told, once, and that it is over. `secret` is shown in this answer and never again.

    What concerns the relay itself, as its certificate does, is told to the account `default`.
    """
    if form.url is not None and form.pull:
        raise invalid([("pull", "either alerts are sent to url, or they are pulled")])
    await check_endpoint(parts, form.url)
    account = await owner(parts, asking, form.account)
    new = await alerts.create(database, account, form.form, by=asking.by)
    response.headers["ETag"] = etag(new.alert)
    response.headers["Location"] = f"/v1/alerts/{new.alert.id}"
    return AlertCreated.of_new(new)


@router.get("/{alert}", summary="Show a subscription to alerts", responses=SHOWN | refusals("not_found"))
async def get_alert(parts: Serving, asking: StatusCaller, alert: str, response: Response) -> Alert:
    record = await alerts.find(parts.database, asking.sees, alert)
    response.headers["ETag"] = etag(record)
    return Alert.of(record)


@router.patch(
    "/{alert}",
    summary="Change a subscription to alerts",
    responses=SHOWN | refusals("not_found", "conflict", "edited_meanwhile"),
)
async def update_alert(
    *,
    parts: Serving,
    asking: ManageCaller,
    alert: str,
    form: AlertChange,
    response: Response,
    if_match: IfMatch = None,
) -> Alert:
    if "url" in form.model_fields_set:
        await check_endpoint(parts, form.url)
    expect = matching(if_match)
    record = await alerts.change(parts.database, asking.sees, alert, form.patch, by=asking.by, expect=expect)
    response.headers["ETag"] = etag(record)
    return Alert.of(record)


@router.delete(
    "/{alert}",
    status_code=204,
    summary="End a subscription to alerts",
    responses=refusals("not_found", "edited_meanwhile"),
)
async def delete_alert(parts: Serving, asking: ManageCaller, alert: str, if_match: IfMatch = None) -> Response:
    """With its events, also those that wait for delivery."""
    await alerts.delete(parts.database, asking.sees, alert, by=asking.by, expect=matching(if_match))
    return nothing()


@router.post(
    "/{alert}/secrets",
    status_code=201,
    summary="Create another signing secret, to rotate",
    responses=refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_alert_secret(database: Creating, asking: ManageCaller, alert: str) -> AlertCreated:
    """For a day the one before signs as well. Shown in this answer and never again."""
    return AlertCreated.of_new(await alerts.rotate_secret(database, asking.sees, alert, by=asking.by))


@router.get("/{alert}/events", summary="Pull alerts", responses=refusals("not_found"))
async def list_alert_events(parts: Serving, asking: ReadCaller, alert: str, part: PartWanted) -> Listing[AlertEvent]:
    """Oldest first. Keep `next`, and ask with it for what came later, also when there was nothing new.

    Alerts are kept for a week. Those that are sent as webhooks can be pulled as well.
    """
    page = await alerts.told(parts.database, asking.sees, alert, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, AlertEvent.of)


@router.get("/{alert}/dead-letters", summary="List the alerts that were given up", responses=refusals("not_found"))
async def list_dead_alerts(parts: Serving, asking: ReadCaller, alert: str, part: PartWanted) -> Listing[DeadAlert]:
    """Oldest first: an endpoint did not take them for a day. They are kept for a week."""
    page = await alerts.given_up(parts.database, asking.sees, alert, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, DeadAlert.of)


@router.post(
    "/{alert}/dead-letters/{event}/replay",
    summary="Send an alert again that was given up",
    responses=refusals("not_found", "conflict"),
)
async def replay_dead_alert(parts: Serving, asking: ManageCaller, alert: str, event: str) -> AlertEvent:
    """Under its old id, before all that waits behind it, for another day. `not_dead` for one that was not given up."""
    return AlertEvent.of(await alerts.replay(parts.database, asking.sees, alert, event, by=asking.by))

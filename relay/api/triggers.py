"""`/v1/connections/{id}/triggers` and `/v1/triggers`: what is watched of stores, and the events that come of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from relay.api.answers import nothing
from relay.api.authentication import Asking, ManageCaller, StatusCaller, account_router, may
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Parts, Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.api.problems import invalid
from relay.api.trigger_shapes import DeadLetter, Event, Trigger, TriggerChange, TriggerCreated, TriggerCreation
from relay.database import deliveries, events, triggers
from relay.records import Scope
from relay.webhooks.sending import EndpointError

of_connections: APIRouter = account_router("/v1/connections/{connection}/triggers", "triggers")
router: APIRouter = account_router("/v1/triggers/{trigger}", "triggers")

ReadCaller = Annotated[Asking, Depends(may(Scope.READ))]


@of_connections.get("", summary="List a connection's triggers", responses=refusals("not_found"))
async def list_triggers(parts: Serving, asking: StatusCaller, connection: str, part: PartWanted) -> Listing[Trigger]:
    """Oldest first, with how they are doing."""
    page = await triggers.page(parts.database, asking.sees, connection, cursor=part.cursor, limit=part.limit)
    return Listing(items=[Trigger.of(record) for record in page.items], next=page.next)


@of_connections.post(
    "",
    status_code=201,
    summary="Create a trigger",
    responses=CREATED | refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_trigger(
    *,
    parts: Serving,
    database: Creating,
    asking: ManageCaller,
    connection: str,
    form: TriggerCreation,
    response: Response,
) -> TriggerCreated:
    """What changes from now on is told, the past is not.

    `order-updated`: every order's last state, at least once. `product-catalogue`: every product and category that is
    new, changed (stock, combinations, categories and pictures included) or gone; its first event says that the
    `/snapshot` is ready, with which a copy begins.

    `secret` is shown in this answer and never again.
    """
    if form.url is not None and form.pull:
        raise invalid([("pull", "either events are sent to url, or they are pulled")])
    await check_endpoint(parts, form.url)
    new = await triggers.create(database, asking.sees, connection, form.form, by=asking.by)
    response.headers["ETag"] = etag(new.trigger)
    response.headers["Location"] = f"/v1/triggers/{new.trigger.id}"
    return TriggerCreated.of_new(new)


@router.get("", summary="Show a trigger, with how it is doing", responses=SHOWN | refusals("not_found"))
async def get_trigger(parts: Serving, asking: StatusCaller, trigger: str, response: Response) -> Trigger:
    record = await triggers.find(parts.database, asking.sees, trigger)
    response.headers["ETag"] = etag(record)
    return Trigger.of(record)


@router.patch("", summary="Change a trigger", responses=SHOWN | refusals("not_found", "conflict", "edited_meanwhile"))
async def update_trigger(
    *,
    parts: Serving,
    asking: ManageCaller,
    trigger: str,
    form: TriggerChange,
    response: Response,
    if_match: IfMatch = None,
) -> Trigger:
    """`enabled: false` stops looking and sending; nothing is lost meanwhile but what the store itself forgets."""
    if "url" in form.model_fields_set:
        await check_endpoint(parts, form.url)
    expect = matching(if_match)
    record = await triggers.change(parts.database, asking.sees, trigger, form.patch, by=asking.by, expect=expect)
    response.headers["ETag"] = etag(record)
    return Trigger.of(record)


@router.delete("", status_code=204, summary="Delete a trigger", responses=refusals("not_found", "edited_meanwhile"))
async def delete_trigger(parts: Serving, asking: ManageCaller, trigger: str, if_match: IfMatch = None) -> Response:
    """With its events, also those that wait for delivery."""
    await triggers.delete(parts.database, asking.sees, trigger, by=asking.by, expect=matching(if_match))
    return nothing()


@router.post(
    "/secrets",
    status_code=201,
    summary="Create another signing secret, to rotate",
    responses=refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_trigger_secret(database: Creating, asking: ManageCaller, trigger: str) -> TriggerCreated:
    """For a day the one before signs as well. Shown in this answer and never again."""
    return TriggerCreated.of_new(await triggers.rotate_secret(database, asking.sees, trigger, by=asking.by))


@router.post("/run", summary="Look at the store now", responses=refusals("not_found", "conflict"))
async def run_trigger(parts: Serving, asking: ManageCaller, trigger: str) -> Trigger:
    """Within a second or so, not when it is due. `trigger_disabled` for one that is not enabled."""
    return Trigger.of(await triggers.run_soon(parts.database, asking.sees, trigger, by=asking.by))


@router.get("/events", summary="Pull a trigger's events", responses=refusals("not_found"))
async def list_trigger_events(parts: Serving, asking: ReadCaller, trigger: str, part: PartWanted) -> Listing[Event]:
    """Oldest first. Keep `next`, and ask with it for what came later, also when there was nothing new.

    Events are kept for a week. Those that are sent as webhooks can be pulled as well.
    """
    page = await events.page(parts.database, asking.sees, trigger, cursor=part.cursor, limit=part.limit)
    return Listing(items=[Event.of(record) for record in page.items], next=page.next)


@router.get("/dead-letters", summary="List the events that were given up", responses=refusals("not_found"))
async def list_dead_letters(parts: Serving, asking: ReadCaller, trigger: str, part: PartWanted) -> Listing[DeadLetter]:
    """Oldest first: an endpoint did not take them for a day. They are kept for a week."""
    page = await deliveries.dead_letters(parts.database, asking.sees, trigger, cursor=part.cursor, limit=part.limit)
    return Listing(items=[DeadLetter.of(record) for record in page.items], next=page.next)


@router.post(
    "/dead-letters/{event}/replay",
    summary="Send an event again that was given up",
    responses=refusals("not_found", "conflict"),
)
async def replay_dead_letter(parts: Serving, asking: ManageCaller, trigger: str, event: str) -> Event:
    """Under its old id, before all that waits behind it, for another day. `not_dead` for one that was not given up."""
    return Event.of(await deliveries.replay(parts.database, asking.sees, trigger, event, by=asking.by))


async def check_endpoint(parts: Parts, url: str | None) -> None:
    """Raises ProblemError `invalid`."""
    if url is None:
        return
    try:
        await parts.guard.check(url)
    except EndpointError as error:
        raise invalid([("url", str(error))]) from None

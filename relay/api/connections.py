"""`/v1/connections`: the connection form, and the access keys that connectors show."""

from __future__ import annotations

from fastapi import Response

from relay.api.answers import nothing
from relay.api.authentication import AccountNamed, Asking, ManageCaller, StatusCaller, account_router, narrowed, owner
from relay.api.connection_shapes import (
    AccessKeyCreated,
    Connection,
    ConnectionChange,
    ConnectionChanged,
    ConnectionCreated,
    ConnectionCreation,
)
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Parts, Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.database import access_keys, connections
from relay.database.errors import NotFound
from relay.database.names import is_id
from relay.database.records import ConnectionRecord
from relay.database.store_url import understand

router = account_router("/v1/connections", "connections")


@router.get("", summary="List connections", responses=refusals("not_found"))
async def list_connections(
    parts: Serving, asking: StatusCaller, part: PartWanted, account: AccountNamed = None
) -> Listing[Connection]:
    """By name. The stores' keys are not among what is shown, here or anywhere."""
    accounts = narrowed(asking, account)
    page = await connections.page(parts.database, accounts, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, lambda record: _shown(parts, record))


@router.post(
    "",
    status_code=201,
    summary="Create a connection",
    responses=CREATED | refusals("name_taken", "not_found", "answer_not_kept"),
)
async def create_connection(
    parts: Serving, database: Creating, asking: ManageCaller, form: ConnectionCreation, response: Response
) -> ConnectionCreated:
    """Neither agent nor store need be online. The access key is shown in this answer and never again.

    `store_url` is taken as people paste it: from the back office, with `/api`, without `https://`.
    """
    account = await owner(parts, asking, form.account)
    new = await connections.create(database, account, form.form, by=asking.by)
    response.headers["ETag"] = etag(new.connection)
    response.headers["Location"] = f"/v1/connections/{new.connection.id}"
    return ConnectionCreated.of_new(new, parts.public_url, understand(form.store_url).notes)


@router.get("/{connection}", summary="Show a connection", responses=SHOWN | refusals("not_found"))
async def get_connection(parts: Serving, asking: StatusCaller, connection: str, response: Response) -> Connection:
    record = await _find(parts, asking, connection)
    response.headers["ETag"] = etag(record)
    return _shown(parts, record)


@router.patch(
    "/{connection}",
    summary="Change a connection",
    responses=SHOWN | refusals("not_found", "name_taken", "edited_meanwhile"),
)
async def update_connection(
    *,
    parts: Serving,
    asking: ManageCaller,
    connection: str,
    form: ConnectionChange,
    response: Response,
    if_match: IfMatch = None,
) -> ConnectionChanged:
    """Another `store_url`, `mode` or `agent` needs `api_key` again."""
    record = await connections.update(
        parts.database, asking.sees, connection, form.patch, by=asking.by, expect=matching(if_match)
    )
    parts.directory.wake()
    response.headers["ETag"] = etag(record)
    notes = understand(form.store_url).notes if "store_url" in form.model_fields_set else ()
    return ConnectionChanged.of_changed(record, parts.public_url, notes)


@router.delete(
    "/{connection}",
    status_code=204,
    summary="Delete a connection",
    responses=refusals("not_found", "edited_meanwhile"),
)
async def delete_connection(
    parts: Serving, asking: ManageCaller, connection: str, if_match: IfMatch = None
) -> Response:
    """Its access keys and the store's key go with it."""
    await connections.delete(parts.database, asking.sees, connection, by=asking.by, expect=matching(if_match))
    parts.directory.wake()
    return nothing()


@router.post(
    "/{connection}/access-keys",
    status_code=201,
    summary="Create a second access key, to rotate",
    responses=refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_access_key(
    parts: Serving, database: Creating, asking: ManageCaller, connection: str
) -> AccessKeyCreated:
    """The one in use works on until it is revoked; two may be valid at once (`two_keys_valid`)."""
    new = await access_keys.rotate(database, asking.sees, connection, by=asking.by)
    parts.directory.wake()
    return AccessKeyCreated.of_new(new)


@router.post(
    "/{connection}/access-keys/{key}/revoke",
    status_code=204,
    summary="End an access key",
    responses=refusals("not_found"),
)
async def revoke_access_key(parts: Serving, asking: ManageCaller, connection: str, key: str) -> Response:
    """From the next request on, within a second on every node."""
    await access_keys.revoke(parts.database, asking.sees, connection, key, by=asking.by)
    parts.directory.wake()
    return nothing()


def _shown(parts: Parts, record: ConnectionRecord) -> Connection:
    store, traffic = parts.stores.of_connection(record.id), parts.traffic.connection(record.id)
    return Connection.of(record, parts.public_url, store, traffic)


async def _find(parts: Parts, asking: Asking, connection: str) -> ConnectionRecord:
    """By id alone: a name would be ambiguous to an operator. Raises NotFound."""
    if not is_id(connection, "con"):
        raise NotFound("connection", connection)
    return await connections.find(parts.database, asking.sees, connection)

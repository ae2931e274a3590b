"""`postern-relay connections …`"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from relay.cli.desk import Desk, UsageError, every, read_key, read_text
from relay.cli.output import fields
from relay.database import access_keys, agents, connections
from relay.database.connection_form import (
    ANSWER_TIMEOUT,
    CONCURRENCY,
    UNCHANGED,
    ConnectionForm,
    ConnectionPatch,
)
from relay.database.records import ConnectionRecord
from relay.database.store_url import understand
from relay.records import KeyPlace, Mode, Trust


async def create(desk: Desk, arguments: Namespace) -> None:
    form = ConnectionForm(
        name=arguments.name,
        mode=arguments.mode,
        store_url=arguments.store_url,
        api_key=read_key(arguments.api_key_file),
        agent=await _agent(desk, arguments.agent),
        key_place=arguments.key_place or KeyPlace.BASIC,
        trust=_trust(arguments, Trust()),
        concurrency=CONCURRENCY if arguments.concurrency is None else arguments.concurrency,
        answer_timeout=ANSWER_TIMEOUT if arguments.answer_timeout is None else arguments.answer_timeout,
    )
    made = await connections.create(desk.database, await desk.account(), form, by=desk.by)
    key, url = made.access_key.get_secret_value(), _url(desk, made.connection)
    notes = understand(form.store_url).notes
    desk.show(
        {"id": made.connection.id, "access_key": key, "url": url} | _understood(made.connection, notes),
        people=[
            f"connection {made.connection.id} ({form.name})",
            *(f"store       {note}" for note in notes),
            f"base URL    {url}",
            f"access key  {key}",
            "",
            _ONCE,
        ],
    )


async def list_(desk: Desk, _: Namespace) -> None:
    found = await every(connections.page, desk.database, await desk.account())
    desk.show_list([_shown(desk, each) for each in found], ("id", "name", "mode", "agent", "store_url", "updated_at"))


async def show(desk: Desk, arguments: Namespace) -> None:
    desk.show(_shown(desk, await _find(desk, arguments.connection)))


async def update(desk: Desk, arguments: Namespace) -> None:
    before = await _find(desk, arguments.connection)
    patch = await _patch(desk, arguments, before)
    if patch == ConnectionPatch():
        raise UsageError("nothing to change: say what, such as --name or --store-url")
    record = await connections.update(desk.database, before.account, before.id, patch, by=desk.by)
    notes = () if arguments.store_url is None else understand(arguments.store_url).notes
    desk.show(_shown(desk, record) | _understood(record, notes))


async def delete(desk: Desk, arguments: Namespace) -> None:
    found = await _find(desk, arguments.connection)
    await connections.delete(desk.database, found.account, found.id, by=desk.by)
    desk.show({"id": found.id}, people=[f"connection {found.id} ({found.name}) is deleted"])


async def rotate_key(desk: Desk, arguments: Namespace) -> None:
    found = await _find(desk, arguments.connection)
    made = await access_keys.rotate(desk.database, found.account, found.id, by=desk.by)
    key, older = made.text.get_secret_value(), [each.id for each in found.access_keys]
    still = [f"the older one works on until: postern-relay connections revoke-key {found.id} {each}" for each in older]
    desk.show(
        {"id": made.key.id, "connection": found.id, "access_key": key, "still_valid": older},
        people=[f"access key {made.key.id}: {key}", "", _ONCE, *still],
    )


async def revoke_key(desk: Desk, arguments: Namespace) -> None:
    found = await _find(desk, arguments.connection)
    record = await access_keys.revoke(desk.database, found.account, found.id, arguments.key, by=desk.by)
    desk.show(fields(record), people=[f"access key {record.id} is revoked"])


_ONCE = "The access key is shown only now."


async def _find(desk: Desk, id_or_name: str) -> ConnectionRecord:
    return await connections.find(desk.database, await desk.account(), id_or_name)


async def _agent(desk: Desk, id_or_name: str | None) -> str | None:
    if id_or_name is None:
        return None
    return (await agents.find(desk.database, await desk.account(), id_or_name)).id


async def _patch(desk: Desk, arguments: Namespace, before: ConnectionRecord) -> ConnectionPatch:
    given: dict[str, Any] = {
        name: value
        for name in ("name", "mode", "store_url", "key_place", "concurrency", "answer_timeout")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.agent is not None:
        given["agent"] = await _agent(desk, arguments.agent)
    elif arguments.mode is Mode.CLOUD:
        given["agent"] = None
    if arguments.api_key_file is not None:
        given["api_key"] = read_key(arguments.api_key_file)
    trust = _trust(arguments, Trust() if arguments.public_roots else before.trust)
    return ConnectionPatch(**given, trust=UNCHANGED if trust == before.trust else trust)


def _trust(arguments: Namespace, before: Trust) -> Trust:
    ca_pem = before.ca_pem if arguments.ca_file is None else read_text(arguments.ca_file)
    pin = before.pinned_spki_sha256 if arguments.pinned_key is None else arguments.pinned_key
    return Trust(ca_pem, pin)


def _url(desk: Desk, record: ConnectionRecord) -> str:
    return f"{desk.settings.url()}/to/{record.id}"


def _understood(record: ConnectionRecord, notes: Sequence[str]) -> dict[str, Any]:
    """What is said back if the store's address was not taken as it was written."""
    return {"store_url": record.store_url, "understood": list(notes)} if notes else {}


def _shown(desk: Desk, record: ConnectionRecord) -> dict[str, Any]:
    return fields(record) | {"url": _url(desk, record)}

"""`postern-relay tokens …`"""

from __future__ import annotations

from argparse import Namespace

from relay.cli.agents import expiry
from relay.cli.desk import Desk, every
from relay.cli.output import fields
from relay.database import tokens


async def create(desk: Desk, arguments: Namespace) -> None:
    expires_at = expiry(desk, arguments.expires_in)
    made = await tokens.create(
        desk.database, await desk.account(), arguments.name, arguments.scope, by=desk.by, expires_at=expires_at
    )
    text = made.text.get_secret_value()
    heading = f"API token {made.token.id} ({made.token.name}), scope {made.token.scope}, shown only now:"
    desk.show({"id": made.token.id, "token": text}, people=[heading, "", text])


async def list_(desk: Desk, _: Namespace) -> None:
    found = await every(tokens.page, desk.database, await desk.account())
    columns = ("id", "name", "scope", "created_at", "expires_at", "revoked_at")
    desk.show_list([fields(token) for token in found], columns)


async def show(desk: Desk, arguments: Namespace) -> None:
    desk.show(fields(await tokens.find(desk.database, await desk.account(), arguments.token)))


async def update(desk: Desk, arguments: Namespace) -> None:
    account = await desk.account()
    desk.show(fields(await tokens.rename(desk.database, account, arguments.token, arguments.name, by=desk.by)))


async def revoke(desk: Desk, arguments: Namespace) -> None:
    record = await tokens.revoke(desk.database, await desk.account(), arguments.token, by=desk.by)
    desk.show(fields(record), people=[f"API token {record.id} ({record.name}) is revoked"])


async def delete(desk: Desk, arguments: Namespace) -> None:
    await tokens.delete(desk.database, await desk.account(), arguments.token, by=desk.by)
    desk.show({"id": arguments.token}, people=[f"API token {arguments.token} is deleted"])

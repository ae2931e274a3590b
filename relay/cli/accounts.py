"""`postern-relay accounts …`"""

from __future__ import annotations

from argparse import Namespace

from relay.cli.desk import Desk, every
from relay.cli.output import fields
from relay.database import accounts


async def create(desk: Desk, arguments: Namespace) -> None:
    desk.show(fields(await accounts.create(desk.database, arguments.name, by=desk.by)))


async def list_(desk: Desk, _: Namespace) -> None:
    found = await every(accounts.page, desk.database)
    desk.show_list([fields(account) for account in found], ("id", "name", "created_at"))


async def show(desk: Desk, arguments: Namespace) -> None:
    desk.show(fields(await accounts.find(desk.database, arguments.name)))


async def update(desk: Desk, arguments: Namespace) -> None:
    desk.show(fields(await accounts.rename(desk.database, arguments.old_name, arguments.name, by=desk.by)))


async def delete(desk: Desk, arguments: Namespace) -> None:
    found = await accounts.find(desk.database, arguments.name)
    await accounts.delete(desk.database, found.id, by=desk.by)
    desk.show({"id": found.id}, people=[f"account {found.name} is deleted"])

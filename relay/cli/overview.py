"""`postern-relay serve`, `init`, `status`, `audit` and `openapi`: the relay as a whole."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import defaultdict
from typing import Any

from relay.cli.desk import Desk, every
from relay.cli.output import fields
from relay.database import accounts, agents, audit, authorities, connections, instances
from relay.database.accounts import DEFAULT
from relay.database.records import EVERY_ACCOUNT
from relay.database.setup import prepare
from relay.settings import Settings


def serve(settings: Settings, _: Namespace) -> int:
    from relay.app import serve as run  # noqa: PLC0415 - the other commands need none of it

    return run(settings)


async def init(desk: Desk, _: Namespace) -> None:
    await prepare(desk.database, by=desk.by)
    account = await accounts.find(desk.database, DEFAULT)
    keys, database = str(desk.database.keys.path), desk.database.description
    fingerprint = (await authorities.host_ca_fingerprint(desk.database)).hex()
    desk.show(
        {"account": account.id, "database": database, "master_keys": keys, "host_ca_fingerprint": fingerprint},
        people=["ready", f"database     {database}", f"master keys  {keys} (back them up apart from the database)"],
    )


async def status(desk: Desk, _: Namespace) -> None:
    """What the database knows; who is online now, only the running relay does."""
    everywhere = await every(agents.page, desk.database, EVERY_ACCOUNT)
    enrolled = await every(instances.page, desk.database, EVERY_ACCOUNT)
    by_agent: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for instance in enrolled:
        by_agent[instance.agent].append(fields(instance, without=("account", "agent", "public_key")))
    items = [fields(agent) | {"instances": by_agent[agent.id]} for agent in everywhere]
    totals = {
        "accounts": len(await every(accounts.page, desk.database)),
        "connections": len(await every(connections.page, desk.database, EVERY_ACCOUNT)),
    }
    if desk.arguments.json:
        desk.show({"database": desk.database.description, **totals, "agents": items})
        return
    print(f"{desk.database.description}: {totals['accounts']} accounts, {totals['connections']} connections")
    rows = [
        agent | instance | {"agent": agent["name"], "instance": instance["id"]}
        for agent in items
        for instance in (agent["instances"] or [_NOBODY])
    ]
    desk.show_list(rows, ("agent", "instance", "host_name", "version", "last_seen_at", "revoked_at"))


_NOBODY: dict[str, Any] = {"id": None, "host_name": None, "version": None, "last_seen_at": None}


async def audit_events(desk: Desk, arguments: Namespace) -> None:
    accounts_ = EVERY_ACCOUNT if arguments.account is None else await desk.account()
    part = await audit.page(desk.database, accounts_, subject=arguments.subject, limit=arguments.limit)
    columns = ("at", "actor", "source", "action", "subject", "details")
    desk.show_list([fields(event) for event in part.items], columns)


def openapi(_: Settings, __: Namespace) -> int:
    from relay.api import document  # noqa: PLC0415 - FastAPI is slow to import

    print(json.dumps(document(), indent=2))
    return 0

"""`postern-relay agents …`"""

from __future__ import annotations

from argparse import Namespace

from relay.cli.desk import Desk, UsageError, every
from relay.cli.output import fields
from relay.database import agent_tokens, agents, instances
from relay.database.errors import NotFound
from relay.database.records import AgentRecord

TOKEN_COLUMNS = ("id", "created_at", "expires_at", "revoked_at")
INSTANCE_COLUMNS = ("id", "host_name", "version", "stores", "last_seen_at", "revoked_at")


async def create(desk: Desk, arguments: Namespace) -> None:
    made = await agents.create(
        desk.database,
        await desk.account(),
        arguments.name,
        by=desk.by,
        places=arguments.places,
        token_expires_at=expiry(desk, arguments.token_expires_in),
    )
    token = made.text.get_secret_value()
    desk.show(
        {"id": made.agent.id, "name": made.agent.name, "token": token},
        people=[f"agent {made.agent.id} ({made.agent.name})", "its access token, shown only now:", "", token],
    )


async def list_(desk: Desk, _: Namespace) -> None:
    found = await every(agents.page, desk.database, await desk.account())
    desk.show_list([fields(agent) for agent in found], ("id", "name", "places", "created_at", "revoked_at"))


async def show(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    tokens = await every(agent_tokens.page, desk.database, agent.account, agent.id)
    enrolled = await every(instances.page, desk.database, agent.account, agent.id)
    lists = {"tokens": [fields(each) for each in tokens], "instances": [fields(each) for each in enrolled]}
    if desk.arguments.json:
        desk.show(fields(agent) | lists)
        return
    desk.show(fields(agent))
    print("\ntokens")
    desk.show_list(lists["tokens"], TOKEN_COLUMNS)
    print("\ninstances")
    desk.show_list(lists["instances"], INSTANCE_COLUMNS)


async def update(desk: Desk, arguments: Namespace) -> None:
    if arguments.name is None and arguments.places is None:
        raise UsageError("nothing to change: give --name or --places")
    agent = await _find(desk, arguments.agent)
    desk.show(
        fields(
            await agents.update(
                desk.database, agent.account, agent.id, by=desk.by, name=arguments.name, places=arguments.places
            )
        )
    )


async def revoke(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    record = await agents.revoke(desk.database, agent.account, agent.id, by=desk.by)
    desk.show(fields(record), people=[f"agent {agent.id} ({agent.name}) is revoked"])


async def delete(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    await agents.delete(desk.database, agent.account, agent.id, by=desk.by)
    desk.show({"id": agent.id}, people=[f"agent {agent.id} ({agent.name}) is deleted"])


async def release(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    instance = arguments.instance or await _only_instance(desk, agent)
    await instances.release(desk.database, agent.account, agent.id, instance, by=desk.by)
    desk.show({"id": instance}, people=[f"the place of {instance} is free"])


async def create_token(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    expires_at = expiry(desk, arguments.expires_in)
    made = await agent_tokens.create(desk.database, agent.account, agent.id, by=desk.by, expires_at=expires_at)
    token = made.text.get_secret_value()
    desk.show(
        {"id": made.token.id, "agent": agent.id, "expires_at": made.token.expires_at, "token": token},
        people=[f"access token {made.token.id} of agent {agent.name}, shown only now:", "", token],
    )


async def list_tokens(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    tokens = await every(agent_tokens.page, desk.database, agent.account, agent.id)
    desk.show_list([fields(token) for token in tokens], TOKEN_COLUMNS)


async def revoke_token(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    record = await agent_tokens.revoke(desk.database, agent.account, agent.id, arguments.token, by=desk.by)
    desk.show(fields(record), people=[f"access token {record.id} is revoked"])


async def list_instances(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    enrolled = await every(instances.page, desk.database, agent.account, agent.id)
    desk.show_list([fields(instance) for instance in enrolled], INSTANCE_COLUMNS)


async def revoke_instance(desk: Desk, arguments: Namespace) -> None:
    agent = await _find(desk, arguments.agent)
    record = await instances.revoke(desk.database, agent.account, agent.id, arguments.instance, by=desk.by)
    desk.show(fields(record), people=[f"instance {record.id} is revoked"])


def expiry(desk: Desk, seconds: int | None) -> int | None:
    return None if seconds is None else desk.database.now() + seconds


async def _find(desk: Desk, id_or_name: str) -> AgentRecord:
    return await agents.find(desk.database, await desk.account(), id_or_name)


async def _only_instance(desk: Desk, agent: AgentRecord) -> str:
    enrolled = await every(instances.page, desk.database, agent.account, agent.id)
    holding = [instance.id for instance in enrolled if instance.revoked_at is None]
    if not holding:
        raise NotFound("enrolled instance of agent", agent.name)
    if len(holding) > 1:
        raise UsageError(f"say which instance: {', '.join(holding)}")
    return holding[0]

"""`postern-relay agents keys …`: public keys of machines that run stock OpenSSH instead of our agent."""

from __future__ import annotations

from argparse import Namespace

from relay.cli.desk import Desk, every, read_key
from relay.cli.output import fields
from relay.database import agent_keys, agents, authorities
from relay.database.records import AgentKeyRecord
from relay.settings import Address

COLUMNS = ("id", "fingerprint", "comment", "created_at")


async def add(desk: Desk, arguments: Namespace) -> None:
    agent = await agents.find(desk.database, await desk.account(), arguments.agent)
    text = read_key(arguments.file).get_secret_value()  # if it is the private one by mistake, it is not repeated
    record = await agent_keys.add(desk.database, agent.account, agent.id, text, by=desk.by)
    address = desk.settings.stock_address()
    known_hosts = await _known_hosts(desk, address)
    command = _command(record, address or Address(desk.settings.ssh_address().host, 0))
    desk.show(
        {**_shown(record), "known_hosts": known_hosts, "command": command},
        people=[
            f"key {record.id} ({record.fingerprint}) may log in as agent {agent.id} ({agent.name})",
            *([] if address else ["SSH_STOCK is not set: the relay has no listener for it yet"]),
            "",
            "its machine needs this line in a file such as /etc/ssh/ssh_known_hosts:",
            known_hosts,
            "",
            "and publishes a store so:",
            command,
        ],
    )


async def list_(desk: Desk, arguments: Namespace) -> None:
    agent = await agents.find(desk.database, await desk.account(), arguments.agent)
    found = await every(agent_keys.page, desk.database, agent.account, agent.id)
    desk.show_list([_shown(record) for record in found], COLUMNS)


async def delete(desk: Desk, arguments: Namespace) -> None:
    agent = await agents.find(desk.database, await desk.account(), arguments.agent)
    await agent_keys.delete(desk.database, agent.account, agent.id, arguments.key, by=desk.by)
    desk.show({"id": arguments.key}, people=[f"key {arguments.key} is deleted"])


def _shown(record: AgentKeyRecord) -> dict[str, object]:
    return fields(record, without=["account"])


async def _known_hosts(desk: Desk, address: Address | None) -> str:
    """Trust in the relay's host CA, for the relay's own name alone (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    host_ca = await authorities.host_ca(desk.database)
    host = desk.settings.ssh_address().host
    names = [host] if address is None or address.port == 22 else [host, f"[{host}]:{address.port}"]
    return f"@cert-authority {','.join(names)} {host_ca}"


def _command(record: AgentKeyRecord, address: Address) -> str:
    port = str(address.port) if address.port else "PORT"
    return f"ssh -N -o ExitOnForwardFailure=yes -R shop.lan:80:shop.lan:80 -p {port} {record.agent}@{address.host}"

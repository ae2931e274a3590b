"""`postern-relay keys …`"""

from __future__ import annotations

from argparse import Namespace

from relay.cli.desk import Desk
from relay.database import replacing, rotation


async def rotate(desk: Desk, _: Namespace) -> None:
    done = await rotation.rotate(desk.database, by=desk.by)
    older = ", ".join(done.older) or "none"
    desk.show(
        {"key": done.key, "sealed": done.sealed, "older": list(done.older)},
        people=[
            f"{done.sealed} secrets are now sealed with the master key {done.key}",
            f"older keys in {desk.database.keys.path} ({older}): needed only to restore backups from before now",
        ],
    )


async def replace_lost(desk: Desk, _: Namespace) -> None:
    done = await replacing.replace_lost(desk.database, by=desk.by)
    desk.show(
        {"key": done.key, "authorities": list(done.authorities), "connections": list(done.connections)},
        people=[
            f"master key {done.key} seals from now on",
            *(_ENROL_AGAIN if done.authorities else ()),
            *(f"give the store's key again: {_UPDATE.format(each)}" for each in done.connections),
        ],
    )


_UPDATE = "postern-relay connections update {} --api-key-file FILE"
_ENROL_AGAIN = (
    "the relay has new keys of its own: start it again, and give each agent a new access token",
    "  (postern-relay agents tokens create AGENT); the old ones do not fit them",
)


async def list_(desk: Desk, _: Namespace) -> None:
    counts = await rotation.count(desk.database)
    keys = desk.database.keys.keyring.keys
    items = [{"id": key.id, "current": index == 0, "secrets": counts.pop(key.id, 0)} for index, key in enumerate(keys)]
    lost = [{"id": f"{key} (not in the key file)", "current": False, "secrets": n} for key, n in counts.items()]
    desk.show_list(items + lost, ("id", "current", "secrets"))

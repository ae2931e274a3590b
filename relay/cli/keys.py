"""`postern-relay keys …`"""

from __future__ import annotations

from argparse import Namespace

from relay.cli.desk import Desk
from relay.database import rotation


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


async def list_(desk: Desk, _: Namespace) -> None:
    counts = await rotation.count(desk.database)
    keys = desk.database.keys.keyring.keys
    items = [{"id": key.id, "current": index == 0, "secrets": counts.pop(key.id, 0)} for index, key in enumerate(keys)]
    lost = [{"id": f"{key} (not in the key file)", "current": False, "secrets": n} for key, n in counts.items()]
    desk.show_list(items + lost, ("id", "current", "secrets"))

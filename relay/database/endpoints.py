"""Where the events of a trigger or of alerts are sent to, and the secret that signs them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.connection_form import UNCHANGED
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid
from relay.database.secrets import Place
from relay.database.tables import TriggerEventRow, TriggerRow
from relay.trigger_records import Delivery

URL_CHARACTERS = 2000
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret of the Standard Webhooks begins with
SECRET_BYTES = 32
FORMER_SECONDS = 86400
"""How long the former secret signs as well, after a new one was made."""


def check(url: str | None) -> None:
    """Raises Invalid."""
    if url is not None and not 1 <= len(url) <= URL_CHARACTERS:
        raise Invalid("url", f"an address has at most {URL_CHARACTERS} characters")


def host_of(url: str | None) -> str:
    """The machine, or the service, that takes the events."""
    return urlsplit(url or "").hostname or ""


def given(row: TriggerRow, patch: Mapping[str, Any], *, pulled: str) -> dict[str, Any]:
    """What the patch names. Raises Invalid with `pulled` where nothing is sent, Conflict `secret_lost`."""
    named = {name: value for name, value in patch.items() if value is not UNCHANGED}
    if "url" in named and row.url is None:
        raise Invalid("url", pulled)
    if named.get("enabled") and row.url is not None and row.secret_sealed is None:
        raise Conflict("secret_lost", "what signs its events was lost: make a new secret first")
    return named


def place(row: TriggerRow, column: str = "secret_sealed") -> Place:
    """What a trigger's secret is bound to."""
    return Place("triggers", row.id, column, (row.account, row.connection or ""))


def give_secret(database: Database, row: TriggerRow) -> SecretStr:
    """A new secret, sealed in the row."""
    text = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    row.secret_sealed = database.keys.seal(text.encode(), place(row))
    return SecretStr(text)


def renew_secret(database: Database, row: TriggerRow, at: int) -> SecretStr:
    """Another secret beside the one in use, which signs for another day. Raises Conflict `nothing_signed`."""
    if row.url is None:
        raise Conflict("nothing_signed", "the events of this trigger are pulled: nothing is signed")
    if row.secret_sealed is not None:
        row.former_secret_sealed = _moved(database, row)
        row.former_secret_until = at + FORMER_SECONDS
    row.updated_at = at
    return give_secret(database, row)


def signing_secrets(database: Database, row: TriggerRow, at: int) -> tuple[SecretStr, ...]:
    """The one in use, and the former one while it lasts. Raises UnknownMasterKey, DoesNotOpen."""
    sealed = [("secret_sealed", row.secret_sealed)]
    if row.former_secret_until is not None and at < row.former_secret_until:
        sealed.append(("former_secret_sealed", row.former_secret_sealed))
    opened = [database.keys.open(text, place(row, column)) for column, text in sealed if text is not None]
    return tuple(SecretStr(each.get_secret_value().decode()) for each in opened)


async def begin_again(session: AsyncSession, row: TriggerRow, at: int) -> None:
    """What waits is sent from now on, and tried for a day from now: nobody could take it before."""
    waiting = TriggerEventRow.trigger == row.id, TriggerEventRow.delivery == Delivery.WAITING
    await session.execute(update(TriggerEventRow).where(*waiting).values(since=at, next_at=at, attempts=0))


async def disable_lost(session: AsyncSession, lost: Sequence[str]) -> None:
    """These triggers' secrets are gone with the master keys: nothing is sent until their owners make new ones."""
    theirs = TriggerRow.id.in_(lost)
    gone = {"secret_sealed": None, "former_secret_sealed": None, "former_secret_until": None}
    await session.execute(
        update(TriggerRow).where(theirs).values(enabled=False, disabled_because="secret_lost", **gone)
    )


def _moved(database: Database, row: TriggerRow) -> str:
    """The secret in use, sealed for its place as the former one."""
    secret = database.keys.open(row.secret_sealed or "", place(row))
    return database.keys.seal(secret.get_secret_value(), place(row, "former_secret_sealed"))

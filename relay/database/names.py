"""What ids and names may look like, and how rows are found by them within an account."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from relay.database.errors import Invalid, NameTaken, NotFound
from relay.database.records import EVERY_ACCOUNT, Accounts
from relay.database.tables import NamedRow, OwnedRow

NAME_CHARACTERS: Final = 100
_ID = re.compile(r"[a-z]{3}_[a-z2-7]{16}\Z")

R = TypeVar("R", bound=OwnedRow)
N = TypeVar("N", bound=NamedRow)


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the form of an id such as `agt_k3v7…`: nothing else needs to be looked up."""
    return text.startswith(prefix + "_") and _ID.match(text) is not None


def checked_name(text: str) -> str:
    """The name without blanks around it. Raises Invalid `name`."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_CHARACTERS:
        raise Invalid("name", f"a name has 1 to {NAME_CHARACTERS} characters")
    if not name.isprintable():
        raise Invalid("name", "a name has no control characters or line breaks")
    if _ID.match(name):
        raise Invalid("name", "a name must not look like an id")
    return name


def checked_expiry(expires_at: int | None, now: int) -> int | None:
    """Raises Invalid `expires_at` for a time that has passed or lies beyond 100 years."""
    if expires_at is not None and not now < expires_at <= now + 100 * 366 * 86400:
        raise Invalid("expires_at", "the expiry must lie in the future, within 100 years")
    return expires_at


def within(statement: Select[R], row: type[R], accounts: Accounts) -> Select[R]:
    return statement if accounts is EVERY_ACCOUNT else statement.where(row.account == accounts)


async def find_row(session: AsyncSession, row: type[R], accounts: Accounts, row_id: str) -> R:
    """Raises NotFound, for a row of another account exactly as for none."""
    if is_id(row_id, row.prefix):
        found = await session.scalar(within(select(row).where(row.id == row_id), row, accounts))
        if found is not None:
            return found
    raise NotFound(row.noun, row_id)


async def find_named(session: AsyncSession, row: type[N], accounts: Accounts, id_or_name: str) -> N:
    """As `find_row`; within one account also by name. Raises NotFound."""
    if isinstance(accounts, str) and not is_id(id_or_name, row.prefix) and id_or_name.isprintable():
        found = await session.scalar(select(row).where(row.account == accounts, row.name == id_or_name))
        if found is not None:
            return found
    return await find_row(session, row, accounts, id_or_name)


async def check_free(session: AsyncSession, row: type[NamedRow], account: str, name: str) -> None:
    """Raises NameTaken."""
    if await session.scalar(select(row.id).where(row.account == account, row.name == name)):
        raise NameTaken(row.noun, name)

"""What every command needs: the open database, the account, who is asking, and how answers are printed."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from relay.cli.output import print_json, print_pairs, print_table
from relay.database import accounts
from relay.database.engine import Database
from relay.database.errors import DatabaseError, DatabaseUnusable, NotFound
from relay.database.paging import LIMIT_MOST
from relay.database.records import Actor, Page
from relay.settings import Settings

KEY_FILE_CHARACTERS = 4096
"""A key has 32; more than this is the wrong file."""

T = TypeVar("T")


class RelayAwayError(Exception):
    """No relay answers as one of this installation; the text is a sentence for the person who asked."""


class UsageError(Exception):
    """The command line asks for something that makes no sense (exit status 2)."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's surroundings. Functions that run a command take it and the parsed arguments."""

    settings: Settings
    database: Database
    by: Actor
    arguments: argparse.Namespace

    @classmethod
    async def work(cls, settings: Settings, arguments: argparse.Namespace) -> int:
        """Open the database, run the command, close it; its exit status, 0 for the commands that name none."""
        database = await settings.open_database()
        try:
            return await arguments.run(cls(settings, database, local_actor(), arguments), arguments) or 0
        finally:
            await database.close()

    async def account(self) -> str:
        """The id of the account that `--account` names, else of `default`. Raises NotFound, DatabaseUnusable."""
        name = self.arguments.account
        try:
            return (await accounts.find(self.database, name)).id
        except NotFound:
            if name == accounts.DEFAULT:
                raise DatabaseUnusable("there is nothing here yet: run postern-relay init") from None
            raise

    def show(self, values: Mapping[str, Any], *, people: Sequence[str] = ()) -> None:
        """One thing: a JSON object, or for people these sentences, else a list of names and values."""
        if self.arguments.json:
            print_json(values)
        elif people:
            print("\n".join(people))
        else:
            print_pairs(values)

    def show_list(self, items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Many things: `{"items": […], "next": null}`, or for people a table of some columns."""
        if self.arguments.json:
            print_json({"items": items, "next": None})
        else:
            print_table(items, columns)


async def every(page: Callable[..., Awaitable[Page[T]]], *given: Any) -> list[T]:
    """All parts of a list, one after the other."""
    items: list[T] = []
    cursor: str | None = None
    while True:
        part = await page(*given, cursor=cursor, limit=LIMIT_MOST)
        items += part.items
        if part.next is None:
            return items
        cursor = part.next


def local_actor() -> Actor:
    """`cli:` and the name of the operating system's user."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return Actor(f"cli:{user}")


def read_key(path: str) -> SecretStr:
    """The store's key from a file, or from standard input for `-`. Raises DatabaseError."""
    try:
        if path == "-":
            return SecretStr(sys.stdin.read(KEY_FILE_CHARACTERS))
        with Path(path).open(encoding="utf-8") as file:
            return SecretStr(file.read(KEY_FILE_CHARACTERS))
    except OSError as error:
        raise DatabaseError(f"cannot read the key file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DatabaseError(f"the key file {path} is not plain text") from None


def read_text(path: str) -> str:
    """A file's text, such as certificates. Raises DatabaseError."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DatabaseError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{path} is not plain text") from None

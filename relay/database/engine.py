"""One database, SQLite or PostgreSQL, behind one set of statements: how it is opened, read and written.

On either, one transaction writes at a time (`BEGIN IMMEDIATE`; an advisory lock), so that what a function has read it
may rely on, and `changes` become visible in the order of their numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from relay.database.errors import Conflict, DatabaseUnavailable, DatabaseUnusable
from relay.database.files import prepare_database_file
from relay.database.migrate import migrate_to_head
from relay.database.secrets import KeyFile

TRANSACTION_SECONDS = 10.0
"""Deadline of any transaction, waiting for its turn included."""
BUSY_SECONDS = 5
"""How long a writer waits for one in another process, or for a lock."""
SWITCH_SECONDS = 0.01
"""Between two tries to have a new file journal ahead, which takes milliseconds."""
CONNECT_SECONDS = 5
POOL = 8
"""Connections to the database per process; the hot path holds none."""
WRITER_LOCK = 0x706F737465726E
"""PostgreSQL's advisory lock that every writing transaction takes: `postern` in ASCII."""

_WRITING = "postern_writing"
_PLAIN = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class Database:
    """Transactions on one database, the clock they are dated by, and the keys that seal its secrets."""

    def __init__(self, engine: AsyncEngine, *, keys: KeyFile | None, clock: Callable[[], float]) -> None:
        self.engine = engine
        self._keys = keys
        self._clock = clock
        self._writer = asyncio.Lock()

    @property
    def keys(self) -> KeyFile:
        if self._keys is None:
            raise DatabaseUnusable("this needs the master keys, and none were given")
        return self._keys

    @property
    def file(self) -> Path | None:
        """SQLite's file; None on PostgreSQL."""
        return sqlite_file(self.engine.url)

    @property
    def description(self) -> str:
        """Where the data lies, without a password."""
        return (
            f"SQLite {self.file}"
            if self.file
            else f"PostgreSQL {self.engine.url.host or ''}/{self.engine.url.database}"
        )

    def now(self) -> int:
        return int(self._clock())

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that sees one state. Raises DatabaseUnavailable."""
        async with _translated(), asyncio.timeout(TRANSACTION_SECONDS), AsyncSession(self.engine) as session:
            yield session

    @contextlib.asynccontextmanager
    async def writing(self, *, seconds: float = TRANSACTION_SECONDS) -> AsyncIterator[AsyncSession]:
        """A transaction that is alone in writing; committed at the end of the block, rolled back by an exception.

        Raises DatabaseUnavailable, and Conflict `conflict` where a constraint refuses.
        """
        async with (
            _translated(),
            asyncio.timeout(seconds),
            self._writer,
            AsyncSession(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            await session.connection(execution_options={_WRITING: True})
            yield session

    async def close(self) -> None:
        await self.engine.dispose()


async def open_database(
    address: str | Path,
    *,
    keys: KeyFile | None = None,
    migrate: bool = True,
    clock: Callable[[], float] = time.time,
) -> Database:
    """Open a SQLite file (or `sqlite:////path`) or `postgresql://user:password@host/name`, its tables up to date.

    Raises DatabaseUnusable (the address or the file is wrong) and DatabaseUnavailable (it does not answer).
    """
    database = Database(_create_engine(parse_url(address)), keys=keys, clock=clock)
    if migrate:
        try:
            await migrate_to_head(database)
        except DatabaseUnusable as error:
            await database.close()
            raise DatabaseUnusable(f"{error} ({database.description})") from error
        except BaseException:
            await database.close()
            raise
    return database


def parse_url(address: str | Path) -> URL:
    """Complete the address with the driver, and with TLS for a PostgreSQL elsewhere. Raises DatabaseUnusable."""
    if isinstance(address, Path):
        return URL.create("sqlite+aiosqlite", database=str(address))
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise DatabaseUnusable(
            "the database's address should read like sqlite:////var/lib/postern/relay.db or postgresql://user@host/name"
        ) from None
    backend = url.drivername.partition("+")[0]
    if backend not in _PLAIN:
        raise DatabaseUnusable(f"a database is sqlite or postgresql, not {backend[:40]!r}")
    url = url.set(drivername=_PLAIN[backend])
    if backend == "sqlite":
        if sqlite_file(url) is None:
            raise DatabaseUnusable("SQLite needs a file: sqlite:////var/lib/postern/relay.db")
        return url
    if "sslmode" not in url.query and not _is_local(url.host or str(url.query.get("host", ""))):
        # libpq would fall back to plain text by itself (`prefer`); whoever wants that has to write it
        url = url.update_query_dict({"sslmode": "require"})
    return url


def sqlite_file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return None
    return Path(str(url.database)).absolute()


def _create_engine(url: URL) -> AsyncEngine:
    common: dict[str, Any] = {"pool_size": POOL, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}
    file = sqlite_file(url)
    if file is not None:
        prepare_database_file(file)
        engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS}, **common)
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    milliseconds = BUSY_SECONDS * 1000
    connect = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": milliseconds,
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
        f"-c idle_in_transaction_session_timeout={int(TRANSACTION_SECONDS * 1000)}",
    }
    engine = create_async_engine(url, connect_args=connect, pool_pre_ping=True, **common)
    event.listen(engine.sync_engine, "begin", _begin_postgresql)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite, not by the driver
    connection.run_async(_journal_ahead)
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


async def _journal_ahead(connection: aiosqlite.Connection) -> None:
    """Have the file journal ahead (WAL).

    Where two processes ask a new file for this together SQLite refuses one at once, whatever its busy timeout.
    """
    async with asyncio.timeout(BUSY_SECONDS):
        while True:
            try:
                await connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                await asyncio.sleep(SWITCH_SECONDS)
            else:
                return


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITING):
        connection.execute(text(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})"))
    else:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict("conflict", "this contradicts what the database holds: look again and repeat it") from error
    except (OperationalError, InterfaceError, PoolTimeoutError, TimeoutError, OSError) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if error.connection_invalidated or _beyond_repair(error):
            raise _unavailable(error) from error
        raise


def _unavailable(error: Exception) -> DatabaseUnavailable | DatabaseUnusable:
    cause = str(error.orig) if isinstance(error, DBAPIError) else "no answer in time"
    first = cause.strip().splitlines()[0][:200] if cause.strip() else type(error).__name__
    if _beyond_repair(error):
        return DatabaseUnusable(f"the database cannot be used: {first}")
    return DatabaseUnavailable(f"the database does not answer: {first}")


def _beyond_repair(error: Exception) -> bool:
    """SQLite's ways to say that the file itself is the trouble."""
    cause = str(error.orig) if isinstance(error, DBAPIError) else ""
    return any(words in cause for words in ("readonly database", "not a database", "malformed"))


def _is_local(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False

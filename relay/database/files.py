"""The files beside the database: which rights directories and secrets need, and the lock that one `serve` holds."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.database.errors import Conflict, DatabaseUnusable

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def make_private_directory(path: Path, *, refused: int = 0o077) -> None:
    """Make the directory with mode 0700, or check that an existing one grants none of the `refused` rights.

    Raises DatabaseUnusable with the command that mends it.
    """
    try:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        for made in reversed(missing):
            _give(made, made.parent)
        status = path.stat()
    except OSError as error:
        raise DatabaseUnusable(f"cannot make the directory {path}: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise DatabaseUnusable(f"{path} is not a directory")
    if status.st_mode & refused:
        raise DatabaseUnusable(
            f"the directory {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): run chmod 700 {path}"
        )


def make_state_directory(path: Path) -> None:
    """As `make_private_directory`; others may look into an existing one (its files are 0600), but not write."""
    make_private_directory(path, refused=0o022)
    if not os.access(path, os.W_OK | os.X_OK):
        raise DatabaseUnusable(f"the directory {path} cannot be written by {_user()}")


def prepare_database_file(path: Path) -> None:
    """Make the file (0600; SQLite gives its journals the same rights), or check that it can be written."""
    make_state_directory(path.parent)
    try:
        os.close(_open_or_make(path))
    except OSError as error:
        raise DatabaseUnusable(f"cannot write the database {path}: {error.strerror}") from error


@contextmanager
def serving(database: Path | None) -> Iterator[None]:
    """Hold the right to serve from a SQLite file; None (PostgreSQL) holds nothing.

    The lock ends with the process, however it ends. Raises Conflict `already_serving`.
    """
    if database is None:
        yield
        return
    make_state_directory(database.parent)
    path = database.with_name(database.name + ".serving")
    try:
        handle = _open_or_make(path)
    except OSError as error:
        raise DatabaseUnusable(f"cannot write {path}: {error.strerror}") from error
    try:
        _lock(handle, database)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, database: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            "already_serving",
            f"another relay serves from {database}: stop it first, or use PostgreSQL to run several nodes",
        ) from None


def read_secret_file(path: Path, *, credential: bool) -> str:
    """Read a file that only its owner may: 0600 or 0400; a systemd credential may also be 0440.

    Raises DatabaseUnusable with what to do.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(handle, encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            refused = 0o037 if credential else 0o077
            if mode & refused:
                raise DatabaseUnusable(f"the key file {path} is open to others (mode {mode:04o}): run chmod 600 {path}")
            return file.read(MASTER_FILE_CHARACTERS)
    except OSError as error:
        raise DatabaseUnusable(f"cannot read the key file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DatabaseUnusable(f"the key file {path} is not plain text") from None


MASTER_FILE_CHARACTERS = 64 * 1024
"""Hundreds of keys: more than any rotation leaves behind."""


def write_secret_file(path: Path, text: str) -> None:
    """Replace the file in one stroke (0600): a reader, or a crash, sees the old one or the new one, whole."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            _give(handle, path.parent)
            os.fsync(handle)
        beside.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DatabaseUnusable(f"cannot write the key file {path}: {error.strerror}") from error


def _open_or_make(path: Path) -> int:
    """A link that leads to nothing makes nothing: root must not be made to make files elsewhere."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    _give(handle, path.parent)
    return handle


def _give(made: int | Path, directory: Path) -> None:
    """What root makes in a service's directory is the service's: a command of root's must not shut it out."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=isinstance(made, int))


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _user() -> str:
    return f"uid {os.getuid()}"

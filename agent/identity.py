"""Who this installation is: a key pair made on this machine, and what its enrolment left, in the state directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.failure import AgentError, ConfigurationError
from agent.wire.enrolment import Endpoint, instance_id

KEY, MEMORY, LOCK = "instance_key", "enrolment.json", "lock"
FILE_BYTES = 256 * 1024
"""Far more than any of these files holds."""

log = structlog.get_logger()


class Memory(BaseModel):
    """What an enrolment leaves behind, so that later ones need no token: with whom, and whose host keys to believe."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    relay: str
    agent_id: str
    agent_name: str
    token_id: str | None
    host_cas: tuple[str, ...]
    endpoints: tuple[Endpoint, ...] = ()


class Identity:
    """The instance's key and memory in a directory that belongs to it alone."""

    def __init__(self, directory: Path, key: Ed25519PrivateKey, memory: Memory | None, lock: int) -> None:
        self.directory = directory
        self.key = key
        self.memory = memory
        self._lock: int | None = lock

    @classmethod
    def open(cls, directory: Path) -> Identity:
        """Make what is missing, read what is there, and hold the directory for this process until `unlock`.

        Raises ConfigurationError where that is not safe or not possible, AgentError if another process holds it.
        """
        directory = directory.absolute()
        try:
            _make_private(directory)
            lock = _take_lock(directory)
            _sweep(directory)
            key = _load_or_make_key(directory / KEY)
        except OSError as error:
            raise _cannot_use(directory, error) from None
        return cls(directory, key, read_memory(directory), lock)

    @property
    def public_key(self) -> str:
        """The OpenSSH line."""
        return self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    @property
    def private_key(self) -> bytes:
        """The OpenSSH private key file, for the SSH library."""
        return _openssh(self.key)

    @property
    def instance_id(self) -> str:
        return instance_id(self.public_key)

    def remember(self, memory: Memory) -> None:
        """Keep what the last enrolment said. A full disk is logged, not fatal: the key is what matters."""
        if memory == self.memory:
            return
        self.memory = memory
        try:
            _write(self.directory / MEMORY, memory.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            log.error("the enrolment could not be saved", directory=str(self.directory), error=error.strerror)

    def unlock(self) -> None:
        """Let a successor begin while this process still finishes what it has."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_memory(directory: Path) -> Memory | None:
    """What the last enrolment left; None before the first, or if it is damaged (the token is then shown again)."""
    try:
        return Memory.model_validate_json(_read(directory / MEMORY))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        log.warning("the saved enrolment is damaged; enrolling again", file=str(directory / MEMORY))
        return None


def check_directory(directory: Path) -> None:
    """Whether `directory` may hold a key: ours, a directory, nobody else may write there. Raises ConfigurationError."""
    about = directory.stat()
    if not stat.S_ISDIR(about.st_mode):
        raise ConfigurationError(
            f"the state directory {directory} is not a directory: choose another with --state-dir."
        )
    mode, ours = f"{about.st_mode & 0o777:04o}", os.geteuid()
    if about.st_uid != ours:
        raise ConfigurationError(
            f"the state directory {directory} belongs to user {about.st_uid}, and the agent runs as user {ours}: "
            f"run it as that user, or chown {ours} {directory}."
        )
    if about.st_mode & 0o022:
        raise ConfigurationError(
            f"others may write in the state directory {directory} (mode {mode}): chmod 700 {directory}."
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"the agent may not write in its state directory {directory}: chmod 700 {directory}.")


def _make_private(directory: Path) -> None:
    with contextlib.suppress(FileExistsError):
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
    check_directory(directory)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def _take_lock(directory: Path) -> int:
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise AgentError(
            f"another postern-agent runs with {directory}: stop it, or give this one its own --state-dir."
        ) from None
    return handle


def _load_or_make_key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            _write(path, _openssh(Ed25519PrivateKey.generate()), only_new=True)
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise ConfigurationError(
            f"the instance's key {path} may be read or changed by others (mode {about.st_mode & 0o777:04o}): "
            f"chmod 600 {path}, or delete it and enrol again with a new token."
        )
    try:
        key = load_ssh_private_key(_read(path), None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"the instance's key {path} is damaged: delete it and enrol again with a new token.")
    return key


def _openssh(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
        return file.read(FILE_BYTES)


def _write(path: Path, content: bytes, *, only_new: bool = False) -> None:
    """Put a whole file in place or none (0600); with `only_new`, FileExistsError if there is one already."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - pathlib opens no descriptors
            file.write(content)
            file.flush()
            os.fsync(handle)
        if only_new:
            os.link(fresh, path)
        else:
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(directory: Path) -> None:
    """Remove what a process that died while writing left behind."""
    for left in directory.glob(".*.new"):
        left.unlink(missing_ok=True)


def _cannot_use(directory: Path, error: OSError) -> AgentError:
    sentence = f"the state directory {directory} cannot be used: {error.strerror}."
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
        return ConfigurationError(f"{sentence} Give the agent's user a directory of its own with --state-dir.")
    return AgentError(sentence)

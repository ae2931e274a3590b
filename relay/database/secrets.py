"""Master keys, and how secrets are sealed with them: the only module that decrypts.

A sealed secret reads `v1.<key id>.<nonce>.<ciphertext>` (base64url without padding): AES-256-GCM with a fresh random
nonce of 12 bytes. The place where it lies is authenticated with it, so it opens nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretBytes

from agent.wire.token import base32
from relay.database.errors import Conflict, DatabaseError, DatabaseUnusable
from relay.database.files import make_private_directory, read_secret_file, write_secret_file

VERSION = "v1"
NONCE_BYTES = 12
KEY_BYTES = 32
KEY_ID_BYTES = 5
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")


class UnknownMasterKey(DatabaseError):  # noqa: N818 - named like its neighbours in errors.py
    """Sealed with a master key that is not in the key file."""

    code = "unknown_master_key"

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"a secret is sealed with the master key {key_id!r}, which is not in the key file: put it back, or, if it "
            "is lost for good, run postern-relay keys replace-lost"
        )


class DoesNotOpen(DatabaseError):  # noqa: N818
    """Not sealed for this place, altered, or not a sealed secret at all."""

    code = "does_not_open"

    def __init__(self, place: Place) -> None:
        super().__init__(
            f"the secret {place.table}.{place.column} of {place.row} does not open: it was altered or moved"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed secret lies, and what it is bound to besides, such as the account and the store."""

    table: str
    row: str
    column: str
    bound: tuple[str, ...] = ()

    def additional_data(self, key_id: str) -> bytes:
        return json.dumps([VERSION, self.table, self.row, self.column, key_id, *self.bound]).encode()


@dataclass(frozen=True, slots=True)
class MasterKey:
    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> MasterKey:
        return cls(base32(secrets.token_bytes(KEY_ID_BYTES)), secrets.token_bytes(KEY_BYTES))

    @property
    def line(self) -> str:
        return f"{self.id} {base64.b64encode(self.secret).decode()}\n"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master keys as read from a file; the first is the current one, with which everything new is sealed."""

    keys: tuple[MasterKey, ...]

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read lines of `key-id base64`. Raises ValueError, naming the line and never its content."""
        keys = tuple(_parse_line(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
        if not keys:
            raise ValueError("it holds no key")
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two of its lines have the same key id")
        return cls(keys)

    @property
    def current(self) -> MasterKey:
        return self.keys[0]

    def seal(self, secret: bytes, place: Place) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = self.current
        ciphertext = AESGCM(key.secret).encrypt(nonce, secret, place.additional_data(key.id))
        return ".".join((VERSION, key.id, _encode(nonce), _encode(ciphertext)))

    def open(self, sealed: str, place: Place) -> SecretBytes:
        """Raises UnknownMasterKey, DoesNotOpen."""
        try:
            version, key_id, nonce, ciphertext = sealed.split(".")
            raw_nonce, raw_ciphertext = _decode(nonce), _decode(ciphertext)
        except ValueError:
            raise DoesNotOpen(place) from None
        if version != VERSION or len(raw_nonce) != NONCE_BYTES:
            raise DoesNotOpen(place)
        key = next((key for key in self.keys if key.id == key_id), None)
        if key is None:
            raise UnknownMasterKey(key_id)
        try:
            return SecretBytes(AESGCM(key.secret).decrypt(raw_nonce, raw_ciphertext, place.additional_data(key_id)))
        except InvalidTag:
            raise DoesNotOpen(place) from None


class KeyFile:
    """The file of master keys, read when first needed, again when a secret names a key that it did not hold, and again
    before sealing if another process has changed it.

    `credential` says that somebody else provides the file (systemd, `MASTER_KEY_FILE`): it is never made here.
    Every method raises DatabaseUnusable for a file that is missing, malformed or open to others.
    """

    def __init__(self, path: Path, *, credential: bool = False) -> None:
        self.path = path
        self.credential = credential
        self._keyring: Keyring | None = None
        self._version: tuple[int, int] | None = None

    @property
    def keyring(self) -> Keyring:
        """As the file reads now."""
        version = self._version_now()
        if self._keyring is None or version != self._version:
            self._keyring, self._version = self.read(), version
        return self._keyring

    @property
    def readable(self) -> bool:
        """Whether the file is there as it should be; what was read before serves on without it."""
        try:
            return bool(self.keyring)
        except DatabaseUnusable:
            return False

    def seal(self, secret: bytes, place: Place) -> str:
        return self.keyring.seal(secret, place)

    def open(self, sealed: str, place: Place) -> SecretBytes:
        """Raises UnknownMasterKey, DoesNotOpen."""
        try:
            return (self._keyring or self.keyring).open(sealed, place)
        except UnknownMasterKey:
            self._keyring = None
            return self.keyring.open(sealed, place)

    def read(self) -> Keyring:
        text = read_secret_file(self.path, credential=self.credential)
        try:
            return Keyring.parse(text)
        except ValueError as error:
            raise DatabaseUnusable(f"the key file {self.path} is damaged: {error}") from None

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> None:
        """Make the file with one new key; leave one that is there alone."""
        if self.credential:
            if not self.exists:
                raise DatabaseUnusable(f"the key file {self.path} does not exist")
            return
        make_private_directory(self.path.parent)
        with self._locked():
            if not self.exists:
                write_secret_file(self.path, MasterKey.generate().line)

    def add_key(self) -> MasterKey:
        """Put a new key on the first line, the older ones below it. Raises Conflict for a file that is not ours."""
        if self.credential:
            raise Conflict(
                "keys_elsewhere",
                f"the master keys come from {self.path}: put a new first line `key-id base64` there (32 random bytes), "
                "restart what reads it, and run this again",
            )
        with self._locked():
            key = MasterKey.generate()
            older = self.read().keys
            write_secret_file(self.path, "".join(each.line for each in (key, *older)))
            self._keyring = None
        return key

    def _version_now(self) -> tuple[int, int] | None:
        """Another one for each state of the file, None without one."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes the file."""
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def sealed_with(sealed: str) -> str:
    """The id of the master key that a sealed secret names; empty for what is none."""
    parts = sealed.split(".")
    return parts[1] if len(parts) == 4 else ""


def _parse_line(number: int, line: str) -> MasterKey:
    key_id, _, encoded = line.strip().partition(" ")
    try:
        secret = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if not _KEY_ID.match(key_id) or len(secret) != KEY_BYTES:
        raise ValueError(f"line {number} is not a key id and 32 bytes in base64")
    return MasterKey(key_id, secret)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise ValueError("not the one spelling")
    return raw

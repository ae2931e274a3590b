"""API tokens and access keys: how they are made, recognised, and turned into what is kept of them.

Both hold far more than 112 random bits, so that a plain SHA-256 is enough to keep (OWASP ASVS 5.0, 6.5.2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import string
import zlib

from pydantic import SecretStr

from agent.wire.token import base32

API_TOKEN_PREFIX = "ptk_"  # noqa: S105 - a prefix, not a secret
SECRET_BYTES = 32
CHECKSUM_BYTES = 4
ACCESS_KEY_CHARACTERS = 32
"""What stock PrestaShop clients expect of a key: 32 characters, A-Z and 0-9 (165 bits)."""
_ALPHABET = string.ascii_uppercase + string.digits
_ACCESS_KEY = re.compile(rf"[A-Z0-9]{{{ACCESS_KEY_CHARACTERS}}}\Z")
_API_TOKEN = re.compile(r"[a-z2-7]{58}\Z")


def new_api_token() -> SecretStr:
    secret = secrets.token_bytes(SECRET_BYTES)
    return SecretStr(API_TOKEN_PREFIX + base32(secret + _checksum(secret)))


def new_access_key() -> SecretStr:
    return SecretStr("".join(secrets.choice(_ALPHABET) for _ in range(ACCESS_KEY_CHARACTERS)))


def api_token_digest(text: str) -> str | None:
    """The SHA-256 (hex) by which a token is looked up; None for a text that is none, or a mistyped one."""
    body = text.removeprefix(API_TOKEN_PREFIX)
    if not text.startswith(API_TOKEN_PREFIX) or not _API_TOKEN.match(body):
        return None
    try:
        raw = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except binascii.Error:
        return None
    secret, checksum = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
    whole = _checksum(secret) == checksum and base32(raw) == body  # the last character has bits to spare
    return digest(text) if whole else None


def access_key_digest(text: str) -> str | None:
    """The SHA-256 (hex) of a text that has the form of an access key, else None."""
    return digest(text) if _ACCESS_KEY.match(text) else None


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(raw: bytes) -> bytes:
    return zlib.crc32(raw).to_bytes(CHECKSUM_BYTES, "big")

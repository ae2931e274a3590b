"""The access token: what it is made of, how it is written, and how a mistyped one is recognised."""

from __future__ import annotations

import base64
import secrets
import zlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PREFIX = "postern_"
ID_BYTES = 10
SECRET_BYTES = 32
FINGERPRINT_BYTES = 16
CHECKSUM_BYTES = 4


class TokenMistypedError(ValueError):
    """The text is not an access token, or not a whole one."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Lets one agent enrol. Its secret is the seed of an Ed25519 key, used to sign; the token itself is never sent.

    `id` is `atk_` and 16 characters; `ca_fingerprint` the first 16 bytes of SHA-256 over the relay's host CA key
    (SSH wire form), so that nobody else's relay is believed.
    """

    id: str
    ca_fingerprint: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, ca_fingerprint: bytes) -> AccessToken:
        return cls(new_id("atk"), ca_fingerprint, secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> AccessToken:
        """Read a token as `reveal` wrote it; blanks around it are ignored. Raises TokenMistypedError."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise TokenMistypedError(f"an access token begins with {PREFIX!r}")
        try:
            raw = _unbase32(text.removeprefix(PREFIX))
        except ValueError:
            raise TokenMistypedError("the access token has characters that do not belong in one") from None
        body, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
        if len(body) != ID_BYTES + SECRET_BYTES + FINGERPRINT_BYTES:
            raise TokenMistypedError("the access token is not complete: copy it again, whole")
        if _checksum(body) != checksum:
            raise TokenMistypedError("the access token is mistyped: its checksum does not fit")
        secret_end = ID_BYTES + SECRET_BYTES
        return cls("atk_" + base32(body[:ID_BYTES]), body[secret_end:], body[ID_BYTES:secret_end])

    def reveal(self) -> str:
        """The token as text, for the one time that it is shown."""
        body = _unbase32(self.id.removeprefix("atk_")) + self.secret + self.ca_fingerprint
        return PREFIX + base32(body + _checksum(body))

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def public_key(self) -> bytes:
        """The raw 32 bytes that a relay keeps in place of the token."""
        return self.signing_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def new_id(prefix: str) -> str:
    """A random id of 80 bits, such as `agt_k3v7…`: prefix, underscore, 16 characters `a-z2-7`."""
    return f"{prefix}_{base32(secrets.token_bytes(ID_BYTES))}"


def base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def _unbase32(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def _checksum(raw: bytes) -> bytes:
    return zlib.crc32(raw).to_bytes(CHECKSUM_BYTES, "big")

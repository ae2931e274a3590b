"""The enrolment: the messages, and what exactly is signed.

`POST {relay}/v1/agent/enrolment`, body: an EnrolmentRequest as JSON. The headers carry the signatures:

    Postern-Time: 1793000000              unix seconds of the agent's clock
    Postern-Nonce: 32 hex digits          never used twice
    Postern-Instance-Signature: base64    always: by the instance's own key, made on the machine
    Postern-Token: atk_…                  only when enrolling with a token (not when renewing)
    Postern-Token-Signature: base64       the same bytes signed by the token's key; the token itself is not sent

Answer: 200 and an EnrolmentAnswer, or a problem (RFC 9457) whose `code` is an EnrolmentRefusal.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from agent.wire.limits import STORES_PER_TUNNEL
from agent.wire.loopback import is_loopback
from agent.wire.token import AccessToken, base32

PATH = "/v1/agent/enrolment"
TIME, NONCE = "Postern-Time", "Postern-Nonce"
INSTANCE_SIGNATURE, TOKEN, TOKEN_SIGNATURE = "Postern-Instance-Signature", "Postern-Token", "Postern-Token-Signature"

_PRINTABLE = re.compile(r"[\x21-\x7e]*")
Line = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EnrolmentRequest(_Message):
    """What an instance says of itself. `stores` are published origins such as `http://shop.lan`."""

    public_key: Annotated[str, StringConstraints(max_length=400, pattern=r"^ssh-ed25519 [A-Za-z0-9+/=]+")]
    host_name: Line
    version: Line
    stores: Annotated[list[Line], Field(max_length=STORES_PER_TUNNEL)]
    visit: bool = False
    """Whether an enrolled instance only looks whether it is let in: what the relay keeps of it stays as it is."""


class Endpoint(_Message):
    """Where to dial: `tcp` to host and port, or `websocket` to a `wss://` URL of the same node."""

    transport: Literal["tcp", "websocket"]
    node: Line
    host: Line
    port: Annotated[int, Field(ge=1, le=65535)]
    url: Line | None = None


class HostCa(_Message):
    """A key that signs the relay's host keys.

    One other than the pinned one is believed only with `succession`: the pinned key's Ed25519 signature (base64)
    over `succession_bytes(public_key)`.
    """

    public_key: Line
    succession: Line | None = None


class EnrolmentAnswer(_Message):
    """What an instance needs to dial. Durations are seconds from this answer on, to be timed monotonically."""

    agent_id: Line
    agent_name: Line
    instance_id: Line
    certificate: Annotated[str, StringConstraints(max_length=4096)]
    certificate_seconds: Annotated[float, Field(gt=0)]
    renew_seconds: Annotated[float, Field(gt=0)]
    host_cas: Annotated[list[HostCa], Field(min_length=1, max_length=8)]
    host_principal: Line
    endpoints: Annotated[list[Endpoint], Field(min_length=1, max_length=32)]
    tunnels: Annotated[int, Field(ge=1, le=8)]
    ticket: SecretStr
    server_time: int


def instance_id(public_key: str) -> str:
    """An instance is its key: `ins_` and 80 bits of SHA-256 over the raw Ed25519 key. Raises ValueError."""
    return "ins_" + base32(hashlib.sha256(raw_key(public_key)).digest()[:10])


def raw_key(public_key: str) -> bytes:
    """The 32 bytes of an OpenSSH `ssh-ed25519 …` line. Raises ValueError."""
    try:
        key = load_ssh_public_key(public_key.encode())
    except UnsupportedAlgorithm:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 - callers handle one kind of bad text
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def ca_fingerprint(public_key: str) -> bytes:
    """The 128 bits of a host CA that a token carries: SHA-256 over the key blob of its OpenSSH line."""
    return hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()[:16]


def succession_bytes(public_key: str) -> bytes:
    """What the old host CA signs to introduce a new one."""
    return b"postern-host-ca-v1\n" + b" ".join(public_key.encode().split()[:2])


def relay_url(text: str) -> str:
    """The one spelling of a relay's address: lower-case host, no default port, no final slash. Raises ValueError.

    Plain `http://` is taken for loopback addresses only.
    """
    text = text.strip()
    if "@" in text:
        raise ValueError("a relay's address has no user name or password in it")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("a relay's address has no blanks or other special characters in it")
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        raise ValueError(f"{text[:80]!r} should read like https://relay.example.com")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueError("plain http:// is taken only for loopback addresses: use https://")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    default = url.port is None or url.port == {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host}{'' if default else f':{url.port}'}{url.path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An enrolment as it travels: the body's bytes and the headers that vouch for them."""

    body: bytes
    time: int
    nonce: str
    instance_signature: bytes
    token_id: str | None = None
    token_signature: bytes | None = None

    @classmethod
    def sign(
        cls, request: EnrolmentRequest, *, relay: str, time: int, key: Ed25519PrivateKey, token: AccessToken | None
    ) -> Self:
        body = request.model_dump_json().encode()
        nonce = secrets.token_hex(16)
        message = signed_bytes(relay, time, nonce, body)
        by_token = token.signing_key.sign(message) if token else None
        return cls(body, time, nonce, key.sign(message), token.id if token else None, by_token)

    @property
    def headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            TIME: str(self.time),
            NONCE: self.nonce,
            INSTANCE_SIGNATURE: base64.b64encode(self.instance_signature).decode(),
        }
        if self.token_id and self.token_signature:
            headers |= {TOKEN: self.token_id, TOKEN_SIGNATURE: base64.b64encode(self.token_signature).decode()}
        return headers


def signed_bytes(relay: str, time: int, nonce: str, body: bytes) -> bytes:
    """The bytes that both signatures cover."""
    digest = hashlib.sha256(body).hexdigest()
    return f"postern-enrolment-v1\n{relay}\n{time}\n{nonce}\n{digest}".encode()


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the raw Ed25519 key made the signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True

"""What somebody may write into the connection form, and what of it is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from relay.database.errors import Invalid
from relay.database.names import checked_name
from relay.database.records import ConnectionRecord
from relay.database.store_url import parse_store_url
from relay.records import KeyPlace, Mode, StoreUrl, Trust

STORE_KEY_CHARACTERS = 32
"""PrestaShop refuses any other length with error 18 (*Invalid authentication key format*)."""
CONCURRENCY = 64
CONCURRENCY_MOST = 1024
ANSWER_TIMEOUT = 300
"""Seconds. PrestaShop sends no byte before its whole answer is made, and a large export takes minutes."""
ANSWER_TIMEOUT_MOST = 900
CA_CHARACTERS = 64 * 1024
_PIN = re.compile(r"[0-9a-f]{64}\Z")

T = TypeVar("T")


class Unchanged(Enum):
    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class ConnectionForm:
    name: str
    mode: Mode
    store_url: str
    api_key: SecretStr = field(repr=False)
    agent: str | None = None
    """The id of an agent: needed for `on-premise`, refused for `cloud`."""
    key_place: KeyPlace = KeyPlace.BASIC
    trust: Trust = field(default_factory=Trust)
    concurrency: int = CONCURRENCY
    answer_timeout: int = ANSWER_TIMEOUT
    """Seconds without a byte from the store."""


@dataclass(frozen=True, kw_only=True)
class ConnectionPatch:
    """What is to change; `agent=None` takes the agent away (as `cloud` demands)."""

    name: str | Literal[Unchanged.UNCHANGED] = UNCHANGED
    mode: Mode | Literal[Unchanged.UNCHANGED] = UNCHANGED
    agent: str | Literal[Unchanged.UNCHANGED] | None = UNCHANGED
    store_url: str | Literal[Unchanged.UNCHANGED] = UNCHANGED
    api_key: SecretStr | Literal[Unchanged.UNCHANGED] = field(default=UNCHANGED, repr=False)
    key_place: KeyPlace | Literal[Unchanged.UNCHANGED] = UNCHANGED
    trust: Trust | Literal[Unchanged.UNCHANGED] = UNCHANGED
    concurrency: int | Literal[Unchanged.UNCHANGED] = UNCHANGED
    answer_timeout: int | Literal[Unchanged.UNCHANGED] = UNCHANGED


@dataclass(frozen=True, slots=True)
class Checked:
    """A form whose every field can be taken as it stands."""

    name: str
    mode: Mode
    agent: str | None
    store: StoreUrl
    api_key: SecretStr = field(repr=False)
    key_place: KeyPlace
    trust: Trust
    concurrency: int
    answer_timeout: int


def checked(form: ConnectionForm, *, key_optional: bool = False) -> Checked:
    """Raises Invalid, naming the field. With `key_optional` the key is not looked at."""
    if form.mode is Mode.ON_PREMISE and not form.agent:
        raise Invalid("agent", "an on-premise connection needs an agent")
    if form.mode is Mode.CLOUD and form.agent:
        raise Invalid("agent", "a cloud connection has no agent: leave it out, or choose on-premise")
    if not 1 <= form.concurrency <= CONCURRENCY_MOST:
        raise Invalid("concurrency", f"between 1 and {CONCURRENCY_MOST} requests at once")
    if not 1 <= form.answer_timeout <= ANSWER_TIMEOUT_MOST:
        raise Invalid("answer_timeout", f"between 1 and {ANSWER_TIMEOUT_MOST} seconds")
    return Checked(
        name=checked_name(form.name),
        mode=form.mode,
        agent=form.agent or None,
        store=parse_store_url(form.store_url),
        api_key=form.api_key if key_optional else checked_store_key(form.api_key),
        key_place=form.key_place,
        trust=_checked_trust(form.trust),
        concurrency=form.concurrency,
        answer_timeout=form.answer_timeout,
    )


def merged(patch: ConnectionPatch, record: ConnectionRecord) -> ConnectionForm:
    """The form as it would read after the patch; an unchanged key stands in it as an empty one."""
    return ConnectionForm(
        name=_or(patch.name, record.name),
        mode=_or(patch.mode, record.mode),
        agent=_or(patch.agent, record.agent),
        store_url=_or(patch.store_url, record.store_url),
        api_key=_or(patch.api_key, SecretStr("")),
        key_place=_or(patch.key_place, record.key_place),
        trust=_or(patch.trust, record.trust),
        concurrency=_or(patch.concurrency, record.concurrency),
        answer_timeout=_or(patch.answer_timeout, record.answer_timeout),
    )


def checked_store_key(key: SecretStr) -> SecretStr:
    """The webservice key without blanks around it. Raises Invalid `api_key`, which never shows the key."""
    text = key.get_secret_value().strip()
    if len(text) != STORE_KEY_CHARACTERS:
        raise Invalid(
            "api_key",
            f"a PrestaShop webservice key has exactly {STORE_KEY_CHARACTERS} characters, this has {len(text)}: "
            "copy it again, whole (Advanced Parameters → Webservice)",
        )
    if not (text.isascii() and text.isalnum()):
        raise Invalid("api_key", "a PrestaShop webservice key has only letters and digits: copy it again")
    return SecretStr(text)


def _checked_trust(trust: Trust) -> Trust:
    pin = trust.pinned_spki_sha256
    if pin is not None:
        pin = pin.replace(":", "").lower()
        if not _PIN.match(pin):
            raise Invalid("pinned_spki_sha256", "a pinned key is 64 hexadecimal digits")
    return Trust(None if trust.ca_pem is None else _checked_certificates(trust.ca_pem), pin)


def _checked_certificates(pem: str) -> str:
    """Only the certificates of the text: no comment, and no private key that was pasted along."""
    try:
        certificates = x509.load_pem_x509_certificates(pem[:CA_CHARACTERS].encode())
    except ValueError:
        raise Invalid("ca_pem", "this should be certificates in PEM form (-----BEGIN CERTIFICATE-----)") from None
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def _or(value: T | Literal[Unchanged.UNCHANGED], otherwise: T) -> T:
    return otherwise if value is UNCHANGED else value

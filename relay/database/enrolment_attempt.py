"""An enrolment as it came over the wire: its form checked, and whose signatures it bears."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from agent.wire.enrolment import EnrolmentRequest, instance_id, raw_key, relay_url, signed_bytes, verify
from agent.wire.refusal import EnrolmentRefusal
from relay.database.errors import EnrolmentRefused

ALSO_KNOWN_AS = 4
"""Other addresses that are tried: each costs a verification."""
SIGNATURE_BYTES = 64
_TIME = re.compile(r"[0-9]{1,12}\Z")
_NONCE = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class EnrolmentAttempt:
    """An enrolment as it came, its form checked, nothing of it believed yet."""

    body: bytes
    request: EnrolmentRequest
    instance: str
    """The id that follows from the request's public key."""
    time: int
    nonce: str
    instance_signature: bytes
    token_id: str | None
    token_signature: bytes | None

    @classmethod
    def of(
        cls,
        *,
        body: bytes,
        time: str,
        nonce: str,
        instance_signature: str,
        token_id: str | None,
        token_signature: str | None,
    ) -> EnrolmentAttempt:
        """Read the headers' texts and the body strictly. Raises EnrolmentRefused `request_invalid`."""
        if not _TIME.match(time) or not _NONCE.match(nonce):
            raise _invalid("the time is not unix seconds, or the nonce not 32 hexadecimal digits in lower case")
        if (token_id is None) != (token_signature is None):
            raise _invalid("the token's id and the token's signature come together or not at all")
        try:
            request = EnrolmentRequest.model_validate_json(body)
            instance = instance_id(request.public_key)
        except ValidationError as error:
            raise _invalid(f"the body does not say what it should: {_first(error)}") from None
        except ValueError:
            raise _invalid("the body's public key is not an ssh-ed25519 key") from None
        return cls(
            body=body,
            request=request,
            instance=instance,
            time=int(time),
            nonce=nonce,
            instance_signature=_signature(instance_signature),
            token_id=token_id,
            token_signature=None if token_signature is None else _signature(token_signature),
        )

    def signed_bytes(self, relay: str) -> bytes:
        """What both signatures cover, if they were made for the relay of this address."""
        return signed_bytes(relay, self.time, self.nonce, self.body)


def check_instance_signature(attempt: EnrolmentAttempt, relay: str, also_known_as: Sequence[str]) -> None:
    """Raises EnrolmentRefused `relay_mismatch` if it was signed for another address, `signature_invalid` if not."""
    key = raw_key(attempt.request.public_key)

    def signed_for(address: str) -> bool:
        return verify(key, attempt.instance_signature, attempt.signed_bytes(address))

    if signed_for(relay):
        return
    if any(signed_for(address) for address in _other_addresses(also_known_as, relay)):
        raise EnrolmentRefused(
            EnrolmentRefusal.RELAY_MISMATCH, f"this relay is called {relay}: give the agent this address", relay=relay
        )
    raise EnrolmentRefused(EnrolmentRefusal.SIGNATURE_INVALID, "the installation's signature does not fit")


def check_token_signature(attempt: EnrolmentAttempt, public_key: bytes, relay: str) -> None:
    """Raises EnrolmentRefused `signature_invalid`."""
    if attempt.token_signature is None or not verify(public_key, attempt.token_signature, attempt.signed_bytes(relay)):
        raise EnrolmentRefused(EnrolmentRefusal.SIGNATURE_INVALID, "the access token's signature does not fit")


def _other_addresses(also_known_as: Sequence[str], relay: str) -> set[str]:
    found = set()
    for address in also_known_as[:ALSO_KNOWN_AS]:
        with contextlib.suppress(ValueError):
            found.add(relay_url(address))
    return found - {relay}


def _signature(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SIGNATURE_BYTES:
        raise _invalid("a signature is not 64 bytes in base64")
    return raw


def _first(error: ValidationError) -> str:
    part = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(each) for each in part['loc'])}: {part['msg']}".removeprefix(": ")


def _invalid(message: str) -> EnrolmentRefused:
    return EnrolmentRefused(EnrolmentRefusal.REQUEST_INVALID, message)
